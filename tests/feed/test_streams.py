"""`GET /api/events` over a real uvicorn and a real HTTP client."""

import asyncio
import logging
from collections.abc import AsyncIterator

import aiohttp
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from api_min.sinks import AsgiSink, TransportSink
from api_min.streams import Unwinding
from engine.feed.hub import Hub
from engine.feed.relay import Relay
from tests.feed.conftest import DEADLINE_S, event, eventually, read_until, record, write
from tests.feed.serving import KEY, Server, hidden_transport, serving


@pytest.fixture(params=[Unwinding, lambda app: app, hidden_transport], ids=["transport", "inside", "asgi"])
async def server(request: pytest.FixtureRequest, hub: Hub) -> AsyncIterator[Server]:
    async with serving(hub, wrap=request.param) as running:
        yield running


async def test_a_stream_replays_then_goes_live(
    db: AsyncEngine, redis: Redis, server: Server, http: aiohttp.ClientSession
) -> None:
    relay = Relay(db, redis, keep=10_000)
    await write(db, 1, [event(n=1), event("voice.answered", n=2), event(n=3)])
    await relay.run_once()
    url = f"{server.url}/api/events?token={KEY}&channels=sms,%20did"
    async with http.get(url, headers={"Last-Event-ID": "1"}) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        await read_until(answer, 3)
        await write(db, 1, [event("voice.answered", n=4), event("did.released", n=5)])
        await relay.run_once()
        assert [seq for _, seq, _ in await read_until(answer, 5)] == [5]


@pytest.mark.parametrize("path", ["/api/events", "/events"])
async def test_bearer_and_the_query_id_work_too(
    db: AsyncEngine, redis: Redis, hub: Hub, http: aiohttp.ClientSession, path: str
) -> None:
    await record(db, redis, 1, [event(n=n) for n in range(4)])
    async with serving(hub) as server:
        headers = {"Authorization": f"Bearer {KEY}"}
        async with http.get(f"{server.url}{path}?lastEventId=2", headers=headers) as answer:
            assert [seq for _, seq, _ in await read_until(answer, 4)] == [3, 4]


async def test_another_accounts_key_sees_nothing(
    db: AsyncEngine, redis: Redis, hub: Hub, http: aiohttp.ClientSession
) -> None:
    await record(db, redis, 1, [event(n=n) for n in range(4)])
    await record(db, redis, 2, [event(n="theirs")])
    async with serving(hub) as server, http.get(f"{server.url}/api/events?token=tk_test_other&lastEventId=0") as answer:
        assert [data["payload"] for _, _, data in await read_until(answer, 1)] == [{"n": "theirs"}]


@pytest.mark.parametrize(
    ("query", "status", "code", "word"),
    [
        (f"token={KEY}&channels=sms,fax", 400, "validation_error", "fax"),
        (f"token={KEY}&channels=%0d%0aX:1", 400, "validation_error", "channel"),
        ("token=tk_test_wrong", 401, "unauthorized", "key"),
        (f"token={'x' * 10_000}", 401, "unauthorized", "key"),
        ("", 401, "unauthorized", "Bearer"),
    ],
)
async def test_what_is_refused_is_refused_before_the_stream(
    hub: Hub, http: aiohttp.ClientSession, query: str, status: int, code: str, word: str
) -> None:
    async with serving(hub) as server, http.get(f"{server.url}/api/events?{query}") as answer:
        error = (await answer.json())["error"]
        assert (answer.status, error["code"]) == (status, code)
        assert word in error["message"]


async def test_over_the_rate_the_connection_is_cut_so_that_an_event_source_comes_back(
    server: Server, http: aiohttp.ClientSession
) -> None:
    async with http.get(f"{server.url}/api/events?token=tk_test_busy") as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_a_browser_may_ask_from_another_origin(hub: Hub, http: aiohttp.ClientSession) -> None:
    headers = {
        "Origin": "https://example.com",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "last-event-id",
    }
    async with serving(hub) as server, http.options(f"{server.url}/api/events", headers=headers) as answer:
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Last-Event-ID" in answer.headers["Access-Control-Allow-Headers"]


async def test_heartbeats_keep_the_connection(db: AsyncEngine, redis: Redis, http: aiohttp.ClientSession) -> None:
    async with (
        Hub(db, redis, heartbeat_s=0.02) as hub,
        serving(hub) as server,
        http.get(f"{server.url}/api/events?token={KEY}") as answer,
    ):
        assert await answer.content.readexactly(24) == b": heartbeat\n: heartbeat\n"


async def test_shutdown_aborts_the_sockets(hub: Hub, http: aiohttp.ClientSession) -> None:
    """A chunked answer that ends without its last chunk is an error, after which each client reconnects."""
    async with serving(hub) as server:
        answer = await http.get(f"{server.url}/api/events?token={KEY}")
        server.should_exit = True
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_a_client_that_goes_is_forgotten(hub: Hub, server: Server, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{server.url}/api/events?token={KEY}"):
        await eventually(lambda: len(hub._subscriptions) == 1)
    await eventually(lambda: not hub._subscriptions)


async def test_a_client_that_stops_reading_is_cut_and_the_others_are_not(
    db: AsyncEngine, redis: Redis, http: aiohttp.ClientSession
) -> None:
    async with Hub(db, redis, slow_reader_bytes=65_536, stall_s=0.3) as hub, serving(hub) as server:
        host, port = server.servers[0].sockets[0].getsockname()
        _, dead = await asyncio.open_connection(host, port, limit=1024)
        dead.write(f"GET /api/events?token={KEY} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        dead.transport.pause_reading()
        answer = await http.get(f"{server.url}/api/events?token={KEY}")
        await eventually(lambda: len(hub._subscriptions) == 2)
        tail = bytearray()
        reading = asyncio.create_task(_keep_reading(answer, tail))
        written, relay = 0, Relay(db, redis, keep=10_000)
        async with asyncio.timeout(DEADLINE_S):
            while len(hub._subscriptions) == 2:
                await write(db, 1, [event(text="x" * 1000)] * 500)
                written += 500
                await relay.run_once()
        dead.close()
        await write(db, 1, [event()])
        await relay.run_once()
        await eventually(lambda: f"id: {written + 1}\n".encode() in tail)
        reading.cancel()


async def _keep_reading(answer: aiohttp.ClientResponse, tail: bytearray) -> None:
    while True:
        tail += await answer.content.readany()
        del tail[:-500]


async def test_the_key_is_in_no_log_line(
    hub: Hub, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(hub) as server:
        for query in (
            f"token={KEY}&channels=sms",
            f"token={KEY}&channels=fax",
            "token=tk_test_secret",
            "token=tk_test_busy",
        ):
            async with http.get(f"{server.url}/api/events?{query}"):
                pass
    assert "/api/events?channels=sms" in caplog.text
    assert "tk_test" not in caplog.text


async def test_uvicorn_still_shows_its_transport(hub: Hub, http: aiohttp.ClientSession) -> None:
    """When this fails, an update of uvicorn has made streams slower: see `open_sink`."""
    async with serving(hub) as server, http.get(f"{server.url}/api/events?token={KEY}"):
        await eventually(lambda: len(hub._subscriptions) == 1)
        assert isinstance(next(iter(hub._subscriptions)).sink, TransportSink)


async def test_other_servers_get_the_public_way(hub: Hub, http: aiohttp.ClientSession) -> None:
    async with serving(hub, wrap=hidden_transport) as server, http.get(f"{server.url}/api/events?token={KEY}"):
        await eventually(lambda: len(hub._subscriptions) == 1)
        assert isinstance(next(iter(hub._subscriptions)).sink, AsgiSink)
