"""Whatever a client's connection, or what Redis holds, does to who serves it: the others get their events."""

import asyncio

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.feed import chunks, tails
from engine.feed.hub import Hub
from engine.feed.log import EventLog, Heads
from engine.feed.tail import Subscription, Tail
from engine.feed.trunx import Channels, Trunx
from tests.feed.conftest import AwayRedis, Client, event, eventually, record
from tests.feed.test_tails import following

ALL, SMS = Channels(), Channels(frozenset({"sms"}))


class Broken(Client):
    """Once `broken`, each of the methods named raises what nobody expects."""

    def __init__(self, *methods: str, stalled: bool = False) -> None:
        super().__init__(stalled=stalled)
        self.broken = False
        self._methods = methods

    def _break(self, method: str) -> None:
        if self.broken and method in self._methods:
            raise RuntimeError(method)

    def write(self, data: bytes) -> None:
        self._break("write")
        super().write(data)

    def pending(self) -> int:
        self._break("pending")
        return super().pending()

    async def drained(self) -> None:
        self._break("drained")
        await super().drained()

    def cut(self) -> None:
        super().cut()
        self._break("cut")


@pytest.mark.parametrize("methods", [("write",), ("pending",), ("write", "cut")])
async def test_a_client_that_cannot_be_written_to_ends_alone(
    db: AsyncEngine, redis: Redis, hub: Hub, methods: tuple[str, ...]
) -> None:
    broken, healthy = [Broken(*methods) for _ in range(4)], [Client() for _ in range(8)]
    for n, client in enumerate([*broken, *healthy]):
        await hub.subscribe(1, client, Trunx, SMS if n % 2 else ALL, None)
    for client in broken:
        client.broken = True
    for n in range(2):
        await record(db, redis, 1, [event(n=n)])
    await asyncio.gather(*(client.until(2) for client in healthy))
    assert [client.ids for client in healthy] == [[1, 2]] * 8
    assert not any(client.is_open for client in broken)


async def test_a_client_that_cannot_be_written_to_takes_no_heartbeat_from_others(db: AsyncEngine, redis: Redis) -> None:
    async with Hub(db, redis, heartbeat_s=0.02) as hub:
        broken, healthy = Broken("write", "cut"), Client()
        for client in (broken, healthy):
            await hub.subscribe(1, client, Trunx, ALL, None)
        broken.broken = True
        await eventually(lambda: not broken.is_open)
        healthy.data = b""
        await eventually(lambda: healthy.data.startswith(b": heartbeat\n: heartbeat\n"))


def test_a_client_that_cannot_be_told_of_another_history_takes_no_word_of_it_from_others() -> None:
    tail = Tail(1, 10, size=10, limit_bytes=1000, on_lag=lambda _: None)
    broken, healthy = [Broken("write") for _ in range(4)], [Client() for _ in range(4)]
    for client in (*broken, *healthy):
        tail.join(Subscription(1, client, Trunx, ALL))
    for client in broken:
        client.broken = True
    tail.restart(4)
    assert [client.ids for client in healthy] == [[4]] * 4
    assert not any(client.is_open for client in broken)


async def test_a_client_that_lags_and_breaks_is_cut(db: AsyncEngine, redis: Redis) -> None:
    async with Hub(db, redis, slow_reader_bytes=1_000) as hub:
        client = Broken("drained", stalled=True)
        await hub.subscribe(1, client, Trunx, ALL, None)
        client.broken = True
        await record(db, redis, 1, [event(text="x" * 100)] * 50)
        await eventually(lambda: not client.is_open)


async def test_the_reader_outlives_what_it_does_not_understand(
    db: AsyncEngine, redis: Redis, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program's entry, until the relay begins the stream anew. Only Redis can bring the event."""
    monkeypatch.setattr(tails, "SWEEP_S", 3600.0)
    monkeypatch.setattr(tails, "SWEEP_WITHOUT_REDIS_S", 3600.0)
    client = Client()
    await hub.subscribe(1, client, Trunx, ALL, None)
    epoch = (await EventLog(db).heads([1])).epoch
    await redis.xadd(chunks.stream_key(epoch, 1), {"nonsense": 1}, id="1-0")
    await eventually(lambda: not hub._tails._redis_answers)
    await record(db, redis, 1, [event()])
    await client.until(1)


class Failing(EventLog):
    failures = 0

    async def heads(self, account_ids) -> Heads:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("heads")
        return await super().heads(account_ids)


async def test_the_sweep_outlives_what_nobody_expects(
    db: AsyncEngine, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tails, "SWEEP_S", 0.01)
    log = Failing(db)
    followed = following(log, redis)
    tail = await followed.get(1)
    log.failures = 3
    sweeping = asyncio.create_task(followed.sweep())
    await record(db, AwayRedis(), 1, [event()])
    await eventually(lambda: tail.last == 1)
    assert not log.failures
    sweeping.cancel()
