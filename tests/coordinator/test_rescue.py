"""What was lost is enqueued again: flushed hints, dead workers, rows behind the cursor."""

import asyncio
import time
from dataclasses import replace
from datetime import timedelta

import pytest
from redis import RedisError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import Clock
from engine.coordinator.dispatch import Dispatch
from engine.coordinator.lease import Lease
from engine.coordinator.rescue import Loss, Rescue
from engine.coordinator.shard import Position, Shard, Walk
from engine.rules.campaign import Action
from engine.runtime import Runtime, connect_redis
from engine.store import campaigns
from tests.coordinator.conftest import MakeCampaign, add_dids, add_prospects, messages
from tests.coordinator.test_dispatch import until_sent


def age_hints(walk: Walk, seconds: float) -> None:
    walk.hints = {key: (attempt, at - seconds) for key, (attempt, at) in walk.hints.items()}


async def begin(db: AsyncEngine, first: int) -> None:
    """As if a worker had begun the first prospects."""
    async with db.begin() as conn:
        await conn.execute(
            text("update prospects set state = 1 where id in (select id from prospects order by id limit :n)"),
            {"n": first},
        )


async def test_after_a_flush_the_expired_hints_are_enqueued_again(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    await make_campaign(prospects=30)
    await add_dids(db, clock)
    await lease.run_once()
    dispatch, rescue = Dispatch(runtime, shard), Rescue(runtime, shard)
    await until_sent(dispatch, shard, 30)
    await begin(db, 10)
    await runtime.redis.flushall()
    assert await rescue.run_once() == 0  # their leases still run
    (walk,) = shard.walks.values()
    age_hints(walk, runtime.settings.hint_lease_s + 1)
    assert await rescue.run_once() == 20
    assert await rescue.run_once() == 0  # they wait already
    await until_sent(dispatch, shard, 20)
    assert len(await messages(runtime.queue)) == 20


async def test_a_queue_that_was_lost_is_filled_again_at_once(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    await make_campaign(prospects=30)
    await add_dids(db, clock)
    await lease.run_once()
    dispatch, rescue = Dispatch(runtime, shard), Rescue(runtime, shard)
    await until_sent(dispatch, shard, 30)
    await begin(db, 10)
    assert await rescue.run_once() == 0
    await runtime.queue.flushall()
    assert await rescue.run_once() == 20
    await until_sent(dispatch, shard, 20)
    assert len(await messages(runtime.queue)) == 20
    assert await rescue.run_once() == 0  # and that was that


async def test_the_mark_outlives_the_longest_rest(runtime: Runtime, shard: Shard) -> None:
    """A look back that takes its time is followed by a long rest; a mark that expires in it would look like a flush."""
    rescue = Rescue(runtime, shard)
    rescue.every_s = 200.0
    await rescue.run_once()
    (mark,) = await runtime.queue.keys("carillon:queue:*")
    assert await runtime.queue.ttl(mark) > 2 * 200


async def test_the_loss_of_the_queue_wakes_the_rescue(runtime: Runtime, shard: Shard) -> None:
    nudge = asyncio.Event()
    rescue = Rescue(runtime, shard)
    loss = Loss(runtime, rescue, nudge)
    assert not await loss.run_once()  # nothing was left yet
    await rescue.run_once()
    assert not await loss.run_once()
    await runtime.queue.flushall()
    assert await loss.run_once()
    assert nudge.is_set()
    await rescue.run_once()  # leaves a new mark
    assert not await loss.run_once()


async def test_after_an_outage_hints_are_not_waited_for(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    """Workers drop what they hold while a server is away."""
    await make_campaign(prospects=30)
    await add_dids(db, clock)
    await lease.run_once()
    dispatch, rescue = Dispatch(runtime, shard), Rescue(runtime, shard)
    await until_sent(dispatch, shard, 30)
    assert await rescue.run_once() == 0
    rescue_without_redis = Rescue(replace(runtime, queue=connect_redis("redis://127.0.0.1:1/0")), shard)
    with pytest.raises(RedisError):
        await rescue_without_redis.run_once()
    rescue_without_redis._queue = runtime.queue
    assert await rescue_without_redis.run_once() == 30


async def test_after_a_pause_that_nobody_noticed_hints_are_not_waited_for(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    """Workers refused them meanwhile, and the resume comes before the next renewal."""
    campaign = await make_campaign(prospects=30)
    await add_dids(db, clock)
    await lease.run_once()
    dispatch = Dispatch(runtime, shard)
    await until_sent(dispatch, shard, 30)
    await begin(db, 10)
    for action in (Action.PAUSE, Action.RESUME):
        await campaigns.move(db, campaign.account_id, campaign.id, action, clock.now())
    await lease.run_once()
    assert await until_sent(dispatch, shard, 20, tries=50) == 20


async def test_hints_that_were_begun_are_forgotten_and_the_backlog_is_the_truth(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    await make_campaign(prospects=30)
    await add_dids(db, clock)
    await lease.run_once()
    await until_sent(Dispatch(runtime, shard), shard, 30)
    await begin(db, 25)
    await Rescue(runtime, shard).run_once()
    (walk,) = shard.walks.values()
    assert (len(walk.hints), walk.backlog) == (5, 5.0)


async def test_a_row_behind_the_cursor_is_found(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    campaign = await make_campaign()
    await add_dids(db, clock)
    await add_prospects(db, campaign, 5, clock.now())
    await lease.run_once()
    dispatch = Dispatch(runtime, shard)
    await until_sent(dispatch, shard, 5)
    await add_prospects(db, campaign, 3)  # due since ever: before all others
    assert await Rescue(runtime, shard).run_once() == 3


async def test_a_retry_is_enqueued_though_its_first_attempt_has_a_hint(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    await make_campaign(prospects=1)
    await add_dids(db, clock)
    await lease.run_once()
    dispatch = Dispatch(runtime, shard)
    await until_sent(dispatch, shard, 1)
    async with db.begin() as conn:
        await conn.execute(text("update prospects set attempt = 2, next_attempt_at = :now"), {"now": clock.now()})
    for walk in shard.walks.values():
        walk.look_at = 0.0
    assert await until_sent(dispatch, shard, 1) == 1
    assert [args[3] for args in await messages(runtime.queue)] == [1, 2]


async def test_a_row_that_was_put_off_behind_the_cursor_waits_for_no_lease(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    """An intent that found no room writes a time a moment ahead; when it commits late the cursor has passed it."""
    await make_campaign(prospects=5)
    await add_dids(db, clock)
    await lease.run_once()
    await until_sent(Dispatch(runtime, shard), shard, 5)
    (walk,) = shard.walks.values()
    age_hints(walk, 1.0)
    walk.cursor = Position(clock.now().isoformat(), 0)
    async with db.begin() as conn:
        put_off = "update prospects set reason = 'too_many_calls', next_attempt_at = :at where id % 2 = 0"
        await conn.execute(text(put_off), {"at": clock.now() - timedelta(seconds=0.5 * clock.speed)})
    renewed = await Rescue(runtime, shard).run_once()
    assert renewed == len(walk.waiting) in (2, 3)
    assert len(walk.hints) == 5 - renewed  # those that nobody has begun keep theirs, and their leases


async def test_a_claim_stays_flat_under_an_old_snapshot(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    """Dead rows pile up behind the cursor and cannot be removed; the last claims cost what the first did."""
    from engine.coordinator.claim import claim

    await make_campaign(prospects=40_000)
    await lease.run_once()
    (walk,) = shard.walks.values()
    took: list[float] = []
    async with db.connect() as old:
        await old.execute(text("set transaction isolation level repeatable read"))
        await old.execute(text("set idle_in_transaction_session_timeout = 0"))
        await old.execute(text("select count(*) from campaigns"))
        for _ in range(20):
            begun = time.perf_counter()
            (found,) = await claim(db, [(walk, 2000)], clock.now())
            took.append(time.perf_counter() - begun)
            assert len(found.due) == 2000
            walk.cursor = found.cursor
            async with db.begin() as conn:
                await conn.execute(
                    text("update prospects set state = 4, next_attempt_at = 'infinity' where id = any(:ids)"),
                    {"ids": [due.prospect_id for due in found.due]},
                )
    # without the cursor the last claim would step over 38,000 dead rows: some twenty times the first
    assert min(took[-5:]) < 4 * min(took[:5])
