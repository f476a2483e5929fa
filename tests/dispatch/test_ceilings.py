"""Calls at one time: never more than the limit, whoever asks, and room again for each that ends."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import orjson
import pytest

from engine.clock import Clock
from engine.dispatch.facts import AttemptKey
from engine.dispatch.hints import Hint
from engine.dispatch.intent import IntentBatch, IntentContext, Refusal, commit_intents
from engine.dispatch.settle import settle, settle_callbacks
from engine.rules import reports
from engine.rules.pacing import Figure, Forecast, Stage
from engine.rules.telephony import Amd, Channel, EndReason, EventKind
from engine.store import call_hours
from tests.dispatch.attempts import context as settle_context
from tests.dispatch.attempts import event, human, inbox, unanswered
from tests.dispatch.conftest import World

PHONES = [f"+1212555{n:04d}" for n in range(100, 130)]
MORE = [f"+1646555{n:04d}" for n in range(100, 130)]


def agent(capacity: int) -> dict[str, object]:
    return {"kind": "native", "id": "a", "capacity": capacity}


def asking(clock: Clock, at_carrier: int = 0) -> IntentContext:
    return IntentContext(Channel.VOICE, clock, 2.0, 7.0, 1, calls_at_carrier=at_carrier)


async def ask(world: World, clock: Clock, hints: Sequence[Hint], at_carrier: int = 0) -> IntentBatch:
    return await commit_intents(world.db, hints, asking(clock, at_carrier))


async def race(world: World, clock: Clock, hints: Sequence[Hint], at_carrier: int = 0) -> list[IntentBatch]:
    """Many workers at once, each with a few of the hints."""
    parts = [hints[start::6] for start in range(6)]
    return await asyncio.gather(*(ask(world, clock, part, at_carrier) for part in parts))


def granted(*batches: IntentBatch) -> list[AttemptKey]:
    hints = [intent.hint for batch in batches for intent in batch.granted]
    return [AttemptKey(hint.campaign_id, hint.prospect_id, hint.attempt) for hint in hints]


def refused(*batches: IntentBatch) -> list[Refusal]:
    return [reason for batch in batches for _, reason in batch.refused]


async def limit_account(world: World, **limits: object) -> None:
    await world.execute(
        "update accounts set settings = jsonb_build_object('limits', cast(:limits as jsonb)) where id = :id",
        limits=orjson.dumps(limits).decode(),
        id=world.account_id,
    )


@pytest.mark.parametrize(
    "mode",
    [{"concurrentCalls": 7}, {"agent": agent(7)}, {"agent": agent(7), "pacing": "predictive"}],
    ids=["calls", "progressive", "learning"],
)
async def test_workers_that_ask_at_once_get_the_limit_and_not_one_more(
    world: World, clock: Clock, mode: dict[str, object]
) -> None:
    campaign = await world.campaign(phones=PHONES, **mode)
    hints = await world.hints(campaign, await world.did())

    batches = await race(world, clock, hints)

    assert len(granted(*batches)) == 7
    assert refused(*batches) == [Refusal.TOO_MANY_CALLS] * 23
    assert await world.counts(campaign) == {"total": 30, "dialing": 7, "queued": 23}


async def test_an_accounts_calls_at_its_carrier_are_those_of_all_its_campaigns(world: World, clock: Clock) -> None:
    one, other = await world.campaign(phones=PHONES), await world.campaign(phones=MORE)
    did = await world.did()
    hints = [*await world.hints(one, did), *await world.hints(other, did)]
    await limit_account(world, concurrentCalls=10)

    batches = await race(world, clock, hints, at_carrier=3)  # what the account says goes before the setting

    assert len(granted(*batches)) == 10


async def test_the_setting_holds_for_accounts_that_say_nothing(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES)
    hints = await world.hints(campaign, await world.did())
    assert len(granted(*await race(world, clock, hints, at_carrier=3))) == 3


async def test_limits_that_cannot_be_read_are_the_slowest(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES)
    hints = await world.hints(campaign, await world.did())
    await limit_account(world, concurrentCalls="many")
    assert len(granted(await ask(world, clock, hints))) == 1


async def test_the_tightest_of_several_limits_holds(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES, agent=agent(8), concurrentCalls=5)
    hints = await world.hints(campaign, await world.did())
    await limit_account(world, concurrentCalls=6)
    assert len(granted(await ask(world, clock, hints))) == 5


async def test_who_found_no_room_is_due_again_in_a_moment(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:3], concurrentCalls=2)
    hints = await world.hints(campaign, await world.did())
    before = clock.now()
    await ask(world, clock, hints)
    rows = await world.execute("select reason, next_attempt_at from prospects where state = 0")
    ((reason, at),) = rows
    assert reason == "too_many_calls"
    assert before < at < clock.now() + timedelta(seconds=1)  # type: ignore[operator]


async def test_each_call_that_ends_makes_room_for_one(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES, agent=agent(3))
    hints = await world.hints(campaign, await world.did())
    up = granted(await ask(world, clock, hints))
    told = {
        up[0]: [reports.carrier(each) for each in unanswered(up[0], EndReason.NO_ANSWER)],
        up[1]: [reports.not_sent(1, "slot_missed")],
    }
    await settle(world.db, told, settle_context(clock))

    batch = await ask(world, clock, hints[3:])

    assert len(granted(batch)) == 2


async def test_a_machine_needs_no_agent_but_is_a_call_all_the_same(world: World, clock: Clock) -> None:
    did = await world.did()
    paced = await world.campaign(phones=PHONES, agent=agent(2))
    plain = await world.campaign(phones=MORE, concurrentCalls=2)
    for campaign, expected in ((paced, 1), (plain, 0)):
        hints = await world.hints(campaign, did)
        (key, _) = granted(await ask(world, clock, hints))
        events = [event(key, EventKind.ANSWERED), event(key, EventKind.AMD, amd=Amd.MACHINE)]
        await settle_callbacks(world.db, await inbox(world, events), settle_context(clock))
        assert len(granted(await ask(world, clock, hints[2:]))) == expected


async def test_a_call_with_an_agent_holds_its_place(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES, agent=agent(1))
    hints = await world.hints(campaign, await world.did())
    (key,) = granted(await ask(world, clock, hints[:1]))
    talking = human(key)
    for each in talking:
        assert granted(await ask(world, clock, hints[1:])) == []
        await settle_callbacks(world.db, await inbox(world, [each]), settle_context(clock))
    assert len(granted(await ask(world, clock, hints[1:]))) == 1


async def test_predictive_calls_ahead_by_a_fresh_forecast_only(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES, agent=agent(4), pacing="predictive")
    hints = await world.hints(campaign, await world.did())
    seen = Forecast(Stage.FREE, 0.1, 10.0, 60.0, Figure(5_000, 10))
    async with world.db.begin() as conn:
        await call_hours.save(conn, {campaign: seen})

    first = len(granted(await ask(world, clock, hints[:20])))
    await world.execute("update call_forecasts set made_at = now() - interval '1 minute'")
    then = await ask(world, clock, hints[20:])

    assert 4 < first <= 20
    assert granted(then) == []
    assert set(refused(then)) == {Refusal.TOO_MANY_CALLS}
