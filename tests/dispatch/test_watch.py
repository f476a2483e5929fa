"""The watch and the commands, against a real PostgreSQL and a carrier that answers as its test tells it to."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from engine.carriers.instant import Instant
from engine.carriers.port import Ack, CallRef, Capabilities, Carrier, Channel, Command, CommandKind, Lookup, LookupState
from engine.clock import Clock, real_now, starting_at
from engine.dispatch.facts import AttemptKey
from engine.dispatch.settle import settle, settle_callbacks
from engine.dispatch.watch import Lookups, watch_attempts
from engine.ids import attempt_ref
from engine.rules import reports
from engine.rules.attempt import AgentState, AttemptState
from engine.rules.prospect import Outcome, ProspectState
from engine.rules.telephony import Amd, CarrierError, EventKind, Fault
from tests.conftest import LEGAL_HOUR
from tests.dispatch.attempts import (
    Learning,
    assert_adds_up,
    context,
    event,
    heard,
    human,
    inbox,
    machine,
    reserve,
    told,
)
from tests.dispatch.conftest import World
from tests.dispatch.test_settle import AGENT, PHONES, attempt, prospect

STILL_UNKNOWN = Lookup(LookupState.STILL_UNKNOWN)
ABSENT = Lookup(LookupState.ABSENT)


@dataclass
class Scripted(Instant):
    """Answers look-ups and commands as scripted, and remembers what it was asked."""

    caps: Capabilities = Instant.caps  # type: ignore[misc]
    lookups: dict[str, Lookup] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    asking: asyncio.Queue[str] = field(default_factory=asyncio.Queue)  # likewise, to wait for
    acks: list[Ack] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    commanded: asyncio.Event = field(default_factory=asyncio.Event)
    hold: asyncio.Event | None = None

    async def lookup(self, ref: str, channel: Channel) -> Lookup:
        self.asked.append(ref)
        self.asking.put_nowait(ref)
        if self.hold is not None:
            await self.hold.wait()
        return self.lookups.get(ref, STILL_UNKNOWN)

    async def command(self, call: CallRef, command: Command) -> Ack:
        self.commands.append(command)
        self.commanded.set()
        return self.acks.pop(0) if self.acks else Ack(ok=True)


async def due(world: World, **columns: object) -> None:
    """The time of every open attempt has come."""
    assignments = "".join(f", {name} = :{name}" for name in columns)
    await world.execute(
        f"update attempts set check_at = now() - interval '1 ms'{assignments} where check_at is not null", **columns
    )


def learning(world: World, carrier: Carrier, clock: Clock) -> Learning:
    return Learning(world, {"simulated-command": carrier}, context(clock))


async def watch(
    world: World, keys: list[AttemptKey], carrier: Carrier, clock: Clock, *, patience_s: float = 60.0
) -> Learning:
    learn = learning(world, carrier, clock)
    await _watch(keys, learn, patience_s)
    return learn


async def _watch(keys: list[AttemptKey], learn: Learning, patience_s: float = 60.0) -> None:
    lookups = Lookups(learn.carriers, learn, patience_s)
    await watch_attempts(learn.world.db, keys, learn.context, lookups, learn)
    await lookups.flush()


async def test_what_is_not_due_is_left_alone(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:1])
    keys, carrier = await reserve(world, campaign, clock), Scripted()
    before = await attempt(world, keys[0])
    await watch(world, keys, carrier, clock)
    assert (carrier.asked, await attempt(world, keys[0])) == ([], before)


async def test_an_absent_create_goes_through_the_whole_intent_again(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:1])
    (key,) = await reserve(world, campaign, clock)
    await due(world)
    absent = Scripted(lookups={attempt_ref(*key): ABSENT})
    # The first look proves nothing: by a clock that is ahead, the create may be on its way still.
    assert (await watch(world, [key], absent, clock)).released == []
    row = await attempt(world, key)
    assert row.state == AttemptState.UNKNOWN
    assert row.check_at is not None
    assert row.check_at - real_now() > timedelta(seconds=6)  # the ticket and the request's timeout are 7

    await due(world)
    assert (await watch(world, [key], absent, clock)).released == [key]
    assert (await attempt(world, key)).state == AttemptState.RELEASED
    assert await prospect(world, key) == (ProspectState.QUEUED, 1, None, "absent", False)
    await assert_adds_up(world, campaign)


async def test_an_absent_create_that_ended_in_doubt_is_released_at_once(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:1])
    (key,) = await reserve(world, campaign, clock)
    await settle(world.db, {key: [reports.doubtful(1)]}, context(clock))
    await due(world)
    result = await watch(world, [key], Scripted(lookups={attempt_ref(*key): ABSENT}), clock)
    assert result.released == [key]


async def test_absent_proves_nothing_from_a_carrier_whose_look_up_is_not_authoritative(
    world: World, clock: Clock
) -> None:
    campaign = await world.campaign(phones=PHONES[:1])
    (key,) = await reserve(world, campaign, clock)
    await due(world)
    guessing = Scripted(caps=replace(Instant.caps, authoritative_lookup=False), lookups={attempt_ref(*key): ABSENT})
    await watch(world, [key], guessing, clock)
    row = await attempt(world, key)
    assert row.state == AttemptState.UNKNOWN
    assert row.check_at is not None


async def test_absent_never_releases_what_the_carrier_once_accepted(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:1])
    (key,) = await reserve(world, campaign, clock)
    await settle(world.db, {key: [reports.accepted(1, "c1")]}, context(clock))
    await due(world)
    await watch(world, [key], Scripted(lookups={attempt_ref(*key): ABSENT}), clock)
    assert (await attempt(world, key)).state == AttemptState.PLACED


async def test_a_found_create_is_adopted_with_its_whole_history(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:2], agent=AGENT)
    ringing, over = await reserve(world, campaign, clock)
    await settle(world.db, {key: [reports.doubtful(1)] for key in (ringing, over)}, context(clock))
    await due(world)
    carrier = Scripted(
        lookups={
            attempt_ref(*ringing): Lookup(LookupState.FOUND, "c1", (event(ringing, EventKind.RINGING),)),
            attempt_ref(*over): Lookup(LookupState.FOUND, "c2", tuple(human(over))),
        }
    )
    await watch(world, [ringing, over], carrier, clock)
    assert (await attempt(world, ringing)).state == AttemptState.RINGING
    assert (await attempt(world, over)).outcome == Outcome.HUMAN_CONNECTED
    assert (await told(world)).count("voice.initiated") == 2
    await assert_adds_up(world, campaign)


async def test_a_doubt_that_nobody_can_resolve_ends_unknown_and_is_never_tried_again(world: World) -> None:
    clock = starting_at(LEGAL_HOUR, speed=1.0)
    campaign = await world.campaign(phones=PHONES[:1], max_retries=3)
    (key,) = await reserve(world, campaign, clock)
    await due(world)
    await watch(world, [key], Scripted(), clock)
    row = await attempt(world, key)
    assert row.state == AttemptState.UNKNOWN
    assert row.check_at is not None

    await due(world, intent_at=clock.now() - timedelta(seconds=121))
    await watch(world, [key], Scripted(), clock)

    assert await prospect(world, key) == (ProspectState.COMPLETED, 1, Outcome.UNKNOWN, "no_report", True)
    await assert_adds_up(world, campaign)


async def test_a_carrier_that_raises_or_is_missing_decides_nothing(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:1])
    (key,) = await reserve(world, campaign, clock)
    await due(world)
    await _watch([key], Learning(world, {}, context(clock)))
    assert (await attempt(world, key)).state == AttemptState.UNKNOWN


async def test_a_look_up_that_had_to_wait_too_long_is_left_to_the_coordinator(world: World, clock: Clock) -> None:
    """Its row may have moved on."""
    campaign = await world.campaign(phones=PHONES[:1])
    (key,) = await reserve(world, campaign, clock)
    await due(world)
    before, carrier = await attempt(world, key), Scripted()
    await watch(world, [key], carrier, clock, patience_s=0)
    assert (carrier.asked, await attempt(world, key)) == ([], before)


async def test_a_text_without_a_report_is_looked_up_once_more_and_then_unknown(world: World, clock: Clock) -> None:
    campaign = await world.campaign("sms", phones=PHONES[:2])
    lost, found = await reserve(world, campaign, clock, is_sms=True)
    await settle(world.db, {key: [reports.accepted(1, "m1")] for key in (lost, found)}, context(clock))
    await due(world, intent_at=clock.now() - timedelta(days=4))
    history = (event(found, EventKind.SMS_SENT), event(found, EventKind.SMS_DELIVERED))
    carrier = Scripted(lookups={attempt_ref(*found): Lookup(LookupState.FOUND, "m1", history)})
    await watch(world, [lost, found], carrier, clock)
    assert sorted(carrier.asked) == sorted([attempt_ref(*lost), attempt_ref(*found)])
    assert await world.counts(campaign) == {"total": 2, "completed": 2, "unknown": 1, "delivered": 1}


async def test_a_call_whose_callbacks_were_lost_is_read_from_the_carrier(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:1], agent=AGENT)
    (key,) = await reserve(world, campaign, clock)
    await settle(world.db, {key: [reports.accepted(1, "c1")]}, context(clock))
    await due(world, intent_at=clock.now() - timedelta(seconds=60))
    carrier = Scripted(lookups={attempt_ref(*key): Lookup(LookupState.FOUND, "c1", tuple(machine(key)))})
    await watch(world, [key], carrier, clock)
    assert (await attempt(world, key)).outcome == Outcome.VOICEMAIL


async def test_a_verdict_that_the_end_has_overtaken_is_asked_for(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:1])
    (key,) = await reserve(world, campaign, clock)
    history = machine(key)
    await settle_callbacks(world.db, await inbox(world, [history[0], history[-1]]), context(clock))
    assert (await attempt(world, key)).state == AttemptState.ANSWERED
    await due(world)
    carrier = Scripted(lookups={attempt_ref(*key): Lookup(LookupState.FOUND, "c1", tuple(history))})
    await watch(world, [key], carrier, clock)
    assert (await attempt(world, key)).outcome == Outcome.VOICEMAIL


async def _one_off_call(world: World, clock: Clock, longest_s: int, answered_s: float) -> AttemptKey:
    """Answered so long ago; its end was never heard of."""
    campaign = await world.campaign(phones=PHONES[:1])
    await world.execute("update campaigns set is_direct = true where id = :c", c=campaign)
    await world.execute("update prospects set data = jsonb_build_object('maxDuration', cast(:s as int))", s=longest_s)
    (key,) = await reserve(world, campaign, clock)
    await settle(world.db, {key: [heard(key, EventKind.ANSWERED)]}, context(clock))
    await due(world, answered_at=clock.now() - timedelta(seconds=answered_s))
    return key


async def test_a_short_one_off_call_is_asked_for_when_its_own_length_is_over(world: World, clock: Clock) -> None:
    """It was asked for after an hour, which is how long calls of campaigns may last."""
    key = await _one_off_call(world, clock, longest_s=60, answered_s=80)
    carrier = Scripted(lookups={attempt_ref(*key): Lookup(LookupState.FOUND, "c1", tuple(human(key)))})
    await watch(world, [key], carrier, clock)
    assert carrier.asked == [attempt_ref(*key)]
    assert (await attempt(world, key)).state == AttemptState.ENDED


@pytest.mark.parametrize(("answered_s", "is_asked"), [(4_000, False), (7_230, True)])
async def test_a_long_one_off_call_is_not_given_up_while_it_may_last(
    world: World, clock: Clock, answered_s: int, is_asked: bool
) -> None:
    key = await _one_off_call(world, clock, longest_s=7_200, answered_s=answered_s)
    carrier = Scripted(lookups={attempt_ref(*key): Lookup(LookupState.FOUND, "c1", tuple(human(key)[:-1]))})
    await watch(world, [key], carrier, clock)
    assert bool(carrier.asked) is is_asked
    assert (await attempt(world, key)).state < AttemptState.ENDED


async def test_no_agent_in_two_seconds_is_abandoned_while_others_are_still_looked_up(
    world: World, clock: Clock
) -> None:
    campaign = await world.campaign(phones=PHONES[:2], agent=AGENT)
    waiting, doubtful = await reserve(world, campaign, clock)
    await settle(world.db, {waiting: [heard(waiting, EventKind.ANSWERED)]}, context(clock))
    await settle(world.db, {waiting: [reports.command_done(1)]}, context(clock))
    await due(world)
    await world.execute(
        "update attempts set answered_at = :at where answered_at is not null", at=clock.now() - timedelta(seconds=2)
    )
    carrier = Scripted(hold=asyncio.Event())
    watching = asyncio.create_task(watch(world, [waiting, doubtful], carrier, clock))
    await asyncio.wait_for(carrier.commanded.wait(), 10)
    assert not watching.done()  # the look-up of the other one still hangs
    carrier.hold.set()  # type: ignore[union-attr]
    await watching

    (command,) = carrier.commands
    assert command.kind is CommandKind.PLAY
    assert "test" in command.text  # the account's name
    row = await attempt(world, waiting)
    assert (row.agent_state, row.reason) == (AgentState.FAILED, "agent_late")
    over = human(waiting)[-2:]
    await settle_callbacks(world.db, await inbox(world, over), context(clock))
    assert (await attempt(world, waiting)).outcome == Outcome.ABANDONED


async def test_commands_follow_one_another_as_the_carrier_takes_them(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:1], agent=AGENT, voicemailAudioUrl="https://example.com/vm.mp3")
    (key,) = await reserve(world, campaign, clock)
    carrier = Scripted()
    learn = learning(world, carrier, clock)
    await learn({key: [heard(key, EventKind.ANSWERED)]})
    ready = [heard(key, EventKind.AMD, amd=Amd.MACHINE), heard(key, EventKind.AMD, amd=Amd.MACHINE_READY)]
    await learn({key: ready})
    assert [command.kind for command in carrier.commands] == [
        CommandKind.HANDOFF,
        CommandKind.DETACH,
        CommandKind.PLAY,
    ]
    assert [command.number for command in carrier.commands] == [1, 2, 3]
    agent = carrier.commands[0].agent
    assert agent is not None
    assert agent.params["attempt_id"] == attempt_ref(*key)
    assert agent.token.startswith(attempt_ref(*key))
    assert (await attempt(world, key)).command is None


async def test_a_command_that_failed_is_sent_again_by_the_watch_under_its_number(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:1])
    (key,) = await reserve(world, campaign, clock)
    busy = Ack(ok=False, error=CarrierError(Fault.UNKNOWN, "503", retryable=True))
    carrier = Scripted(acks=[busy])
    hearing = [heard(key, EventKind.ANSWERED), heard(key, EventKind.AMD, amd=Amd.HUMAN)]
    await learning(world, carrier, clock)({key: hearing})
    assert (await attempt(world, key)).command is not None

    await due(world)
    await watch(world, [key], carrier, clock)

    assert [(each.kind, each.number) for each in carrier.commands] == [(CommandKind.HANGUP, 1), (CommandKind.HANGUP, 1)]
    assert (await attempt(world, key)).command is None


@pytest.mark.parametrize("gone", [True, False])
async def test_a_call_that_is_gone_needs_no_command(world: World, clock: Clock, gone: bool) -> None:
    campaign = await world.campaign(phones=PHONES[:1])
    (key,) = await reserve(world, campaign, clock)
    hearing = [heard(key, EventKind.ANSWERED), heard(key, EventKind.AMD, amd=Amd.HUMAN)]
    carrier = Scripted(acks=[Ack(ok=not gone, gone=gone)])
    await learning(world, carrier, clock)({key: hearing})
    assert (await attempt(world, key)).command is None
