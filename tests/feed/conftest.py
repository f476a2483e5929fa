"""Writers, a relay that runs beside the test, and a sink that parses what it gets as a client would."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp
import orjson
import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.feed.hub import Hub
from engine.feed.relay import Relay
from engine.rules.events import Event
from engine.store.database import connect
from engine.store.outbox import publish

DEADLINE_S = 15.0
AT = datetime(2026, 3, 11, 18, 0, 0, 123456, tzinfo=UTC)


def event(kind: str = "sms.sent", **payload: object) -> str:
    return Event(kind, AT, payload).encode()


async def expire_lease(db: AsyncEngine) -> None:
    """As if the leader had been silent for the whole of its lease."""
    async with db.begin() as conn:
        await conn.execute(text("update leaders set expires_at = now() - interval '1 second'"))


async def record(db: AsyncEngine, redis: Redis, account_id: int, events: Sequence[str]) -> None:
    """Writes events and has them numbered."""
    relay = Relay(db, redis, keep=10_000)
    await expire_lease(db)
    await write(db, account_id, events)
    while await relay.run_once():
        pass


async def begin_another_history(db: AsyncEngine, newest: int) -> None:
    """As a restore to account 1's event `newest` does, but without the events. In a database of the test's own."""
    async with db.begin() as conn:
        await conn.execute(text("alter table event_chunks rename to chunks_old"))
        await conn.execute(text("create table event_chunks (like chunks_old including all)"))
        await conn.execute(text("update event_heads set seq = :newest where account_id = 1"), {"newest": newest})


class AwayRedis(Redis):
    """A Redis whose server cannot be reached."""

    def __init__(self) -> None:
        super().__init__(host="127.0.0.1", port=1, retry=None, socket_connect_timeout=0.1)


async def write(db: AsyncEngine, account_id: int, events: Sequence[str]) -> None:
    async with db.begin() as conn:
        await publish(conn, {account_id: events})


async def eventually(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Looks until it holds; fails after `DEADLINE_S`."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            held = condition()
            if held if isinstance(held, bool) else await held:
                return
            await asyncio.sleep(0.005)


class Client:
    """A sink in memory. `stalled` makes it take nothing, as a reader that stopped reading."""

    def __init__(self, *, stalled: bool = False) -> None:
        self.data = b""
        self.is_open = True
        self.stalled = stalled
        self._unread = 0
        self.peak = 0
        self._moving = asyncio.Event()

    def write(self, data: bytes) -> None:
        if self.is_open:
            self.data += data
            self._unread += len(data)
            self.peak = max(self.peak, self.pending())

    def pending(self) -> int:
        return self._unread if self.stalled else 0

    async def drained(self) -> None:
        if self.stalled and self.is_open:
            await self._moving.wait()

    def cut(self) -> None:
        self.is_open = False
        self._moving.set()

    def move(self) -> None:
        self.stalled, self._unread = False, 0
        self._moving.set()

    @property
    def events(self) -> list[tuple[str, int, dict[str, object]]]:
        """(name, id, data) of each whole frame."""
        return parse(self.data)

    @property
    def ids(self) -> list[int]:
        return [seq for _, seq, _ in self.events]

    async def until(self, seq: int) -> None:
        await eventually(lambda: bool(self.ids) and self.ids[-1] >= seq)


def parse(data: bytes) -> list[tuple[str, int, dict[str, object]]]:
    found = []
    for block in data.replace(b": heartbeat\n", b"").split(b"\n\n")[:-1]:
        fields = dict(line.split(b": ", 1) for line in block.split(b"\n"))
        found.append((fields[b"event"].decode(), int(fields[b"id"]), orjson.loads(fields[b"data"])))
    return found


async def read_until(answer: aiohttp.ClientResponse, seq: int) -> list[tuple[str, int, dict[str, object]]]:
    data = b""
    while not (found := parse(data)) or found[-1][1] < seq:
        data += await answer.content.readany()
    return found


@asynccontextmanager
async def relaying(db: AsyncEngine, redis: Redis, keep: int = 10_000) -> AsyncIterator[Relay]:
    relay, stop = Relay(db, redis, keep=keep), asyncio.Event()
    task = asyncio.create_task(relay.run(stop))
    try:
        yield relay
    finally:
        stop.set()
        await task


@pytest.fixture
async def own_db(own_database_url: str) -> AsyncIterator[AsyncEngine]:
    """For a test that changes the schema."""
    engine = connect(own_database_url, idle_in_transaction_ms=20_000)
    yield engine
    await engine.dispose()


@pytest.fixture
async def hub(db: AsyncEngine, redis: Redis) -> AsyncIterator[Hub]:
    async with Hub(db, redis) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DEADLINE_S)) as session:
        yield session
