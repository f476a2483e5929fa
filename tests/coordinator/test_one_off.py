"""One-off texts at the coordinator: at once, from the number that was named, and never in a campaign's way."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import Clock, boottime
from engine.coordinator.dispatch import Dispatch
from engine.coordinator.lease import Lease
from engine.coordinator.one_off import OneOffPace
from engine.coordinator.shard import START, Shard
from engine.coordinator.usage import Usage
from engine.jobs import Queue
from engine.rules.usage import Use
from engine.runtime import Runtime
from engine.store import campaigns, messages, usage
from engine.store.campaigns import Campaign
from tests.coordinator.conftest import ACCOUNT, MakeCampaign, add_dids, events
from tests.coordinator.conftest import messages as queued

FIRST, SECOND = "+14155550101", "+14155550102"
_phones = itertools.count(0)


async def ask(db: AsyncEngine, clock: Clock, count: int, sender: str = FIRST) -> tuple[Campaign, list[int]]:
    """Messages as the api queues them; the hidden campaign and the prospects."""
    async with db.begin() as conn:
        home = await campaigns.direct(conn, ACCOUNT, "sms", False, "simulated-command", clock.now())
        ids = [
            await messages.queue(conn, home, sender, f"+1212555{next(_phones):04d}", "Hello", clock.now())
            for _ in range(count)
        ]
    return home, ids


@pytest.fixture
def dispatch(runtime: Runtime, shard: Shard) -> Dispatch:
    return Dispatch(runtime, shard)


async def test_the_first_tick_enqueues_all_that_a_number_may_send(
    dispatch: Dispatch, runtime: Runtime, lease: Lease, shard: Shard, db: AsyncEngine, clock: Clock
) -> None:
    (did,) = await add_dids(db, clock, FIRST)
    home, ids = await ask(db, clock, 5)
    await lease.run_once()
    assert await dispatch.run_once() == 5
    sent = await queued(runtime.queue, Queue.SEND)
    assert [[*hint[:4], *hint[5:]] for hint in sent] == [
        [ACCOUNT, home.id, id_, 1, did.id, did.number, True] for id_ in sorted(ids)
    ]


async def test_a_campaign_under_way_on_the_number_is_no_hindrance(
    dispatch: Dispatch, lease: Lease, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    await make_campaign(prospects=5, channel="sms")
    await add_dids(db, clock, FIRST)
    async with db.begin() as conn:
        await conn.execute(text("update dids set sms_free_at = 'infinity'"))
    await ask(db, clock, 3)
    await lease.run_once()
    assert await dispatch.run_once() == 3  # the one-off texts, and none of the campaign's


async def test_a_number_over_its_rate_keeps_no_other_waiting(
    dispatch: Dispatch, runtime: Runtime, lease: Lease, shard: Shard, db: AsyncEngine, clock: Clock
) -> None:
    await add_dids(db, clock, FIRST, SECOND)
    burst = int(runtime.settings.sms_per_second)
    home, _ = await ask(db, clock, 3 * burst)
    await lease.run_once()
    assert await dispatch.run_once() == burst
    _, (late,) = await ask(db, clock, 1, SECOND)
    shard.walks[home.id].begin_again()  # what the api's wake-up does
    await dispatch.run_once()
    assert late in {hint[2] for hint in await queued(runtime.queue, Queue.SEND)}
    waiting = [due.prospect_id for due in shard.walks[home.id].waiting]
    assert len(waiting) == len(set(waiting))  # a look back finds nobody twice


async def test_a_woken_walk_looks_back_a_little_and_not_to_its_front(
    dispatch: Dispatch, lease: Lease, shard: Shard, db: AsyncEngine, clock: Clock
) -> None:
    """A transaction that began earlier may commit later: its contact then lies behind the cursor."""
    await add_dids(db, clock, FIRST)
    home, (first, second) = await ask(db, clock, 2)
    async with db.begin() as conn:  # not committed yet when the coordinator looks
        await conn.execute(
            text("update prospects set state = 5, next_attempt_at = 'infinity' where id = :id"), {"id": first}
        )
    await lease.run_once()
    walk = shard.walks[home.id]
    assert await dispatch.run_once() == 1
    reached = walk.cursor
    assert reached != START
    async with db.begin() as conn:
        await conn.execute(
            text("""
                update prospects set state = 0, next_attempt_at = (select next_attempt_at - interval '10 ms'
                  from prospects where id = :second) where id = :first
            """),
            {"first": first, "second": second},
        )
    walk.look_at = 0.0
    assert await dispatch.run_once() == 0  # behind the cursor, and nobody woke it
    walk.begin_again()
    assert walk.cursor == reached
    assert await dispatch.run_once() == 1
    assert set(walk.hints) == {first, second}


async def test_a_number_added_a_moment_ago_is_found(
    dispatch: Dispatch, runtime: Runtime, lease: Lease, shard: Shard, db: AsyncEngine, clock: Clock
) -> None:
    await add_dids(db, clock, FIRST)
    home, _ = await ask(db, clock, 1)
    await lease.run_once()
    assert await dispatch.run_once() == 1
    await add_dids(db, clock, SECOND)
    await ask(db, clock, 1, SECOND)
    walk = shard.walks[home.id]
    deadline = boottime() + 30
    while len(walk.hints) < 2:  # the list is read anew after a quarter of a second, not after two
        walk.begin_again()
        await dispatch.run_once()
        assert boottime() < deadline


# ── the pace ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_rested_number_has_a_seconds_worth() -> None:
    pace = OneOffPace(20)
    assert pace.take({1: 100, 2: 5}, now=0.0) == {1: 20, 2: 5}
    assert pace.take({1: 100, 2: 100}, now=0.0) == {1: 0, 2: 15}
    assert pace.take({1: 100}, now=0.5) == {1: 10}
    pace.put_back(1, 4)
    assert pace.take({1: 100}, now=0.5) == {1: 4}
    pace.forget_full(now=100.0)
    assert pace.take({1: 100}, now=100.0) == {1: 20}


def test_a_rate_below_one_a_second_still_sends_one() -> None:
    pace = OneOffPace(0.1)
    assert [pace.take({1: 3}, now=float(at))[1] for at in (0, 5, 10, 15, 20)] == [1, 0, 1, 0, 1]


@given(st.floats(0.1, 100), st.lists(st.tuples(st.floats(0, 5), st.integers(0, 50)), max_size=40))
def test_never_more_than_the_rate_and_one_burst(rate: float, asked: list[tuple[float, int]]) -> None:
    pace, now, granted = OneOffPace(rate), 0.0, 0
    for wait_s, most in asked:
        now += wait_s
        given_now = pace.take({1: most}, now)[1]
        assert 0 <= given_now <= most
        granted += given_now
    assert granted <= max(1.0, rate) + rate * now + 1e-6


# ── usage ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_usage_is_told_at_most_once_per_change(
    runtime: Runtime, lease: Lease, shard: Shard, db: AsyncEngine, clock: Clock
) -> None:
    await ask(db, clock, 1)
    await lease.run_once()
    duty = Usage(runtime, shard)

    async def use(account_id: int, quantity: int) -> None:
        async with db.begin() as conn:
            await usage.add(conn, {Use(account_id, clock.now().date(), "sms.send"): quantity}, 1)

    await use(ACCOUNT, 3)
    assert await duty.run_once() == 1
    assert await duty.run_once() == 0
    await use(ACCOUNT, 1)
    await use(99, 5)  # only receives: the next sweep tells of it
    assert await duty.run_once() == 1
    duty._swept_at = float("-inf")
    assert await duty.run_once() == 1
    told = [event["payload"] for event in await events(db, "billing.usage")]
    assert [(each["quantity"], each["total"]) for each in told] == [(3, 3), (1, 4), (5, 5)]  # type: ignore[index]
