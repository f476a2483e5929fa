"""Puts the network together: one exchange, two API shapes, the control API, connections for callbacks, and a client
session for what campaigns name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from engine.carriers import health
from engine.carriers.network.command_shape import CommandShape, CommandWire
from engine.carriers.network.config import Config
from engine.carriers.network.control import Control
from engine.carriers.network.document_shape import DocumentShape, DocumentWire
from engine.carriers.network.exchange import Exchange
from engine.carriers.network.inbound import InboundControl
from engine.carriers.network.journal import Journal
from engine.carriers.network.line import Wire
from engine.carriers.network.numbers import Inventory
from engine.carriers.network.post import Poster
from engine.egress import guarded_session

_CALLBACK_CONNECTIONS = 128
_AGENT_CONNECTIONS = 1_024  # and for audio
_LARGEST_REQUEST = 64 * 1024 * 1024  # the files of an MMS, in base64


@dataclass(frozen=True, slots=True)
class Running:
    base_url: str
    port: int
    exchange: Exchange


@asynccontextmanager
async def running(config: Config, log_path: Path, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Running]:
    """Serves until the block ends. Port 0 takes a free one."""
    journal = Journal(log_path)
    poster = Poster(_CALLBACK_CONNECTIONS, config.callback_timeout_s)
    async with guarded_session(
        allow_private=config.allow_private, timeout_s=config.callback_timeout_s, connections=_AGENT_CONNECTIONS
    ) as outside:
        exchange = Exchange(config, journal, poster, outside)
        wires: dict[str, Wire] = {"command": CommandWire(), "document": DocumentWire()}
        exchange.restore(wires)
        app = web.Application(client_max_size=_LARGEST_REQUEST)
        app.add_routes([health.route()])
        control = InboundControl(exchange.inbound, config, wires)
        app.add_routes(control.routes())
        inventory = Inventory(exchange)
        for part in (CommandShape, DocumentShape, Control):
            app.add_routes(part(exchange, inventory).routes())
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, host, port)
        await site.start()
        bound = runner.addresses[0][1]
        try:
            yield Running(f"http://{host}:{bound}", bound, exchange)
        finally:
            await exchange.close()
            poster.close()
            await runner.cleanup()
            journal.close()
