"""The api process: `python -m api_min.serve`. Builds everything, serves until SIGTERM, then finishes what it began."""

import asyncio
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import structlog
import uvicorn
import uvloop

from api_min.app import create_app
from api_min.auth import KeyRing
from api_min.callbacks import CallbackDoor
from api_min.connections import BoundedConnection
from api_min.deps import Deps
from api_min.inbox import Inbox
from api_min.realtime_socket import MAX_MESSAGE_BYTES
from api_min.streams import Unwinding
from engine import log as logs
from engine import metrics
from engine.carriers.port import Command
from engine.dispatch.settle import SettleContext, settle_inline
from engine.embedded.lifeline import report_ready, watch_parent
from engine.feed.hub import Hub
from engine.runtime import Runtime, running
from engine.settings import Settings
from engine.store import counts
from engine.webhooks.send import open_session

log = structlog.get_logger(__name__)

POOL_SIZE = 15  # and as many again under load
BACKLOG = 2_048
KEEP_ALIVE_S = 75  # longer than the pools of common clients and proxies: they close first, and never race us
DRAIN_S = 10  # for requests under way at SIGTERM; a pause takes at most its ticket's 2.2 s


def main() -> None:
    watch_parent()
    _allow_connections()
    settings = Settings()
    logs.configure("api", settings)
    uvloop.run(serve(settings))


async def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT. Raises OSError when the port is taken, Misconfigured as `Runtime.open`."""
    with socket.create_server(
        (settings.host, settings.port), family=_family(settings.host), backlog=BACKLOG
    ) as listener:
        async with running(settings, pool_size=POOL_SIZE) as runtime, assembled(runtime) as held:
            server = Server(held, lambda: _announce(settings, listener.getsockname()[1]))
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, server.handle_exit, number, None)
            await server.serve([listener])
    log.info("api.stopped")


@asynccontextmanager
async def assembled(runtime: Runtime) -> AsyncIterator[Deps]:
    """What the routes need, over an open Runtime."""
    settings = runtime.settings
    context = partial(SettleContext, runtime.clock, settings, document_carriers=runtime.document_carriers)

    async def settle(ref: str, keys: Collection[str], ids: Collection[int]) -> Command | None:
        return await settle_inline(runtime.db, ref, keys, ids, context(counts.client_writer()))

    hub = Hub(
        runtime.db,
        runtime.redis,
        replay_limit=settings.replay_limit,
        heartbeat_s=settings.heartbeat_s,
        slow_reader_bytes=settings.slow_reader_bytes,
    )
    inbox, document_inbox = Inbox(runtime.db, runtime.queue), Inbox(runtime.db, None)
    async with hub, open_session(runtime) as egress:
        yield Deps(runtime, KeyRing(runtime.reader, runtime.redis), inbox, document_inbox, settle, hub, egress)
    await inbox.close()
    await document_inbox.close()


class Server(uvicorn.Server):
    """Says when it listens, and cuts its streams when it stops: their clients resume elsewhere by id."""

    def __init__(self, held: Deps, on_listening: Callable[[], None] = lambda: None) -> None:
        super().__init__(
            uvicorn.Config(
                CallbackDoor(held, Unwinding(create_app(held))),
                loop="none",
                http=BoundedConnection,
                ws="websockets-sansio",
                ws_max_size=MAX_MESSAGE_BYTES,
                ws_ping_interval=held.runtime.settings.heartbeat_s,
                ws_ping_timeout=held.runtime.settings.heartbeat_s,
                ws_per_message_deflate=False,  # a compressor per client would cost more than what it saves
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # nothing asks where a request comes from
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=DRAIN_S,
            )
        )
        self._hub = held.hub
        self._on_listening = on_listening

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """`serve` handles them: uvicorn would raise them again at the end, which kills us before we have closed."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()  # nobody comes back to us
        self._hub.cut_all()
        await super().shutdown(sockets)


def _announce(settings: Settings, port: int) -> None:
    metrics_port = metrics.serve(settings.metrics_host, settings.metrics_port, lambda: {"listening": True})
    log.info("api.started", host=settings.host, port=port, metrics_port=metrics_port)
    report_ready(port=port, metrics_port=metrics_port)


def _allow_connections() -> None:
    """As many files as we may open: a stream is one, and the usual 1,024 would be few."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


if __name__ == "__main__":
    main()
