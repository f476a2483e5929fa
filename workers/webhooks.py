"""The process that delivers webhooks: `python -m workers.webhooks`. Any number may run; they share the endpoints.

A process of its own, since it talks to strangers: what they cost (a TLS handshake takes milliseconds) would make the
workers miss send slots, and the workers' machines need no way out but to the carrier.
"""

import asyncio
import signal

import structlog
import uvloop

from engine import log as logs
from engine import metrics
from engine.embedded.lifeline import report_ready, watch_parent
from engine.runtime import running
from engine.settings import Settings
from engine.webhooks.loop import POOL_SIZE, Deliverer
from engine.webhooks.send import open_session

log = structlog.get_logger(__name__)


async def run(settings: Settings) -> None:
    """Delivers until SIGTERM or SIGINT, then waits for the requests under way."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running(settings, pool_size=POOL_SIZE, keyed=True) as runtime, open_session(runtime) as session:
        deliverer = Deliverer(runtime, session)
        port = metrics.serve(settings.metrics_host, settings.metrics_port, deliverer.health)
        log.info("metrics.served", host=settings.metrics_host, port=port)
        report_ready(metrics_port=port)
        await deliverer.run(stop)


def main() -> None:
    watch_parent()
    settings = Settings()
    logs.configure("webhooks", settings)
    uvloop.run(run(settings))


if __name__ == "__main__":
    main()
