"""`GET /api/v1/sms/stream` (reference 002): greeting, ownership of numbers, lifetime, resuming."""

import asyncio
import re
from collections.abc import AsyncIterator

import aiohttp
import orjson
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from api_min.sms_stream import Lifetime
from api_min.streams import Unwinding
from engine.feed.dialect import Encoded
from engine.feed.hub import Hub
from engine.feed.revdesk import Numbers, RevDesk, connected
from engine.rules.events import Event, Owner
from tests.feed.conftest import AT, event, parse, read_until, record
from tests.feed.serving import KEY, OWN_KEY, Server, hidden_transport, serving

PATH = "/api/v1/sms/stream"


def text(body: str = "Hello!", owner: Owner | None = None) -> str:
    payload = {
        "id": "msg_abc123",
        "from": "+14155551234",
        "to": "+14155559999",
        "message": body,
        "direction": "inbound",
        "created_at": "2026-05-22T18:30:00.000Z",
        "campaignId": "camp_1",
    }
    return Event("sms.received", AT, payload, "trk_1", "msg_abc123").encode(owner)


@pytest.fixture(params=[Unwinding, lambda app: app, hidden_transport], ids=["transport", "inside", "asgi"])
async def server(request: pytest.FixtureRequest, hub: Hub) -> AsyncIterator[Server]:
    async with serving(hub, wrap=request.param) as running:
        yield running


def bearer(key: str, last_event_id: int | None = None) -> dict[str, str]:
    resumed = {} if last_event_id is None else {"Last-Event-ID": str(last_event_id)}
    return {"Authorization": f"Bearer {key}", **resumed}


def test_the_event_has_the_shape_of_the_reference() -> None:
    owner = Owner("line_1", "user_1", "team_1")
    assert RevDesk.encode(1, 12, text(owner=owner).encode()) == Encoded(
        12,
        "sms_received",
        b"event: sms_received\nid: 12\n"
        b'data: {"message_id":"msg_abc123","from":"+14155551234","to":"+14155559999","body":"Hello!",'
        b'"received_at":"2026-05-22T18:30:00.000Z"}\n\n',
        owner,
    )


@pytest.mark.parametrize("kind", ["sms.sent", "sms.delivered", "voice.inbound", "campaign.call.busy"])
def test_nothing_else_is_spoken(kind: str) -> None:
    assert RevDesk.encode(1, 9, event(kind).encode()) == Encoded(9, "", b"")


@pytest.mark.parametrize("broken", ['{"type":"sms.received","payload":[]}', '{"type":"sms.received"}', "[]", "{}"])
def test_a_broken_event_is_an_error_of_its_own(broken: str) -> None:
    with pytest.raises((KeyError, TypeError)):
        RevDesk.encode(1, 9, broken.encode())


HOSTILE = "a\r\nid: 999\r\ndata: {}\n\nevent: x\0\u0085\u2028\u2029\x0b"


def test_a_text_cannot_break_its_frame() -> None:
    frame = RevDesk.encode(1, 7, text(HOSTILE).encode()).frame
    assert frame.decode().splitlines()[0::3] == ["event: sms_received", ""]
    assert [data["body"] for _, _, data in parse(frame)] == [HOSTILE]


def test_connected_has_the_id_at_which_the_stream_goes_on() -> None:
    frame = connected("sms-1-2-abc", 1716000000000, 41, 1500)
    assert frame == (
        b'event: connected\nid: 41\nretry: 1500\ndata: {"clientId":"sms-1-2-abc","timestamp":1716000000000}\n\n'
    )


MINE, COLLEAGUES = Owner("line_1", "user_1", "team_1"), Owner("line_2", "user_2", "team_1")
TEAMS, OTHERS, ACCOUNTS = Owner("line_3", "", "team_1"), Owner("line_4", "user_4", "team_4"), Owner("line_5", "", "")


@pytest.mark.parametrize(
    ("numbers", "seen"),
    [
        (Numbers(), {MINE, COLLEAGUES, TEAMS, OTHERS, ACCOUNTS, None}),
        (Numbers(user="user_1"), {MINE}),
        (Numbers(team="team_1"), {MINE, COLLEAGUES, TEAMS}),
        (Numbers("user_1", "team_1"), {MINE, TEAMS}),
        (Numbers("user_9", "team_9"), set()),
    ],
)
def test_who_sees_what(numbers: Numbers, seen: set[Owner | None]) -> None:
    owners = [MINE, COLLEAGUES, TEAMS, OTHERS, ACCOUNTS, None]
    assert {owner for owner in owners if numbers.wants(Encoded(1, "sms_received", b"x", owner))} == seen


@pytest.mark.parametrize("path", [PATH, "/v1/sms/stream"])
async def test_connected_comes_first_then_texts(
    db: AsyncEngine, redis: Redis, server: Server, http: aiohttp.ClientSession, path: str
) -> None:
    await record(db, redis, 1, [text("before"), event("sms.sent")])
    async with http.get(server.url + path, headers=bearer(KEY)) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        [(name, seq, data)] = await read_until(answer, 2)
        assert (name, seq) == ("connected", 2)
        assert re.fullmatch(rf"sms-[0-9a-z]{{13}}-{data['timestamp']}-[0-9a-z]{{7}}", str(data["clientId"]))
        assert isinstance(data["timestamp"], int)
        await record(db, redis, 1, [event("voice.inbound"), text("after")])
        assert [(name, data["body"]) for name, _, data in await read_until(answer, 4)] == [("sms_received", "after")]


async def test_a_stream_resumes_where_its_id_says(
    db: AsyncEngine, redis: Redis, server: Server, http: aiohttp.ClientSession
) -> None:
    await record(db, redis, 1, [text(str(n)) for n in range(1, 6)])
    async with http.get(server.url + PATH, headers=bearer(KEY, 3)) as answer:
        found = await read_until(answer, 5)
    assert [(name, seq) for name, seq, _ in found] == [("connected", 3), ("sms_received", 4), ("sms_received", 5)]


@pytest.mark.parametrize("asked", ["6", "abc"])
async def test_an_unknown_id_is_told_after_connected(
    db: AsyncEngine, redis: Redis, hub: Hub, http: aiohttp.ClientSession, asked: str
) -> None:
    await record(db, redis, 1, [text()] * 5)
    async with serving(hub) as server, http.get(f"{server.url}{PATH}?token={KEY}&lastEventId={asked}") as answer:
        data = b""
        while len(parse(data)) < 2:
            data += await answer.content.readany()
    assert [(name, seq) for name, seq, _ in parse(data)] == [("connected", 5), ("replay.reset", 5)]


async def test_who_was_cut_before_the_first_text_misses_none(
    db: AsyncEngine, redis: Redis, hub: Hub, http: aiohttp.ClientSession
) -> None:
    """Each connection ends after some minutes, most of them without a text: the greeting's id bridges the gap."""
    await record(db, redis, 1, [text("old")])
    async with serving(hub, lifetime=Lifetime(0.2, 0.3)) as server:
        async with http.get(server.url + PATH, headers=bearer(KEY)) as answer:
            [(_, last_event_id, _)] = await read_until(answer, 1)
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.content.read()
        await record(db, redis, 1, [text("in between")])
        async with http.get(server.url + PATH, headers=bearer(KEY, last_event_id)) as answer:
            found = await read_until(answer, 2)
    assert [data.get("body") for _, _, data in found] == [None, "in between"]


async def test_a_connection_is_aborted_when_its_lifetime_is_over(
    server: Server, hub: Hub, redis: Redis, db: AsyncEngine, http: aiohttp.ClientSession
) -> None:
    """Never ended: fetch-event-source, for one, does not come back after that."""
    async with (
        serving(hub, lifetime=Lifetime(0.05, 0.1)) as short,
        http.get(short.url + PATH, headers=bearer(KEY)) as answer,
    ):
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    assert not hub._subscriptions


async def test_lifetimes_are_spread() -> None:
    drawn = {Lifetime(240.0, 300.0).draw() for _ in range(100)}
    assert len(drawn) == 100
    assert all(240 <= seconds <= 300 for seconds in drawn)


@pytest.mark.parametrize(
    ("key", "expected"),
    [(KEY, ["mine", "colleague", "team", "none"]), (OWN_KEY, ["mine", "team"]), ("tk_test_other", ["theirs"])],
)
async def test_a_key_sees_the_numbers_of_its_user_and_team(
    db: AsyncEngine, redis: Redis, hub: Hub, http: aiohttp.ClientSession, key: str, expected: list[str]
) -> None:
    sent = [text("mine", MINE), text("colleague", COLLEAGUES), text("team", TEAMS), text("none")]
    await record(db, redis, 1, sent)
    await record(db, redis, 2, [text("theirs", Owner("line_9", "user_1", "team_1"))])
    async with serving(hub) as server, http.get(server.url + PATH, headers=bearer(key, 0)) as answer:
        data = b""
        while len(parse(data)) <= len(expected):
            data += await answer.content.readany()
    assert [found["body"] for _, _, found in parse(data)[1:]] == expected


@pytest.mark.parametrize(
    ("query", "headers", "status", "code"),
    [
        ("", {}, 401, "unauthorized"),
        ("", bearer("tk_test_wrong"), 401, "unauthorized"),
        ("?token=tk_test_wrong", {}, 401, "unauthorized"),
        ("", bearer("tk_test_voice"), 403, "forbidden"),
        ("?token=tk_test_voice", {}, 403, "forbidden"),
    ],
)
async def test_who_may_not_is_told_before_the_stream(
    hub: Hub, http: aiohttp.ClientSession, query: str, headers: dict[str, str], status: int, code: str
) -> None:
    async with serving(hub) as server, http.get(server.url + PATH + query, headers=headers) as answer:
        error = orjson.loads(await answer.read())["error"]
    assert (answer.status, error["code"]) == (status, code)
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    if status == 403:
        assert error["fields"] == {"scope": "sms:read"}


async def test_over_the_rate_the_connection_is_cut(hub: Hub, http: aiohttp.ClientSession) -> None:
    async with serving(hub) as server, http.get(f"{server.url}{PATH}?token=tk_test_busy") as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_heartbeats_come_after_connected(db: AsyncEngine, redis: Redis, http: aiohttp.ClientSession) -> None:
    async with (
        Hub(db, redis, heartbeat_s=0.02) as hub,
        serving(hub) as server,
        http.get(f"{server.url}{PATH}?token={KEY}") as answer,
        asyncio.timeout(15),
    ):
        data = await answer.content.readuntil(b"\n\n: heartbeat\n: heartbeat\n")
    assert data.startswith(b"event: connected\n")
