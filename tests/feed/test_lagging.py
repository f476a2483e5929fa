"""What happens while a client catches up: the database begins another history, or the stream is stopped."""

import asyncio

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.feed.hub import Hub
from engine.feed.trunx import Channels, Trunx
from tests.feed.conftest import Client, begin_another_history, event, eventually, record
from tests.feed.test_searches import Held

ALL = Channels()
PATIENT_S = 600.0  # longer than a busy machine takes to make a client fall behind
LONG = event(text="x" * 100)


async def lag(db: AsyncEngine, redis: Redis, hub: Hub, count: int) -> tuple[Client, Client]:
    """One that stopped reading at event `count`, and one that goes on."""
    slow, healthy = Client(stalled=True), Client()
    await hub.subscribe(1, slow, Trunx, ALL, None)
    await hub.subscribe(1, healthy, Trunx, ALL, None)
    await record(db, redis, 1, [LONG] * count)
    await asyncio.gather(slow.until(count), healthy.until(count))
    return slow, healthy


def names(client: Client) -> list[str]:
    return [name for name, _, _ in client.events]


@pytest.mark.parametrize("new", [0, 20], ids=["lower numbers", "higher numbers"])
async def test_who_lags_is_told_of_another_history(own_db: AsyncEngine, redis: Redis, new: int) -> None:
    async with Hub(own_db, redis, slow_reader_bytes=1_000, stall_s=PATIENT_S) as hub:
        slow, healthy = await lag(own_db, redis, hub, 10)
        await begin_another_history(own_db, newest=4)
        await eventually(lambda: names(healthy)[-1] == "replay.reset")
        if new:
            await record(own_db, redis, 1, [event()] * new)
            await healthy.until(4 + new)
        slow.move()
        await eventually(lambda: names(slow)[-1] == "replay.reset")
        await record(own_db, redis, 1, [event()])
        await slow.until(5 + new)
        assert slow.ids == [*range(1, 11), 4 + new, 5 + new]


async def test_who_resumes_is_told_of_another_history(own_db: AsyncEngine, redis: Redis) -> None:
    """It began while the history before was searched."""
    await record(own_db, redis, 1, [event()] * 10)
    async with Hub(own_db, redis, memory_events=2) as hub:
        hub._event_log = log = Held(own_db)
        client, watcher = Client(), Client()
        await hub.subscribe(1, watcher, Trunx, ALL, None)
        resuming = asyncio.create_task(hub.subscribe(1, client, Trunx, ALL, "3"))
        await eventually(lambda: log.running == [1])
        await begin_another_history(own_db, newest=4)
        await eventually(lambda: names(watcher) == ["replay.reset"])
        log.go_on.set()
        await resuming
        assert client.events[-1] == ("replay.reset", 4, {"requested": "8", "newest": 4})
        await record(own_db, redis, 1, [event()])
        await client.until(5)


async def test_a_stream_that_was_stopped_while_it_lagged_stays_silent(db: AsyncEngine, redis: Redis) -> None:
    """Its connection is open still, as a WebSocket's is."""
    async with Hub(db, redis, slow_reader_bytes=1_000, stall_s=PATIENT_S) as hub:
        duties = len(hub._tasks)
        slow, healthy = await lag(db, redis, hub, 10)
        await record(db, redis, 1, [event()])
        await healthy.until(11)
        hub.unsubscribe(next(found for found in hub._subscriptions if found.sink is slow))
        slow.move()
        await eventually(lambda: len(hub._tasks) == duties)
        await record(db, redis, 1, [event()])
        await healthy.until(12)
        assert slow.is_open
        assert slow.ids == list(range(1, 11))


async def test_a_stream_that_was_stopped_is_not_cut_for_being_slow(db: AsyncEngine, redis: Redis) -> None:
    """Its connection may carry another one."""
    async with Hub(db, redis, slow_reader_bytes=1_000, stall_s=0.05) as hub:
        duties = len(hub._tasks)
        slow = Client(stalled=True)
        subscription = await hub.subscribe(1, slow, Trunx, ALL, None)
        await record(db, redis, 1, [LONG] * 10)
        await eventually(lambda: len(hub._tasks) > duties)
        hub.unsubscribe(subscription)
        await eventually(lambda: len(hub._tasks) == duties)
        assert slow.is_open
