"""The Teletracker WebSocket over a real server and a real client."""

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

from api_min.realtime_socket import MAX_MESSAGE_BYTES, MOST_FAULTS, RealtimeSocket
from api_min.sinks import server_transport
from engine.feed.hub import Hub
from engine.rules.events import Owner
from tests.api.conftest import Serve
from tests.api.harness import DEADLINE_S, Api, Client
from tests.feed.conftest import eventually
from tests.realtime.conftest import Tell, told

ANN, BOB = Owner("line_1", "user_1", "team_1"), Owner("line_2", "user_2", "team_1")


class Talk:
    """A connection that sends and receives JSON, with a deadline on each answer."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def say(self, kind: str, **more: object) -> dict[str, Any]:
        await self.socket.send_json({"type": kind, **more})
        return await self.hear()

    async def hear(self) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE_S):
            message = await self.socket.receive()
        assert message.type is aiohttp.WSMsgType.TEXT, message
        found: dict[str, Any] = message.json()
        return found

    async def end(self) -> int | None:
        """Reads to the end; the server's close code, or 1006 when the connection was cut without one."""
        async with asyncio.timeout(DEADLINE_S):
            while (message := await self.socket.receive()).type is aiohttp.WSMsgType.TEXT:
                pass
        return message.data if message.type is aiohttp.WSMsgType.CLOSE else self.socket.close_code


@asynccontextmanager
async def talking(client: Client, path: str = "/api/realtime", *, admitted: bool = True) -> AsyncIterator[Talk]:
    async with client.session.ws_connect(f"{client.url}{path}") as socket:
        talk = Talk(socket)
        if admitted:
            assert await talk.say("authrequest", token=client.key) == {"type": "authresponse", "success": True}
        yield talk


@pytest.mark.parametrize("path", ["/api/realtime", "/realtime", "/"])
async def test_a_client_authenticates_starts_hears_and_stops(api: Api, tell: Tell, path: str) -> None:
    client = await api.client()
    async with talking(client, path) as talk:
        assert await talk.say("startusereventrequest") == {"type": "startusereventresponse", "success": True}
        await tell(client.account_id, told("voice.initiated", ANN, to="+14155550123"))
        assert await talk.hear() == {
            "type": "userevent",
            "id": 1,
            "category": "voice",
            "subCategory": "outgoing",
            "eventName": "start",
            "eventTimestamp": "2026-03-11T18:00:00.123Z",
            "trackingId": "call-1",
            "uniqueId": "leg-1",
            "lineId": "line_1",
            "userId": "user_1",
            "teamId": "team_1",
            "data": {"to": "+14155550123"},
        }
        assert await talk.say("stopusereventrequest") == {"type": "stopusereventresponse", "success": True}
        await tell(client.account_id, told("voice.answered"))
        restarted = await talk.say("startusereventrequest", lastEventId=1)
        assert restarted["success"]
        assert (await talk.hear())["eventName"] == "answer"  # once, though it happened while the stream was off
        assert (await talk.say("stopusereventrequest"))["type"] == "stopusereventresponse"


async def test_both_streams_may_be_on_and_each_has_its_own_topics_and_history(api: Api, tell: Tell) -> None:
    client = await api.client()
    await tell(client.account_id, told("voice.initiated"), told("sms.sent"), told("voice.answered"))
    async with talking(client) as talk:
        assert (await talk.say("startaccounteventrequest", topics=["messaging.**"], lastEventId="0"))["success"]
        assert [(await talk.hear())[key] for key in ("type",)] == ["accountevent"]
        assert (await talk.say("startusereventrequest", topics="voice.*.start, voice.*.end", lastEventId=0))["success"]
        assert (await talk.hear())["id"] == 1
        await tell(client.account_id, told("sms.received"), told("voice.completed"))
        heard = sorted([(event["type"], event["id"]) for event in [await talk.hear(), await talk.hear()]])
        assert heard == [("accountevent", 4), ("userevent", 5)]
        assert (await talk.say("stopaccounteventrequest"))["type"] == "stopaccounteventresponse"
        await tell(client.account_id, told("sms.sent"), told("voice.initiated"))
        assert (await talk.hear())["id"] == 7


async def test_a_key_of_a_user_hears_of_their_numbers_only_and_not_of_the_account(api: Api, tell: Tell) -> None:
    client = await api.client()
    user = (await client("POST", "/api/users", {"name": "Ann"})).json["id"]
    key = (await client("POST", "/api/keys", {"name": "k", "scopes": ["sms:read"], "userId": user})).json["key"]
    async with talking(Client(client.session, client.url, key)) as talk:
        refused = await talk.say("startaccounteventrequest")
        assert (refused["type"], refused["success"], refused["code"]) == (
            "startaccounteventresponse",
            False,
            "forbidden",
        )
        assert "without user and team" in refused["reason"]
        assert (await talk.say("startusereventrequest"))["success"]
        await tell(client.account_id, told("sms.sent"), told("sms.sent", ANN), told("sms.sent", Owner("line_9", user)))
        assert (await talk.hear())["id"] == 3


async def test_a_second_account_hears_nothing(api: Api, tell: Tell) -> None:
    owner, stranger = await api.client(), await api.client()
    await tell(owner.account_id, told("sms.received"), told("voice.inbound", ANN))
    async with talking(stranger) as talk:
        for kind in ("user", "account"):
            assert (await talk.say(f"start{kind}eventrequest", lastEventId=0))["success"]
        await tell(owner.account_id, told("voice.inbound"))
        await tell(stranger.account_id, told("voice.inbound", BOB, mine=True))
        assert [(await talk.hear())["data"] for _ in range(2)] == [{"mine": True}] * 2


async def test_gaps_are_told(serve: Serve, tell: Tell) -> None:
    api = await serve(replay_limit=2)
    client = await api.client()
    await tell(client.account_id, *[told("sms.sent") for _ in range(4)])
    async with talking(client) as talk:
        assert (await talk.say("startusereventrequest", lastEventId=0))["success"]
        heard = [await talk.hear() for _ in range(3)]
        assert [(event["eventName"], event["id"]) for event in heard] == [("truncated", 2), ("sms", 3), ("sms", 4)]
        assert (await talk.say("startaccounteventrequest", lastEventId="nonsense"))["success"]
        assert (await talk.hear())["eventName"] == "reset"


@pytest.mark.parametrize(
    ("message", "answer", "code", "word"),
    [
        ("", "errorresponse", "validation_error", "not JSON"),
        ("{", "errorresponse", "validation_error", "not JSON"),
        ("[]", "errorresponse", "validation_error", "object with a type"),
        ("null", "errorresponse", "validation_error", "object with a type"),
        ('{"type": 7}', "errorresponse", "validation_error", "object with a type"),
        ('{"type": "jumprequest"}', "errorresponse", "validation_error", "unknown type 'jumprequest'"),
        (f'{{"type": "{"x" * 1000}"}}', "errorresponse", "validation_error", f"'{'x' * 64}'"),
        ("[" * 60_000, "errorresponse", "validation_error", "not JSON"),
        (
            '{"type":"startusereventrequest","topics":["voice.bogus"]}',
            "startusereventresponse",
            "validation_error",
            "bogus",
        ),
        (
            '{"type":"startusereventrequest","topics":"voice.b*"}',
            "startusereventresponse",
            "validation_error",
            "voice.b*",
        ),
        ('{"type":"startusereventrequest","topics":7}', "startusereventresponse", "validation_error", "topics"),
        ('{"type":"startusereventrequest","topics":[7]}', "startusereventresponse", "validation_error", "topics"),
        (
            '{"type":"startusereventrequest","lastEventId":[]}',
            "startusereventresponse",
            "validation_error",
            "lastEventId",
        ),
        (
            '{"type":"startusereventrequest","lastEventId":true}',
            "startusereventresponse",
            "validation_error",
            "lastEventId",
        ),
        ('{"type":"authrequest","token":"x"}', "authresponse", "conflict", "already"),
    ],
)
async def test_what_is_wrong_is_answered_and_the_conversation_goes_on(
    api: Api, message: str, answer: str, code: str, word: str
) -> None:
    async with talking(await api.client()) as talk:
        await talk.socket.send_str(message)
        refused = await talk.hear()
        assert (refused["type"], refused["success"], refused["code"]) == (answer, False, code)
        assert word in refused["reason"]
        assert (await talk.say("startusereventrequest"))["success"]
        again = await talk.say("startusereventrequest")
        assert (again["success"], again["code"]) == (False, "conflict")


@pytest.mark.parametrize("token", ["tk_test_nobody", "", None, 7, "x" * 10_000])
async def test_without_a_working_key_nothing_starts_and_another_try_is_free(api: Api, token: object) -> None:
    client = await api.client()
    async with talking(client, admitted=False) as talk:
        refused = await talk.say("authrequest", token=token)
        assert (refused["type"], refused["success"]) == ("authresponse", False)
        assert refused["code"] in {"unauthorized", "validation_error"}
        for request in ("startusereventrequest", "stopusereventrequest", "startaccounteventrequest"):
            answer = await talk.say(request)
            assert (answer["success"], answer["code"]) == (False, "unauthorized")
        assert (await talk.say("authrequest", token=client.key))["success"]


async def test_whoever_is_refused_too_often_is_sent_away(api: Api) -> None:
    async with talking(await api.client(), admitted=False) as talk:
        for _ in range(MOST_FAULTS):
            assert not (await talk.say("authrequest", token="tk_test_nobody"))["success"]
        assert await talk.end() == 1008


async def test_starts_count_towards_the_keys_rate(api: Api) -> None:
    client = await api.client(rate_limit=3)
    async with talking(client) as talk:
        answers = []
        for _ in range(3):
            answers.append(await talk.say("startusereventrequest"))
            await talk.say("stopusereventrequest")
        assert [answer.get("code") for answer in answers] == [None, None, "rate_limited"]


async def test_a_revoked_key_starts_no_stream(api: Api) -> None:
    owner = await api.client()
    made = (await owner("POST", "/api/keys", {"name": "k", "scopes": ["sms:read"]})).json
    async with talking(Client(owner.session, owner.url, made["key"])) as talk:
        await owner("DELETE", f"/api/keys/{made['id']}")
        assert (await talk.say("startusereventrequest"))["code"] == "unauthorized"


async def test_binary_is_refused_with_its_code(api: Api) -> None:
    async with talking(await api.client()) as talk:
        await talk.socket.send_bytes(b"{}")
        assert await talk.end() == 1003


async def test_a_message_that_is_too_long_is_refused_with_its_code(api: Api) -> None:
    async with talking(await api.client(), admitted=False) as talk:
        await talk.socket.send_str("x" * MAX_MESSAGE_BYTES)
        assert (await talk.hear())["type"] == "errorresponse"
        await talk.socket.send_str("x" * 1_000_000)
        assert await talk.end() == 1009


async def test_a_plain_request_is_told_what_to_do(api: Api) -> None:
    client = await api.client()
    answer = await client("GET", "/api/realtime")
    assert (answer.status, answer.error["code"]) == (426, "upgrade_required")
    assert answer.headers["Upgrade"] == "websocket"


async def test_pings_keep_the_connection_and_find_dead_ones(serve: Serve) -> None:
    """A client that does not answer them is let go; one that does is not, however idle it is."""
    api = await serve(heartbeat_s=0.05)
    async with api.session.ws_connect(f"{api.url}/api/realtime", autoping=False) as socket:
        async with asyncio.timeout(DEADLINE_S):
            assert (await socket.receive()).type is aiohttp.WSMsgType.PING


async def test_a_client_that_goes_is_forgotten(api: Api) -> None:
    subscriptions = api.held.hub._subscriptions
    async with talking(await api.client()) as talk:
        for kind in ("user", "account"):
            assert (await talk.say(f"start{kind}eventrequest"))["success"]
        await eventually(lambda: len(subscriptions) == 2)
    await eventually(lambda: not subscriptions)


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
    async with serving(api.held.hub, api.held.keys.identify, 0.05) as url:
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
