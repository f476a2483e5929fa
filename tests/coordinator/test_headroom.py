"""Calls at one time, seen from the coordinator: it enqueues what there is room for, and forecasts for the intents."""

from collections.abc import Mapping
from datetime import timedelta

import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import Clock
from engine.coordinator.dispatch import Dispatch
from engine.coordinator.forecast import Forecasts
from engine.coordinator.headroom import Headroom
from engine.coordinator.lease import Lease
from engine.coordinator.shard import Shard
from engine.coordinator.stats import Stats
from engine.coordinator.upkeep import Fold
from engine.rules.pacing import LEAST_CALLS, Figure, Stage
from engine.runtime import Runtime
from engine.store import accounts, call_hours
from engine.store.campaigns import Campaign
from tests.coordinator.conftest import ACCOUNT, MakeCampaign, add_dids, events, messages

AGENT = {"kind": "native", "id": "a", "capacity": 5}
PREDICTIVE = {"agent": AGENT, "pacing": "predictive"}


@pytest.fixture(autouse=True)
async def account(db: AsyncEngine, clock: Clock) -> None:
    async with db.begin() as conn:
        await accounts.create(conn, "an account", clock.now(), account_id=ACCOUNT)


async def set_mode(db: AsyncEngine, campaign: Campaign, mode: Mapping[str, object]) -> None:
    async with db.begin() as conn:
        await conn.execute(
            text("update campaigns set mode = cast(:mode as jsonb) where id = :id"),
            {"mode": orjson.dumps(mode).decode(), "id": campaign.id},
        )


async def up(db: AsyncEngine, campaign: Campaign, count: int) -> None:
    """So many calls of a paced campaign ring: rows and counters as their intents leave them."""
    async with db.begin() as conn:
        await conn.execute(
            text("""
                insert into attempts (prospect_id, attempt, campaign_id, account_id, phone, did_id, from_number,
                                      carrier, state, intent_at, check_at, rules_version, needs_agent)
                select id, 1, campaign_id, account_id, phone, 1, '+14155550100', 'simulated-command', 1, now(),
                       now() + interval '1 hour', 'test', true
                  from prospects where campaign_id = :id and state = 0 order by id limit :n
            """),
            {"id": campaign.id, "n": count},
        )
        await conn.execute(
            text("""
                update prospects set state = 1
                 where campaign_id = :id and id in (select prospect_id from attempts where campaign_id = :id)
            """),
            {"id": campaign.id},
        )
        await conn.execute(
            text("""
                update campaign_counts set dialing = dialing + :n, queued = queued - :n
                 where campaign_id = :id and writer = -99
            """),
            {"id": campaign.id, "n": count},
        )


@pytest.mark.parametrize(
    ("mode", "expected"),
    [({}, 30), ({"concurrentCalls": 8}, 8), ({"agent": AGENT}, 5), (PREDICTIVE, 5)],
    ids=["none", "calls", "progressive", "learning"],
)
async def test_no_more_is_enqueued_than_finds_room(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock,
    mode: Mapping[str, object], expected: int,
) -> None:  # fmt: skip
    await set_mode(db, await make_campaign(prospects=30, calls_per_second=10), mode)
    await add_dids(db, clock)
    await lease.run_once()
    (walk,) = shard.walks.values()
    cut = await Headroom(runtime).cut([(walk, 30)])
    assert cut == [(walk, expected)]


async def test_what_is_up_and_what_is_on_its_way_take_room(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine
) -> None:
    campaign = await make_campaign(prospects=30)
    await set_mode(db, campaign, {"agent": AGENT, "concurrentCalls": 100})
    await up(db, campaign, 2)
    await lease.run_once()
    (walk,) = shard.walks.values()
    walk.backlog = 1.0
    assert await Headroom(runtime).cut([(walk, 30)]) == [(walk, 2)]
    walk.backlog = 3.0
    assert await Headroom(runtime).cut([(walk, 30)]) == []


async def test_campaigns_share_their_accounts_room(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine
) -> None:
    async with db.begin() as conn:
        settings = {"s": '{"limits": {"concurrentCalls": 12}}'}
        await conn.execute(text("update accounts set settings = cast(:s as jsonb)"), settings)
    for _ in range(2):
        await make_campaign(prospects=30)
    await lease.run_once()
    cut = await Headroom(runtime).cut([(walk, 8) for walk in shard.walks.values()])
    assert sorted(count for _, count in cut) == [4, 8]


async def test_a_prospect_that_was_put_off_is_enqueued_again_at_its_time(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    """Its hint has been used, though it is not fifteen seconds old."""
    await make_campaign(prospects=1)
    await add_dids(db, clock)
    await lease.run_once()
    dispatch = Dispatch(runtime, shard)
    (walk,) = shard.walks.values()

    async def ticks() -> int:
        sent = 0
        for _ in range(300):
            walk.ask_at = walk.look_at = 0.0
            sent += await dispatch.run_once()
        return sent

    assert await ticks() == 1
    async with db.begin() as conn:
        await conn.execute(
            text("update prospects set next_attempt_at = :at"), {"at": clock.now() + timedelta(seconds=0.05)}
        )
    assert await ticks() == 1
    assert len(await messages(runtime.queue)) == 2


async def test_the_forecast_follows_the_figures_and_its_stage_outlives_the_coordinator(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    campaign = await make_campaign(prospects=10)
    await set_mode(db, campaign, PREDICTIVE)
    await up(db, campaign, 3)
    await lease.run_once()
    hour = call_hours.hour_of(clock.now())

    async def stage_with(*sums: int) -> Stage:
        async with db.begin() as conn:
            await call_hours.add(conn, {(campaign.id, hour): sums}, writer=1)
        assert await Forecasts(runtime, shard).run_once() == 1
        async with db.connect() as conn:
            return (await call_hours.forecasts(conn, [campaign.id]))[campaign.id].stage

    assert await stage_with(0, 0, 0, 0, 0, 0) is Stage.LEARNING
    assert await stage_with(4 * LEAST_CALLS, 100, 0, 100, 1_000_000, 6_000_000) is Stage.FREE
    assert await stage_with(0, 20, 3, 0, 0, 0) is Stage.FROZEN
    async with db.connect() as conn:
        assert (await call_hours.forecasts(conn, [campaign.id]))[campaign.id].most_up == 3
    assert await stage_with(0, 2, 1, 0, 0, 0) is Stage.HELD
    assert await stage_with(0, 40, 0, 0, 0, 0) is Stage.HELD  # 2.5 %: another coordinator's, and not down yet
    assert await stage_with(0, 100, 0, 0, 0, 0) is Stage.FREE


async def test_a_campaign_that_cannot_be_read_holds_up_no_other(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    await set_mode(db, await make_campaign(prospects=1), {"ringTimeout": "soon"})
    campaign = await make_campaign(prospects=5)
    await add_dids(db, clock)
    await lease.run_once()
    dispatch = Dispatch(runtime, shard)
    for _ in range(300):
        for walk in shard.walks.values():
            walk.ask_at = 0.0
        await dispatch.run_once()
    sent = [message[1] for message in await messages(runtime.queue)]
    assert sent.count(campaign.id) == 5


async def test_a_campaign_that_cannot_be_read_holds_up_no_forecast(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine
) -> None:
    for mode in (PREDICTIVE | {"ringTimeout": "soon"}, PREDICTIVE):
        await set_mode(db, await make_campaign(prospects=1), mode)
    await lease.run_once()
    assert await Forecasts(runtime, shard).run_once() == 1


async def test_only_campaigns_that_call_ahead_are_forecast(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine
) -> None:
    await set_mode(db, await make_campaign(prospects=1), {"agent": AGENT})
    await make_campaign(prospects=1, channel="sms")
    await lease.run_once()
    assert await Forecasts(runtime, shard).run_once() == 0


async def test_stats_show_the_rate_of_thirty_days(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    campaign = await make_campaign(prospects=1)
    await lease.run_once()
    async with db.begin() as conn:
        await call_hours.add(conn, {(campaign.id, call_hours.hour_of(clock.now())): (9, 3, 1, 2, 0, 0)}, writer=1)
    await Stats(runtime, shard).run_once()
    await Fold(runtime, shard).run_once()
    (event,) = await events(db, "campaign.stats.updated")
    assert event["payload"]["stats"]["abandonRate"] == 0.3333  # type: ignore[index]
    async with db.connect() as conn:
        assert await call_hours.figures(conn, [campaign.id], clock.now()) == {campaign.id: Figure(3, 1)}
