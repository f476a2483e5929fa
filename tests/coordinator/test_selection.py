"""Which number a prospect is given: the one before, a blocked one, a capped one, none at all."""

from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import Clock
from engine.coordinator.dispatch import Dispatch
from engine.coordinator.lease import Lease
from engine.coordinator.shard import Shard
from engine.jobs import Queue
from engine.rules.prospect import Outcome
from engine.runtime import Runtime
from engine.store.campaigns import Campaign
from tests.coordinator.conftest import ACCOUNT, MakeCampaign, add_dids, add_prospects, events, messages
from tests.coordinator.test_dispatch import until_sent

NUMBERS = ("+14155550101", "+14155550102", "+14155550103")


async def called_before(
    db: AsyncEngine, campaign: Campaign, did_id: int, *, attempt: int = 2, outcome: Outcome = Outcome.NO_ANSWER
) -> None:
    """As if every prospect of the campaign had been called once from this number, and were due again."""
    async with db.begin() as conn:
        await conn.execute(
            text("""
                insert into attempts (prospect_id, attempt, campaign_id, account_id, phone, did_id, from_number,
                                      carrier, state, outcome, intent_at, rules_version)
                select id, :attempt - 1, campaign_id, account_id, phone, :did, '', 'x', 9, :outcome, now(), ''
                  from prospects where campaign_id = :campaign
            """),
            {"campaign": campaign.id, "did": did_id, "attempt": attempt, "outcome": outcome},
        )
        await conn.execute(text("update prospects set attempt = :attempt"), {"attempt": attempt})


async def set_state(db: AsyncEngine, did_id: int, state: str, reason: str = "", until: object = None) -> None:
    async with db.begin() as conn:
        statement = "update dids set state = :state, state_reason = :reason, state_until = :until where id = :id"
        await conn.execute(text(statement), {"id": did_id, "state": state, "reason": reason, "until": until})


async def status(db: AsyncEngine, campaign: Campaign) -> str:
    async with db.connect() as conn:
        found = await conn.execute(text("select status from campaigns where id = :id"), {"id": campaign.id})
        return str(found.scalar_one())


async def test_a_retry_comes_from_the_number_that_called_before(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    campaign = await make_campaign(prospects=12)
    _, second, _ = await add_dids(db, clock, *NUMBERS)
    await called_before(db, campaign, second.id)
    await lease.run_once()
    assert await until_sent(Dispatch(runtime, shard), shard, 12) == 12
    assert {args[5] for args in await messages(runtime.queue)} == {second.id}


async def test_after_a_failure_a_retry_waits_for_its_own_number_and_in_nobodys_way(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    """The failure may have been a block that nobody announced."""
    failed, unanswered = await make_campaign(prospects=6), await make_campaign(prospects=6)
    _, second, _ = await add_dids(db, clock, *NUMBERS)
    await called_before(db, unanswered, second.id)
    await called_before(db, failed, second.id, outcome=Outcome.FAILED)
    async with db.begin() as conn:
        await conn.execute(text("update dids set calls_per_minute = 1 where id = :id"), {"id": second.id})
    await add_prospects(db, failed, 4)
    await lease.run_once()
    await until_sent(Dispatch(runtime, shard), shard, 10)
    sent = await messages(runtime.queue)
    assert second.id not in {args[5] for args in sent}
    assert Counter((args[1], args[3]) for args in sent) == {(unanswered.id, 2): 6, (failed.id, 1): 4}
    assert {due.last_did for due in shard.walks[failed.id].waiting} == {second.id}


async def test_another_number_stands_in_for_a_tired_one(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    campaign = await make_campaign(prospects=6)
    first, second, third = await add_dids(db, clock, *NUMBERS)
    await called_before(db, campaign, second.id)
    await set_state(db, second.id, "cooling", "low_score")
    await lease.run_once()
    assert await until_sent(Dispatch(runtime, shard), shard, 6) == 6
    assert {args[5] for args in await messages(runtime.queue)} == {first.id, third.id}


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("cooling", "network_block"),
        ("quarantine", "still_labelled"),
        ("burned", "flagged_too_often"),
        ("quarantine", "releasing"),
        ("released", "released"),
    ],
)
async def test_no_number_stands_in_for_a_blocked_one(
    runtime: Runtime,
    lease: Lease,
    shard: Shard,
    make_campaign: MakeCampaign,
    db: AsyncEngine,
    clock: Clock,
    state: str,
    reason: str,
) -> None:
    """The hint names the blocked number, and the intent holds the person back (tests/dispatch/test_callers.py)."""
    campaign = await make_campaign(prospects=6)
    _, second, _ = await add_dids(db, clock, *NUMBERS)
    await called_before(db, campaign, second.id)
    await set_state(db, second.id, state, reason)
    async with db.begin() as conn:
        await conn.execute(text("update dids set flags = 1 where id = :id"), {"id": second.id})
    await lease.run_once()
    assert await until_sent(Dispatch(runtime, shard), shard, 6) == 6
    assert {(args[5], args[6]) for args in await messages(runtime.queue)} == {(second.id, second.number)}


async def test_a_capped_number_is_not_asked_for_more_than_it_has_left(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    await make_campaign(prospects=50)
    full, some, gone = await add_dids(db, clock, *NUMBERS)
    await set_state(db, gone.id, "burned")
    now = clock.now().timestamp()
    async with db.begin() as conn:
        await conn.execute(text("update campaigns set is_live = true"))
        for did, free_at, room in ((full, now + 600, 9), (some, now - 5, 4)):
            await conn.execute(
                text("insert into did_usage values (:id, '{}', '{}', 0, :free_at, :room)"),
                {"id": did.id, "free_at": free_at, "room": room},
            )
    await lease.run_once()
    assert await until_sent(Dispatch(runtime, shard), shard, 5, tries=40) == 4  # what is under way counts at once
    assert [args[5] for args in await messages(runtime.queue)] == [some.id] * 4


async def test_warming_numbers_are_used(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    await make_campaign(prospects=2)
    (did,) = await add_dids(db, clock)
    await set_state(db, did.id, "warming")
    await lease.run_once()
    assert await until_sent(Dispatch(runtime, shard), shard, 2) == 2


@pytest.mark.parametrize(
    ("minutes", "expected"), [(10, "dialing"), (20, "paused"), (None, "paused")], ids=["soon", "later", "never"]
)
async def test_a_campaign_waits_for_a_number_that_is_back_soon(
    runtime: Runtime,
    lease: Lease,
    shard: Shard,
    make_campaign: MakeCampaign,
    db: AsyncEngine,
    clock: Clock,
    minutes: int | None,
    expected: str,
) -> None:
    campaign = await make_campaign(prospects=2)
    (did,) = await add_dids(db, clock)
    until = None if minutes is None else clock.now() + timedelta(minutes=minutes)
    await set_state(db, did.id, "cooling", "low_score", until)
    await lease.run_once()
    assert await Dispatch(runtime, shard).run_once() == 0
    assert await status(db, campaign) == expected
    assert len(await events(db, "campaign.paused.no_dids")) == (expected == "paused")


async def test_area_codes_select_the_pools_numbers(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    strategy = {"selection": "least_recently_used", "local_presence": True}
    await make_campaign(prospects=8, caller_ids=("212", "415"), strategy=strategy)
    await add_dids(db, clock, "+14155550101", "+12125550102", "+13105550103")
    await lease.run_once()
    assert await until_sent(Dispatch(runtime, shard), shard, 8) == 8
    sent = await messages(runtime.queue, Queue.DIAL)
    assert {(args[0], args[6]) for args in sent} == {(ACCOUNT, "+14155550101")}  # 212 when that is busy, 310 never
