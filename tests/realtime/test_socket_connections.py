"""The connections of the WebSocket: pings, dead readers, shutdown, and servers that hide their transports."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import uvicorn
import uvloop
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send
from websockets.client import ClientProtocol
from websockets.frames import Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from api_min.realtime_socket import RealtimeSocket
from api_min.sinks import server_transport
from api_min.socket_sink import AsgiSocketSink, TransportSocketSink, frame
from engine.feed.hub import Hub
from tests.api.conftest import Serve
from tests.api.harness import DEADLINE_S, Api, Client
from tests.feed.conftest import eventually
from tests.realtime.conftest import Tell, told
from tests.realtime.talk import talking


async def test_whoever_answers_pings_stays_and_whoever_does_not_is_let_go(serve: Serve) -> None:
    api = await serve(heartbeat_s=1.0)
    async with (
        talking(await api.client()) as alive,
        api.session.ws_connect(f"{api.url}/api/realtime", autoping=False) as dead,
    ):
        pending = asyncio.create_task(alive.hear())  # a client pongs while it receives
        async with asyncio.timeout(DEADLINE_S):
            assert (await dead.receive()).type is aiohttp.WSMsgType.PING
            message = await dead.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1011)
        await alive.socket.send_json({"type": "stopusereventrequest"})
        assert (await pending)["success"]


async def test_a_client_that_goes_is_forgotten(api: Api) -> None:
    subscriptions = api.held.hub._subscriptions
    async with talking(await api.client()) as talk:
        for kind in ("user", "account"):
            assert (await talk.say(f"start{kind}eventrequest"))["success"]
        await eventually(lambda: len(subscriptions) == 2)
    await eventually(lambda: not subscriptions)


async def test_a_stream_that_fails_ends_its_connection_and_leaves_nothing(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("as nobody expects")

    hub = api.held.hub
    async with talking(await api.client()) as talk:
        assert (await talk.say("startusereventrequest"))["success"]
        await eventually(lambda: len(hub._subscriptions) == 1)
        monkeypatch.setattr(hub, "subscribe", fail)
        assert (await talk.say("startaccounteventrequest"))["success"]
        assert await talk.end() == 1006
    await eventually(lambda: not hub._subscriptions)


async def test_shutdown_cuts_those_that_follow_and_dismisses_the_others(serve: Serve) -> None:
    api = await serve()
    async with talking(await api.client()) as following, talking(await api.client(), admitted=False) as idle:
        assert (await following.say("startusereventrequest"))["success"]
        await eventually(lambda: len(api.held.hub._subscriptions) == 1)
        api.server.should_exit = True
        assert (await following.end(), await idle.end()) == (1006, 1012)


@asynccontextmanager
async def serving(
    hub: Hub, identify: Any, auth_s: float, *, wrap: Callable[[ASGIApp], ASGIApp] = lambda app: app
) -> AsyncIterator[str]:
    """The socket alone, on a server that may hide its connections."""
    app = FastAPI()
    app.router.routes += RealtimeSocket(hub, identify, auth_s).routes()
    config = uvicorn.Config(wrap(app), port=0, lifespan="off", log_config=None, timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())
    try:
        await eventually(lambda: server.started)
        host, port = server.servers[0].sockets[0].getsockname()
        yield f"http://{host}:{port}"
    finally:
        hub.cut_all()
        server.should_exit = True
        await task


def hidden_transport(app: ASGIApp) -> ASGIApp:
    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def plain_receive():
            return await receive()

        await app(scope, plain_receive, send)

    return wrapped


async def test_whoever_does_not_authenticate_in_time_is_sent_away(api: Api) -> None:
    async with serving(api.held.hub, api.held.keys.identify, 1.0) as url:  # a busy machine is in time, too
        async with talking(Client(api.session, url, ""), admitted=False) as talk:
            assert await talk.end() == 1008
        client = await api.client()
        async with talking(Client(api.session, url, client.key)) as talk:  # in time: it may then stay
            assert (await talk.say("startusereventrequest"))["success"]


@pytest.mark.parametrize("wrap", [lambda app: app, hidden_transport], ids=["transport", "asgi"])
async def test_a_client_that_stops_reading_is_cut_and_the_others_are_not(
    api: Api, tell: Tell, wrap: Callable[[ASGIApp], ASGIApp]
) -> None:
    client = await api.client()
    runtime = api.runtime
    async with (
        Hub(runtime.db, runtime.redis, slow_reader_bytes=65_536, stall_s=0.3) as hub,
        serving(hub, api.held.keys.identify, DEADLINE_S, wrap=wrap) as url,
        talking(Client(api.session, url, client.key)) as dead,
        talking(Client(api.session, url, client.key)) as healthy,
    ):
        for talk in (dead, healthy):
            assert (await talk.say("startusereventrequest"))["success"]
        await eventually(lambda: len(hub._subscriptions) == 2)
        kinds = {type(subscription.sink) for subscription in hub._subscriptions}
        assert kinds == {AsgiSocketSink if wrap is hidden_transport else TransportSocketSink}
        reader = dead.socket._reader  # stops reading, as a client that hangs
        reader._protocol.transport.pause_reading()
        written = heard = 0
        async with asyncio.timeout(DEADLINE_S):
            while len(hub._subscriptions) == 2:
                await tell(client.account_id, *[told("sms.sent", text="x" * 1000)] * 500)
                written += 500
                while heard < written:
                    heard = (await healthy.hear())["id"]
        await tell(client.account_id, told("sms.sent"))
        assert (await healthy.hear())["id"] == written + 1
        reader._protocol.transport.resume_reading()


@pytest.mark.parametrize("sizes", [[0], [1, 2], [125, 126, 127], [65_535, 0, 65_536], [70_000]])
def test_lines_are_framed_as_messages(sizes: list[int]) -> None:
    lines = [b"x" * size for size in sizes]
    client = ClientProtocol(parse_uri("ws://127.0.0.1"), state=State.OPEN)
    client.receive_data(frame(b"".join(line + b"\n" for line in lines)))
    assert client.parser_exc is None
    assert [(message.opcode, message.fin, bytes(message.data)) for message in client.events_received()] == [
        (Opcode.TEXT, True, line) for line in lines
    ]


def test_the_connection_of_uvloop_is_found() -> None:
    """When this fails, a slow reader is no longer cut in production, but asked to go."""
    found: list[object] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        found.append(server_transport(receive))
        await receive()
        await send({"type": "websocket.close"})

    async def connect() -> None:
        config = uvicorn.Config(application, port=0, lifespan="off", log_config=None, loop="none")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server._serve())
        await eventually(lambda: server.started)
        host, port = server.servers[0].sockets[0].getsockname()
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await session.ws_connect(f"http://{host}:{port}")
        server.should_exit = True
        await task

    uvloop.run(connect())
    assert type(found[0]).__module__.startswith("uvloop")


async def test_the_key_is_in_no_log_line(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    client = await api.client()
    async with talking(client, f"/api/realtime?token={client.key}") as talk:
        await talk.say("startusereventrequest", topics=[client.key])
        await talk.say(client.key)
    assert "/api/realtime" in caplog.text
    assert "tk_test" not in caplog.text
