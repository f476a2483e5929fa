"""Settling against rivals: doubled, disordered and random reports, and the sums of P1 after them."""

import asyncio
from random import Random

import pytest

from engine.clock import Clock, starting_at
from engine.dispatch.facts import AttemptKey
from engine.dispatch.settle import settle, settle_callbacks
from engine.rules import reports
from engine.rules.telephony import CarrierError, EndReason, EventKind, Fault
from engine.store import counts
from tests.conftest import LEGAL_HOUR
from tests.dispatch.attempts import (
    assert_adds_up,
    context,
    event,
    give_up,
    human,
    inbox,
    machine,
    reserve,
    told,
    unanswered,
)
from tests.dispatch.conftest import World
from tests.dispatch.test_settle import AGENT, PHONES


@pytest.mark.parametrize("seed", range(3))
async def test_rivals_with_doubled_and_disordered_callbacks(world: World, clock: Clock, seed: int) -> None:
    """Four workers fold overlapping halves of the same reports at once: each attempt ends once and tells all once."""
    rng = Random(seed)
    campaign = await world.campaign(phones=PHONES, agent=AGENT)
    keys = await reserve(world, campaign, clock)
    events = [each for n, key in enumerate(keys) for each in (human(key) if n % 2 else machine(key))]
    ids = await inbox(world, events)
    assert await inbox(world, events) == []  # a repeat is no second report
    batches = []
    for _ in range(4):
        rng.shuffle(ids)
        batches.append(ids[: len(ids) // 2])
    batches.append(ids)

    await asyncio.gather(
        *(settle_callbacks(world.db, batch, context(clock, writer=n)) for n, batch in enumerate(batches, start=1))
    )
    answers = {key: [reports.accepted(1, "c1")] for key in keys}
    await settle(world.db, answers, context(clock))
    await _let_stragglers_pass(world, keys, clock)

    half = len(PHONES) // 2
    counted = await world.counts(campaign)
    assert counted == {"total": 20, "completed": 20, "human_connected": half, "voicemail": half}
    names = await told(world)
    assert names.count("voice.initiated") == names.count("voice.answered") == names.count("voice.completed") == 20
    assert names.count("voice.amd") == 20
    assert names.count("campaign.call.voicemail") == names.count("campaign.call.human_connected") == half
    await assert_adds_up(world, campaign)


async def _let_stragglers_pass(world: World, keys: list[AttemptKey], clock: Clock) -> None:
    await world.execute("update attempts set check_at = now() - interval '1 s' where check_at is not null")
    await settle(world.db, {key: [reports.CHECK] for key in keys}, context(clock))


@pytest.mark.parametrize("seed", range(4))
async def test_random_histories_add_up(world: World, seed: int) -> None:
    """P1 after a random walk of answers, callbacks, doubts, refusals, checks, rivals and a cancel."""
    rng = Random(seed)
    clock = starting_at(LEGAL_HOUR, speed=60.0)
    is_sms = seed % 2 == 1
    campaign = await world.campaign(
        "sms" if is_sms else "voice",
        phones=PHONES,
        max_retries=2,
        retry_delay="1s",
        **({} if is_sms else {"agent": AGENT}),
    )
    for step in range(6):
        if step == 4:
            await world.execute("update campaigns set status = 'cancelled' where id = :c", c=campaign)
            await _cancel_queued(world, campaign)
        keys = await reserve(world, campaign, clock, is_sms=is_sms) if step < 4 else []
        open_keys = await _open(world, campaign)
        histories = {key: _history(rng, key, is_sms=is_sms) for key in {*keys, *open_keys}}
        parts = [{}, {}]  # type: ignore[var-annotated]
        for key, history in histories.items():
            for part in parts:
                part[key] = rng.sample(history, rng.randint(1, len(history)))
        await asyncio.gather(
            *(settle(world.db, part, context(clock, writer=n)) for n, part in enumerate(parts) if part)
        )
        await world.execute("update attempts set check_at = now() - interval '1 s' where check_at is not null")
        await assert_adds_up(world, campaign)
    await give_up(world, await _open(world, campaign), clock)
    await assert_adds_up(world, campaign)
    counted = await world.counts(campaign)
    assert counted["completed"] + counted.get("cancelled", 0) == counted["total"]


async def _open(world: World, campaign: int) -> list[AttemptKey]:
    rows = await world.execute(
        "select campaign_id, prospect_id, attempt from attempts where campaign_id = :c and state not in (0, 9)",
        c=campaign,
    )
    return [AttemptKey(*row) for row in rows]  # type: ignore[arg-type]


async def _cancel_queued(world: World, campaign: int) -> None:
    async with world.db.begin() as conn:
        await counts.cancel_queued(conn, campaign)


def _history(rng: Random, key: AttemptKey, *, is_sms: bool) -> list[reports.Report]:
    transient = CarrierError(Fault.TRANSIENT, "30008", retryable=True)
    answer = rng.choice(
        [
            reports.accepted(1, "c1"),
            reports.doubtful(1),
            reports.not_sent(1, "slot_missed"),
            reports.rejected(1, transient),
            reports.rejected(1, CarrierError(Fault.RATE_LIMITED)),
        ]
    )
    if is_sms:
        ends = [
            [event(key, EventKind.SMS_SENT), event(key, EventKind.SMS_DELIVERED)],
            [event(key, EventKind.SMS_FAILED, error=transient)],
            [event(key, EventKind.SMS_SENT)],
        ]
    else:
        ends = [
            human(key),
            machine(key),
            unanswered(key, EndReason.BUSY),
            unanswered(key, EndReason.NO_ANSWER),
            human(key)[:2],
        ]
    return [answer, reports.CHECK, *map(reports.carrier, rng.choice(ends))]
