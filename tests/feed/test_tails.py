"""What a tail believes when the database begins another history meanwhile: only what that one says.

An older head would make it take the new events up to there for repeats.
"""

import asyncio

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.feed.chunks import Chunk
from engine.feed.log import EventLog
from engine.feed.tails import Tails
from tests.feed.conftest import AwayRedis, begin_another_history, event, record


class Gate:
    def __init__(self) -> None:
        self.is_reached, self.is_open = asyncio.Event(), asyncio.Event()


class Slow(EventLog):
    """The next read of each account in `gates` waits for its gate."""

    def __init__(self, db: AsyncEngine) -> None:
        super().__init__(db)
        self.gates: dict[int, Gate] = {}

    def hold(self, account_id: int) -> Gate:
        gate = self.gates[account_id] = Gate()
        return gate

    async def read(self, account_id: int, after: int, upto: int) -> Chunk | None:
        gate = self.gates.pop(account_id, None)
        if gate is not None:
            gate.is_reached.set()
            await gate.is_open.wait()
        return await super().read(account_id, after, upto)


def following(log: EventLog, redis: Redis) -> Tails:
    return Tails(log, redis, size=100, limit_bytes=1_000_000, on_lag=lambda _: None)


async def test_what_was_seen_of_the_history_before_is_forgotten(own_db: AsyncEngine, redis: Redis) -> None:
    await record(own_db, redis, 1, [event()] * 10)
    tails = following(EventLog(own_db), redis)
    tail = await tails.get(1)
    await tails.sweep_once()
    await begin_another_history(own_db, newest=4)
    await tails.sweep_once()
    assert tail.last == 4
    await tails.sweep_once()
    assert tail.last == 4


async def test_a_hole_of_the_history_before_is_not_filled(own_db: AsyncEngine, redis: Redis) -> None:
    log = Slow(own_db)
    await record(own_db, redis, 1, [event()] * 4)
    tails = following(log, redis)
    tail = await tails.get(1)
    await record(own_db, AwayRedis(), 1, [event()] * 6)
    gate = log.hold(1)
    filling = asyncio.create_task(tails.refresh(tail))
    await gate.is_reached.wait()
    await begin_another_history(own_db, newest=4)
    await tails.sweep_once()
    gate.is_open.set()
    await filling
    assert tail.last == 4


async def test_a_tail_that_began_in_the_history_before_begins_again(own_db: AsyncEngine, redis: Redis) -> None:
    log = Slow(own_db)
    await record(own_db, AwayRedis(), 1, [event()] * 10)
    tails = following(log, redis)
    gate = log.hold(1)
    beginning = asyncio.create_task(tails.get(1))
    await gate.is_reached.wait()
    await begin_another_history(own_db, newest=4)
    await tails.sweep_once()
    gate.is_open.set()
    assert (await beginning).last == 4


async def test_a_tail_that_begins_while_another_history_is_entered_is_none_of_the_one_before(
    own_db: AsyncEngine, redis: Redis
) -> None:
    log = Slow(own_db)
    await record(own_db, redis, 1, [event()] * 4)
    tails = following(log, redis)
    await tails.get(1)
    await begin_another_history(own_db, newest=4)
    await record(own_db, redis, 2, [event()] * 3)
    gate = log.hold(1)
    sweeping = asyncio.create_task(tails.sweep_once())
    await gate.is_reached.wait()
    late = await tails.get(2)
    gate.is_open.set()
    await sweeping
    assert (late.last, late.history) == (3, 0)


async def test_a_tail_that_began_before_while_another_history_is_entered_begins_again(
    own_db: AsyncEngine, redis: Redis
) -> None:
    """It had read how far the history before went, and nothing of it is there any more."""
    log = Slow(own_db)
    await record(own_db, redis, 1, [event()] * 4)
    await record(own_db, AwayRedis(), 2, [event()] * 10)
    tails = following(log, redis)
    await tails.get(1)
    beginning = log.hold(2)
    getting = asyncio.create_task(tails.get(2))
    await beginning.is_reached.wait()
    await begin_another_history(own_db, newest=4)
    async with own_db.begin() as conn:
        await conn.execute(text("update event_heads set seq = 6 where account_id = 2"))
    judging = log.hold(1)
    sweeping = asyncio.create_task(tails.sweep_once())
    await judging.is_reached.wait()
    beginning.is_open.set()
    late = await getting
    assert late.last == 10
    judging.is_open.set()
    await sweeping
    assert late.last == 6
