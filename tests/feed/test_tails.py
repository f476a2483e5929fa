"""What a tail believes when the database begins another history meanwhile: only what that one says.

An older head would make it take the new events up to there for repeats.
"""

import asyncio

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.feed.chunks import Chunk
from engine.feed.log import EventLog
from engine.feed.tails import Tails
from tests.feed.conftest import AwayRedis, begin_another_history, event, record


class Slow(EventLog):
    """Once `slow`, its next read waits for `go_on`."""

    def __init__(self, db: AsyncEngine) -> None:
        super().__init__(db)
        self.slow = False
        self.is_read, self.go_on = asyncio.Event(), asyncio.Event()

    async def read(self, account_id: int, after: int, upto: int) -> Chunk | None:
        if self.slow:
            self.slow = False
            self.is_read.set()
            await self.go_on.wait()
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
    log.slow = True
    filling = asyncio.create_task(tails.refresh(tail))
    await log.is_read.wait()
    await begin_another_history(own_db, newest=4)
    await tails.sweep_once()
    log.go_on.set()
    await filling
    assert tail.last == 4


async def test_a_tail_that_began_in_the_history_before_begins_again(own_db: AsyncEngine, redis: Redis) -> None:
    log = Slow(own_db)
    await record(own_db, AwayRedis(), 1, [event()] * 10)
    tails = following(log, redis)
    log.slow = True
    beginning = asyncio.create_task(tails.get(1))
    await log.is_read.wait()
    await begin_another_history(own_db, newest=4)
    await tails.sweep_once()
    log.go_on.set()
    assert (await beginning).last == 4
