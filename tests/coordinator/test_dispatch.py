"""From due prospects to messages: pace, numbers, and what happens when there are none."""

from dataclasses import replace

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import Clock, add
from engine.coordinator.dispatch import Dispatch
from engine.coordinator.lease import Lease
from engine.coordinator.shard import Shard
from engine.jobs import Queue
from engine.limits import buckets
from engine.runtime import Runtime
from tests.coordinator.conftest import ACCOUNT, MakeCampaign, add_dids, add_prospects, events, messages


async def until_sent(dispatch: Dispatch, shard: Shard, wanted: int, tries: int = 200) -> int:
    """Ticks until so many were enqueued; buckets start empty and fill in real time."""
    sent = 0
    for _ in range(tries):
        sent += await dispatch.run_once()
        if sent >= wanted:
            break
        for walk in shard.walks.values():
            walk.ask_at = 0.0
    return sent


async def test_each_due_prospect_becomes_one_message(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    campaign = await make_campaign(prospects=50)
    (did,) = await add_dids(db, clock)
    await lease.run_once()
    assert await until_sent(Dispatch(runtime, shard), shard, 50) == 50
    sent = await messages(runtime.queue)
    async with db.connect() as conn:
        rows = (await conn.execute(text("select id, phone from prospects order by id"))).all()
    assert sent == [[ACCOUNT, campaign.id, row.id, 1, row.phone, did.id, did.number] for row in rows]


async def test_a_prospect_is_not_enqueued_twice_while_its_hint_lives(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    await make_campaign(prospects=20)
    await add_dids(db, clock)
    await lease.run_once()
    dispatch = Dispatch(runtime, shard)
    await until_sent(dispatch, shard, 20)
    (walk,) = shard.walks.values()
    walk.begin_again()
    assert await dispatch.run_once() == 0


async def test_what_is_due_later_waits(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    campaign = await make_campaign()
    await add_prospects(db, campaign, 5, add(clock.now(), 3600))
    await add_dids(db, clock)
    await lease.run_once()
    dispatch = Dispatch(runtime, shard)
    assert await until_sent(dispatch, shard, 1, tries=3) == 0
    runtime.clock = replace(clock, engine_anchor=clock.engine_anchor + 3600)
    shard.walks[campaign.id].look_at = 0.0
    assert await until_sent(dispatch, shard, 5) == 5


async def test_the_queue_is_as_deep_as_the_campaigns_pace(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    await make_campaign(prospects=500, calls_per_second=10)
    await add_dids(db, clock)
    await lease.run_once()
    sent = await until_sent(Dispatch(runtime, shard), shard, 500, tries=20)
    depth_s = runtime.settings.queue_depth_s
    assert 10 * depth_s <= sent <= 10 * (depth_s + 2)


async def test_room_is_shared_by_campaigns(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    ids = {(await make_campaign(prospects=3000)).id for _ in range(3)}
    await add_dids(db, clock)
    await lease.run_once()
    await until_sent(Dispatch(runtime, shard), shard, 1300)  # of 2,000; there is no more until a third is gone
    per_campaign = [sum(args[1] == each for args in await messages(runtime.queue)) for each in ids]
    assert max(per_campaign) - min(per_campaign) <= 0.02 * sum(per_campaign)
    assert 1300 <= sum(per_campaign) <= 2000  # an unmeasured queue is not filled deeper


async def test_no_active_number_pauses_the_campaign_and_says_so(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine
) -> None:
    campaign = await make_campaign(prospects=1)
    await lease.run_once()
    assert await Dispatch(runtime, shard).run_once() == 0
    async with db.connect() as conn:
        row = (await conn.execute(text("select status, status_reason from campaigns"))).one()
    assert tuple(row) == ("paused", "no_dids")
    (event,) = await events(db, "campaign.paused.no_dids")
    assert event["payload"]["campaignId"] == campaign.public_id  # type: ignore[index]
    assert not shard.walks


async def test_numbers_without_tokens_only_wait(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    await make_campaign(prospects=3)
    await add_dids(db, clock)
    async with db.begin() as conn:
        await conn.execute(text("update dids set calls_per_minute = 1"))
    await lease.run_once()
    assert await until_sent(Dispatch(runtime, shard), shard, 1, tries=3) == 0  # the bucket starts empty
    async with db.connect() as conn:
        assert (await conn.execute(text("select status from campaigns"))).scalar_one() == "dialing"
    (walk,) = shard.walks.values()
    assert [due.prospect_id for due in walk.waiting] == sorted(due.prospect_id for due in walk.waiting)
    assert len(walk.waiting) == 3


async def test_an_sms_goes_only_over_a_number_whose_gap_is_over(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    await make_campaign(prospects=10, channel="sms")
    free, busy = await add_dids(db, clock, "+14155550101", "+14155550102")
    async with db.begin() as conn:
        await conn.execute(text("update dids set sms_free_at = 'infinity' where id = :id"), {"id": busy.id})
    await lease.run_once()
    bucket = buckets.Buckets(runtime.redis)
    now_ms = 0
    # the hold of a number that was never used fills within SMS_HOLD_S: as if that had passed
    await bucket.take([(buckets.sms_hold(free.id), 0)], now_ms)
    assert await Dispatch(runtime, shard).run_once() == 1
    (sent,) = await messages(runtime.queue, Queue.SEND)
    assert sent[5:] == [free.id, free.number]


async def test_a_one_off_call_comes_from_its_own_number(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    campaign = await make_campaign(calls_per_second=100)
    _, second, _ = await add_dids(db, clock, "+14155550101", "+14155550102", "+14155550103")
    async with db.begin() as conn:
        await conn.execute(text("update campaigns set is_direct = true"))
        await conn.execute(
            text("""insert into prospects (campaign_id, account_id, phone, one_off, data)
                    select :id, :account, '+14155550199', n, '{"from": "+14155550102"}'
                      from generate_series(1, 3) n"""),
            {"id": campaign.id, "account": ACCOUNT},
        )
    await lease.run_once()
    assert await until_sent(Dispatch(runtime, shard), shard, 3) == 3
    assert [args[5] for args in await messages(runtime.queue)] == [second.id] * 3


async def test_messages_that_redis_refused_are_sent_later(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    await make_campaign(prospects=10)
    await add_dids(db, clock)
    await lease.run_once()
    dispatch = Dispatch(runtime, shard)
    await runtime.queue.set("dramatiq:dial.msgs", "not a hash")
    failures = 0
    for _ in range(100):
        try:
            await dispatch.run_once()
        except Exception:
            failures += 1
            break
        for walk in shard.walks.values():
            walk.ask_at = 0.0
    assert failures == 1
    await runtime.queue.flushdb()
    assert await until_sent(dispatch, shard, 10) == 10


async def test_redis_is_not_asked_when_nothing_is_due(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, redis: Redis, queue_redis: Redis
) -> None:
    await make_campaign()
    await lease.run_once()
    dispatch = Dispatch(runtime, shard)
    await dispatch.run_once()
    before = (await redis.info("stats"))["total_commands_processed"]
    for _ in range(20):
        assert await dispatch.run_once() == 0
    assert (await redis.info("stats"))["total_commands_processed"] - before == 1
