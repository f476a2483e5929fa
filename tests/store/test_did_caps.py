"""A number's hour and day, over any number of connections at once (P4)."""

import asyncio
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import Clock
from engine.rules.did_caps import DAY_S, HOUR_S, used
from engine.rules.did_policy import Caps
from engine.store import did_caps
from engine.store.did_caps import Wanted

RIVALS = 8


async def take(db: AsyncEngine, wanted: dict[int, int], caps: Caps, now: datetime) -> dict[int, int]:
    async with db.begin() as conn:
        return await did_caps.take(conn, {did: Wanted(count, caps) for did, count in wanted.items()}, now)


async def test_rivals_together_never_take_more_than_the_cap(db: AsyncEngine, clock: Clock) -> None:
    caps, now = Caps(20, 1_000, 0), clock.now()
    # the same two numbers, named in opposite orders: a lock order of their own would end in a deadlock
    orders = [{1: 3, 2: 4}, {2: 4, 1: 3}] * (RIVALS // 2)
    rounds = [take(db, order, caps, now + timedelta(seconds=each)) for each in range(4) for order in orders]
    granted = await asyncio.gather(*rounds)
    assert sum(each[1] for each in granted) == 20
    assert sum(each[2] for each in granted) == 20


async def test_what_is_rolled_back_was_not_called(db: AsyncEngine, clock: Clock) -> None:
    caps, now = Caps(5, 5, 0), clock.now()
    async with db.connect() as conn:
        assert await did_caps.take(conn, {1: Wanted(5, caps)}, now) == {1: 5}
    assert await take(db, {1: 5}, caps, now) == {1: 5}
    assert await take(db, {1: 1}, caps, now) == {1: 0}


async def test_the_hour_slides_and_the_day_goes_on(db: AsyncEngine, clock: Clock) -> None:
    caps, now = Caps(10, 25, 0), clock.now()
    taken = [(await take(db, {1: 10}, caps, now + timedelta(minutes=62 * hour)))[1] for hour in range(4)]
    assert taken == [10, 10, 5, 0]
    async with db.connect() as conn:
        usage = await did_caps.read(conn, 1)
    later = (now + timedelta(minutes=62 * 3)).timestamp()
    assert (used(usage.hour, HOUR_S, later), used(usage.day, DAY_S, later)) == (0, 25)


async def test_a_gap_lets_one_call_through_at_a_time(db: AsyncEngine, clock: Clock) -> None:
    caps, now = Caps(10, 25, 60), clock.now()
    moments = [now, now, now + timedelta(seconds=59), now + timedelta(seconds=60)]
    assert [(await take(db, {1: 3}, caps, moment))[1] for moment in moments] == [1, 0, 0, 1]
