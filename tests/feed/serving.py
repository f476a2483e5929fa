"""A real uvicorn over a hub of the test's, and its keys."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from api_min import problems, streams
from api_min.sms_stream import Lifetime, sms_stream_routes
from engine.errors import RateLimited, Unauthorized
from engine.feed.hub import Hub
from tests.feed.conftest import eventually

KEY = "tk_test_0123456789"
OWN_KEY = "tk_test_of_a_user"
USUAL = Lifetime(240.0, 300.0)


@dataclass(frozen=True)
class Caller:
    account_id: int
    scope: str = "sms:read"
    user: str = ""
    team: str = ""
    key_id: int = 42

    def may(self, scope: str) -> bool:
        return scope == self.scope


CALLERS = {
    KEY: Caller(1),
    OWN_KEY: Caller(1, user="user_1", team="team_1"),
    "tk_test_of_a_team": Caller(1, team="team_1"),
    "tk_test_other": Caller(2),
    "tk_test_voice": Caller(1, "voice:call"),
}


async def identify(key: str) -> Caller:
    if key == "tk_test_busy":
        raise RateLimited("too many", 1.0)
    if key not in CALLERS:
        raise Unauthorized("unknown key")
    return CALLERS[key]


def hidden_transport(app: ASGIApp) -> ASGIApp:
    """As behind a server, or a middleware, that shows no transport."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def plain_receive():
            return await receive()

        await app(scope, plain_receive, send)

    return wrapped


class Server(uvicorn.Server):
    def __init__(self, hub: Hub, app: ASGIApp) -> None:
        super().__init__(uvicorn.Config(app, port=0, lifespan="off", log_config=None, timeout_graceful_shutdown=5))
        self._hub = hub

    @property
    def url(self) -> str:
        host, port = self.servers[0].sockets[0].getsockname()
        return f"http://{host}:{port}"

    async def shutdown(self, sockets=None) -> None:
        self._hub.cut_all()
        await super().shutdown(sockets)


@asynccontextmanager
async def serving(
    hub: Hub, *, wrap: Callable[[ASGIApp], ASGIApp] = lambda app: app, lifetime: Lifetime = USUAL
) -> AsyncIterator[Server]:
    app = FastAPI()
    problems.install(app)
    app.include_router(streams.stream_routes(hub, identify))
    app.include_router(sms_stream_routes(hub, identify, lifetime))
    server = Server(hub, wrap(app))
    task = asyncio.create_task(server._serve())
    try:
        await eventually(lambda: server.started)
        yield server
    finally:
        server.should_exit = True
        await task
