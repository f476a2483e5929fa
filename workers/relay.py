"""The relay's process: `python -m workers.relay`. Any number may run; one leads, the others stand by."""

import asyncio
import signal

import structlog
import uvloop

from engine import log as logs
from engine import metrics
from engine.embedded.lifeline import report_ready, watch_parent
from engine.feed.relay import Relay
from engine.runtime import running
from engine.settings import Settings

log = structlog.get_logger(__name__)


async def run(settings: Settings) -> None:
    """Relays until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with running(settings, pool_size=1) as runtime:
        port = metrics.serve(settings.metrics_host, settings.metrics_port, dict)
        relay = Relay(
            runtime.db, runtime.redis, keep=settings.stream_keep, poll_s=settings.relay_poll_s, on_batch=_measure
        )
        log.info("relay.started", metrics_port=port)
        report_ready(metrics_port=port)
        await relay.run(stopping)
    log.info("relay.stopped")


def _measure(count: int, lag_s: float) -> None:
    metrics.RELAY_EVENTS.inc(count)
    metrics.RELAY_LAG_SECONDS.set(lag_s)


def main() -> None:
    watch_parent()
    settings = Settings()
    logs.configure("relay", settings)
    uvloop.run(run(settings))


if __name__ == "__main__":
    main()
