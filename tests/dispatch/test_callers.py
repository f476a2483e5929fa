"""The sender's part of the intent, and what settling notes of a number."""

import asyncio

import pytest

from engine.clock import Clock, add, starting_at
from engine.dispatch.facts import AttemptKey
from engine.dispatch.intent import IntentBatch, IntentContext, Refusal, commit_intents
from engine.dispatch.settle import settle
from engine.rules.did_health import Kind, encode
from engine.rules.prospect import ProspectState
from engine.rules.reports import Report, carrier
from engine.rules.telephony import CarrierError, Channel, EndReason, EventKind, Fault
from tests.dispatch import attempts
from tests.dispatch.attempts import event, reserve
from tests.dispatch.conftest import World

PHONES = [f"+1212555{n:04d}" for n in range(100, 130)]


def context(clock: Clock, *, caps_test_calls: bool = True, did_policy: str = '{"gapS": 0}') -> IntentContext:
    return IntentContext(Channel.VOICE, clock, 2.0, 7.0, 1, caps_test_calls, did_policy)


def reasons(batch: IntentBatch) -> set[Refusal]:
    return {reason for _, reason in batch.refused}


async def test_a_number_makes_so_many_calls_an_hour_and_the_rest_wait(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES)
    hints = await world.hints(campaign, await world.did())
    first = await commit_intents(world.db, hints, context(clock))
    assert len(first.granted) == 10
    assert reasons(first) == {Refusal.SENDER_AT_CAP}
    assert await world.counts(campaign) == {"total": 30, "queued": 20, "dialing": 10}
    waiting = await world.execute(
        "select distinct reason, next_attempt_at <= :soon from prospects where state = 0", soon=add(clock.now(), 10)
    )
    assert waiting == [("sender_at_cap", True)]  # for another number, which the coordinator finds at once
    in_an_hour = starting_at(add(clock.now(), 3_700), 1.0)
    second = await commit_intents(world.db, hints, context(in_an_hour))
    assert len(second.granted) == 10


async def test_workers_together_never_exceed_a_cap(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES)
    hints = await world.hints(campaign, await world.did())
    parts = [hints[start : start + 5] for start in range(0, 30, 5)]
    batches = await asyncio.gather(*(commit_intents(world.db, part, context(clock)) for part in parts))
    assert sum(len(batch.granted) for batch in batches) == 10


async def test_test_calls_are_capped_only_where_it_is_asked_for(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES)
    hints = await world.hints(campaign, await world.did())
    free = await commit_intents(world.db, hints[:15], context(clock, caps_test_calls=False))
    assert len(free.granted) == 15
    await world.execute("update campaigns set is_live = true")
    capped = await commit_intents(world.db, hints[15:], context(clock, caps_test_calls=False))
    assert len(capped.granted) == 10


@pytest.mark.parametrize(
    ("columns", "allowed"),
    [
        ("state = 'warming', warming_since = :now", 3),
        ("state = 'warming', warming_since = :now - interval '8 days'", 4),
        ("state = 'active'", 8),
    ],
)
async def test_caps_are_those_of_state_and_account(world: World, clock: Clock, columns: str, allowed: int) -> None:
    campaign, did = await world.campaign(phones=PHONES), await world.did()
    await world.execute(f"update dids set {columns}, label = cast(cast(:now as timestamptz) as text)", now=clock.now())
    policy = '{"didPolicy": {"perHour": 99, "perDay": 8, "warming": [3, 4]}}'
    await world.execute("update accounts set settings = cast(:policy as jsonb)", policy=policy)
    batch = await commit_intents(world.db, await world.hints(campaign, did), context(clock))
    assert len(batch.granted) == allowed


async def test_a_number_with_a_middling_score_calls_half_as_often(world: World, clock: Clock) -> None:
    campaign, did = await world.campaign(phones=PHONES), await world.did()
    await world.execute("insert into did_health (did_id, score) values (:id, 0.75)", id=did)
    batch = await commit_intents(world.db, await world.hints(campaign, did), context(clock))
    assert len(batch.granted) == 5


async def test_who_was_called_from_a_number_that_is_blocked_is_held(world: World, clock: Clock) -> None:
    """To call on from another number would be evasion; the coordinator hints the blocked one, and the intent holds."""
    campaign, did = await world.campaign(phones=PHONES[:1]), await world.did()
    await world.execute("update prospects set attempt = 2")
    hints = await world.hints(campaign, did)
    await world.execute("update dids set state = 'cooling', state_reason = 'network_block'")
    batch = await commit_intents(world.db, hints, context(clock))
    assert reasons(batch) == {Refusal.SENDER_BLOCKED}
    ((reason, at),) = await world.execute("select reason, next_attempt_at from prospects")
    assert reason == "sender_blocked"
    assert at == add(clock.now(), 3_600) or abs((at - add(clock.now(), 3_600)).total_seconds()) < 60  # type: ignore[operator]


@pytest.mark.parametrize(("state", "reason"), [("burned", "flagged_too_often"), ("released", "released")])
async def test_who_was_called_from_a_number_that_is_blocked_for_good_is_called_no_more(
    world: World, clock: Clock, state: str, reason: str
) -> None:
    campaign, did = await world.campaign(phones=PHONES[:1]), await world.did()
    await world.execute("update prospects set attempt = 2")
    hints = await world.hints(campaign, did)
    await world.execute("update dids set state = :state, state_reason = :reason, flags = 4", state=state, reason=reason)
    assert reasons(await commit_intents(world.db, hints, context(clock))) == {Refusal.SENDER_BLOCKED}
    ((held, prospect_state),) = await world.execute("select reason, state from prospects")
    assert (held, prospect_state) == ("sender_blocked", ProspectState.CANCELLED)


@pytest.mark.parametrize(
    ("state", "reason"), [("cooling", "low_score"), ("burned", "worn_out"), ("quarantine", "releasing")]
)
async def test_a_tired_number_is_only_not_ready(world: World, clock: Clock, state: str, reason: str) -> None:
    campaign, did = await world.campaign(phones=PHONES[:1]), await world.did()
    await world.execute("update prospects set attempt = 2")
    hints = await world.hints(campaign, did)
    await world.execute("update dids set state = :state, state_reason = :reason", state=state, reason=reason)
    assert reasons(await commit_intents(world.db, hints, context(clock))) == {Refusal.SENDER_NOT_READY}


async def test_a_warming_number_is_used(world: World, clock: Clock) -> None:
    campaign, did = await world.campaign(phones=PHONES[:1]), await world.did()
    await world.execute("update dids set state = 'warming'")
    batch = await commit_intents(world.db, await world.hints(campaign, did), context(clock))
    assert len(batch.granted) == 1


async def outcomes(world: World) -> list[object]:
    rows = await world.execute("select unnest(codes) from did_outcomes order by id")
    return sorted(row[0] for row in rows)  # type: ignore[type-var]


async def test_calls_leave_their_outcome_once(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:4])
    await world.execute("update campaigns set is_live = true")
    keys = await reserve(world, campaign, clock)
    blocked = CarrierError(Fault.BLOCKED, "603+", "Network Blocked")
    told: dict[AttemptKey, list[Report]] = {
        keys[0]: [carrier(each) for each in attempts.human(keys[0])],
        keys[1]: [carrier(event(keys[1], EventKind.CALL_ENDED, end=EndReason.NO_ANSWER, duration_s=0))],
        keys[2]: [carrier(event(keys[2], EventKind.CALL_ENDED, end=EndReason.BLOCKED, duration_s=0))],
        keys[3]: [carrier(event(keys[3], EventKind.CALL_ENDED, end=EndReason.FAILED, duration_s=0, error=blocked))],
    }
    for _ in range(2):
        await settle(world.db, told, attempts.context(clock))
    expected = [encode(Kind.PERSON, 30), encode(Kind.NO_ANSWER, 0), *[encode(Kind.BLOCKED, 0)] * 2]
    assert await outcomes(world) == sorted(expected)
    assert await world.execute("select count(*) from did_outcomes") == [(1,)]  # one row for the batch


async def test_texts_leave_their_outcome(world: World, clock: Clock) -> None:
    campaign = await world.campaign("sms", phones=PHONES[:2])
    await world.execute("update campaigns set is_live = true")
    keys = await reserve(world, campaign, clock, is_sms=True)
    spam = CarrierError(Fault.BLOCKED, "40002", "filtered")
    told = {
        keys[0]: [carrier(event(keys[0], EventKind.SMS_DELIVERED))],
        keys[1]: [carrier(event(keys[1], EventKind.SMS_FAILED, error=spam))],
    }
    await settle(world.db, told, attempts.context(clock))
    assert await outcomes(world) == [encode(Kind.DELIVERED, 0), encode(Kind.FILTERED, 0)]
    assert await world.execute("select state, attempt from prospects where state = 0") == []  # never sent again


async def test_what_a_test_key_does_wears_no_number_out(world: World, clock: Clock) -> None:
    """Live campaigns may call from the same numbers."""
    (key,) = await reserve(world, await world.campaign(phones=PHONES[:1]), clock)
    told: dict[AttemptKey, list[Report]] = {key: [carrier(each) for each in attempts.human(key)]}
    await settle(world.db, told, attempts.context(clock))
    assert await outcomes(world) == []


async def test_a_blocked_call_is_never_tried_again(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:1], max_retries=5)
    (key,) = await reserve(world, campaign, clock)
    told = {key: [carrier(event(key, EventKind.CALL_ENDED, end=EndReason.BLOCKED, duration_s=0))]}
    await settle(world.db, told, attempts.context(clock))
    assert await world.counts(campaign) == {"total": 1, "completed": 1, "failed": 1}
