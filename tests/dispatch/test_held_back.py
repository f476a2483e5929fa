"""A worker that is behind with what calls tell it begins no other calls."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from prometheus_client import REGISTRY
from redis.asyncio import Redis
from sqlalchemy import text

from engine.clock import Clock
from engine.dispatch.hints import Job
from engine.rules.telephony import EventKind
from tests.dispatch.attempts import event, inbox, reserve
from tests.dispatch.conftest import World
from tests.dispatch.test_pipeline import Bench, Watched, jobs_of, running, submit

HELD_BACK_S = 0.5  # an intent takes a tenth of it


def held_back_s() -> float:
    return REGISTRY.get_sample_value("carillon_held_back_seconds_total", {"channel": "voice"}) or 0.0


@asynccontextmanager
async def holding_back(world: World, bench: Bench, clock: Clock, jobs: Sequence[Job]) -> AsyncIterator[None]:
    """A worker that is behind, since somebody holds a row of what it is to settle next, and has these hints too."""
    (key,) = await reserve(world, await world.campaign(phones=["+12125550199"]), clock)
    async with world.db.begin() as conn:
        await conn.execute(text("select from attempts where prospect_id = :id for update"), {"id": key.prospect_id})
        for number in range(20):  # the first is under way, the others wait
            bench.settling.settle(f"message {number}", await inbox(world, [event(key, EventKind.RINGING)]))
        await bench.until(lambda: bench.settling.is_behind)
        since_s = held_back_s()
        submit(bench, jobs)
        await bench.until(lambda: held_back_s() > since_s + HELD_BACK_S)
        yield


async def test_who_is_behind_calls_nobody_until_it_has_caught_up(world: World, redis: Redis, clock: Clock) -> None:
    _, jobs = await jobs_of(world)
    carrier = Watched()
    async with running(world, redis, clock, carrier) as bench:
        async with holding_back(world, bench, clock, jobs[:5]):
            assert carrier.begun == []
        await bench.until(lambda: len(carrier.begun) == 5)


async def test_who_is_to_stop_while_behind_hands_its_hints_back(world: World, redis: Redis, clock: Clock) -> None:
    _, jobs = await jobs_of(world)
    carrier = Watched()
    async with running(world, redis, clock, carrier) as bench:
        async with holding_back(world, bench, clock, jobs[:5]):
            await bench.pipeline.drain()
        assert carrier.begun == []
        await bench.settling.drain()
        assert not {job.message_id for job in jobs} & set(bench.finished)
