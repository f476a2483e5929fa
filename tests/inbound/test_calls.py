"""A person calls one of our numbers: told once, its seconds counted once, whatever order its stages come in."""

import itertools

import pytest

from engine.clock import Clock, real_now
from engine.dispatch.inbound import take_call
from engine.rules.telephony import CallStage, CommandKind, InboundCall
from tests.dispatch.conftest import World
from tests.inbound.conftest import OURS, PERSON, context, events

STARTED, ANSWERED, ENDED = CallStage.STARTED, CallStage.ANSWERED, CallStage.ENDED


def call(stage: CallStage, *, to: str = OURS, name: str = "CA1") -> InboundCall:
    duration_s = 12 if stage is ENDED else None
    return InboundCall(f"{name}:{stage}", name, PERSON, to, stage, real_now(), duration_s, {"stage": stage})


async def test_a_call_is_stored_told_and_politely_refused(world: World, did: int, clock: Clock) -> None:
    await world.execute("update accounts set name = 'Acme'")
    taken = await take_call(world.db, call(STARTED), context(clock))
    assert taken.command is not None
    assert (taken.command.kind, taken.command.then_hangup) == (CommandKind.PLAY, True)
    assert "Acme" in taken.command.text
    (event,) = await events(world)
    assert (event["type"], event["uniqueId"]) == ("voice.inbound", event["payload"]["id"])
    assert event["payload"] == {"id": event["trackingId"], "from": PERSON, "to": OURS, "status": "ringing"}
    assert await world.execute("select state, duration_s from inbound_calls") == [(0, None)]


@pytest.mark.parametrize("order", list(itertools.permutations([STARTED, ANSWERED, ENDED])))
async def test_any_order_and_any_repeat_end_the_same(
    world: World, did: int, clock: Clock, order: tuple[CallStage, ...]
) -> None:
    for stage in (*order, *order):
        assert (await take_call(world.db, call(stage), context(clock))).is_known
    told = await events(world)
    is_in_time = order.index(ANSWERED) < order.index(ENDED)
    answered = ["call.incoming.answered"] if is_in_time else []
    assert [event["type"] for event in told] == ["voice.inbound", *answered, "call.incoming.ended"]
    assert len({event["trackingId"] for event in told}) == 1
    assert told[-1]["payload"]["durationS"] == 12
    assert await world.execute("select state, duration_s from inbound_calls") == [(2, 12)]
    assert await world.execute("select meter, sum(quantity)::int from usage_counts group by 1") == [
        ("voice.inbound", 12)
    ]


async def test_a_number_that_is_not_ours(world: World, did: int, clock: Clock) -> None:
    taken = await take_call(world.db, call(STARTED, to="+12135550199"), context(clock))
    assert (taken.is_known, taken.command) == (False, None)
    assert await world.execute("select 1 from inbound_calls") == []


async def test_two_calls_are_two(world: World, did: int, clock: Clock) -> None:
    for name in ("CA1", "CA2"):
        await take_call(world.db, call(STARTED, name=name), context(clock))
    assert len(await events(world)) == 2
