"""Work done once for many: what is written together, replayed together, and what a stream keeps of its request."""

import asyncio
from itertools import pairwise

import aiohttp
import pytest
import uvicorn
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.types import Receive, Scope, Send

from api_min.sinks import TransportSink, open_sink
from api_min.streams import Unwinding
from engine.feed import chunks
from engine.feed.chunks import Chunk
from engine.feed.hub import Hub
from engine.feed.log import EventLog
from engine.feed.tail import SLICE_BYTES
from engine.feed.trunx import Channels, Trunx
from tests.feed.conftest import Client, event, eventually, record
from tests.feed.serving import KEY, serving

ALL, SMS = Channels(), Channels(frozenset({"sms"}))


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 2)), max_size=20), st.integers(1, 40))
def test_joining_changes_nothing_but_the_number_of_chunks(parts: list[tuple[int, int]], size: int) -> None:
    """`parts`: events in a chunk, and numbers left out before it."""
    run, last = [], 0
    for count, gap in parts:
        first = last + gap + 1
        last = first + count - 1
        run.append(Chunk(7, first, last, b"\n".join(b"event %d" % n for n in range(first, last + 1))))
    joined = list(chunks.joined(run, size))
    assert b"\n".join(c.body for c in joined) == b"\n".join(c.body for c in run)
    assert all(len(c.body.split(b"\n")) == c.last - c.first + 1 for c in joined)
    for before, after in pairwise(joined):
        assert before.last < after.first
        assert after.first > before.last + 1 or len(before.body) >= size


class Writes(Client):
    """Keeps what was written as it was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        super().write(data)
        self.written.append(data)


async def test_what_waits_in_redis_is_written_at_once(db: AsyncEngine, redis: Redis, hub: Hub) -> None:
    """Thirty publications come in one write; and the next alone, without delay."""
    client = Writes()
    await hub.subscribe(1, client, Trunx, ALL, None)
    epoch = (await EventLog(db).heads([1])).epoch
    pipe = redis.pipeline(transaction=True)
    for seq in range(1, 31):
        pipe.xadd(chunks.stream_key(epoch, 1), {"first": seq, "body": event(n=seq)}, id=f"{seq}-0")
    await pipe.execute()
    await client.until(30)
    assert len(client.written) == 1
    assert client.ids == list(range(1, 31))
    await redis.xadd(chunks.stream_key(epoch, 1), {"first": 31, "body": event(n=31)}, id="31-0")
    await client.until(31)


async def test_equal_clients_replay_one_join(db: AsyncEngine, redis: Redis, hub: Hub) -> None:
    await record(db, redis, 1, [event("sms.sent" if n % 2 else "voice.failed", text="x" * 300) for n in range(1000)])
    replays: dict[str, list[list[bytes]]] = {"all": [], "sms": []}
    for name, wish in (("all", ALL), ("sms", SMS), ("all", Channels()), ("sms", Channels(frozenset({"sms"})))):
        client = Writes()
        await hub.subscribe(1, client, Trunx, wish, "0")
        replays[name].append(client.written)
    for first, second in replays.values():
        assert [id(data) for data in first] == [id(data) for data in second]
        assert all(len(data) < SLICE_BYTES + 1_000 for data in first)
    assert len(replays["all"][0]) > len(replays["sms"][0]) > 1


async def test_a_join_that_is_kept_hides_no_later_event(db: AsyncEngine, redis: Redis, hub: Hub) -> None:
    for last in range(1, 6):
        await record(db, redis, 1, [event(n=last)])
        watcher = Client()
        await hub.subscribe(1, watcher, Trunx, ALL, str(last - 1))
        await watcher.until(last)
        for after in range(last + 1):
            client = Client()
            await hub.subscribe(1, client, Trunx, ALL, str(after))
            assert client.ids == list(range(after + 1, last + 1))


async def test_a_client_that_waits_for_the_database_gets_heartbeats(db: AsyncEngine, redis: Redis) -> None:
    await record(db, redis, 1, [event(n=n) for n in range(20)])
    async with Hub(db, redis, memory_events=2, heartbeat_s=0.02) as hub:
        client = Client()
        async with hub._deep_replays, hub._deep_replays, hub._deep_replays, hub._deep_replays:
            subscribing = asyncio.create_task(hub.subscribe(1, client, Trunx, ALL, "3"))
            await eventually(lambda: client.data.startswith(b": heartbeat\n: heartbeat\n"))
        await subscribing
        assert client.ids == list(range(4, 21))


async def test_a_stream_lets_go_of_its_request(db: AsyncEngine, redis: Redis, http: aiohttp.ClientSession) -> None:
    kept: list[Scope] = []

    def noting(app):
        async def noted(scope: Scope, receive: Receive, send: Send) -> None:
            kept.append(scope)
            await app(scope, receive, send)

        return noted

    async with (
        Hub(db, redis, heartbeat_s=0.02) as hub,
        serving(hub, wrap=lambda app: noting(Unwinding(app))) as server,
        http.get(f"{server.url}/api/events?token={KEY}", headers={"X-Large": "x" * 1000}) as answer,
    ):
        assert await answer.content.readexactly(12) == b": heartbeat\n"
        assert not {"headers", "app", "router", "endpoint", "route", "state"} & kept[0].keys()


def test_uvloop_shows_its_transport_too() -> None:
    """It is what production runs on, and its transports do not inherit from asyncio's."""
    assert uvloop.run(kind_of_sink()) is TransportSink


async def kind_of_sink() -> type:
    opened: list[type] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        opened.append(type(open_sink(receive, send)))
        await send({"type": "http.response.body", "body": b""})

    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_config=None))
    task = asyncio.create_task(server._serve())
    await eventually(lambda: server.started)
    host, port = server.servers[0].sockets[0].getsockname()
    async with aiohttp.ClientSession() as session, session.get(f"http://{host}:{port}/") as answer:
        await answer.read()
    server.should_exit = True
    await task
    return opened[0]


@pytest.mark.parametrize("count", [400])
async def test_a_burst_of_connections_with_a_bad_key_leaves_nothing(
    hub: Hub, http: aiohttp.ClientSession, count: int
) -> None:
    async def connect(url: str) -> int:
        async with http.get(f"{url}/api/events?token={'x' * 10_000}") as answer:
            return answer.status

    async with serving(hub) as server:
        assert set(await asyncio.gather(*(connect(server.url) for _ in range(count)))) == {401}
    assert not hub._subscriptions
