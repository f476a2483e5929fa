"""What every store of a simulation must do: the same tests over the twin in memory and over PostgreSQL."""

from dataclasses import replace
from datetime import timedelta

import pytest

from engine.carriers.port import Outcome, Receipt
from engine.clock import Clock, real_now
from engine.coordinator.shard import START, Queued, Walk
from engine.coordinator.windows import Closed
from engine.errors import Conflict
from engine.rules import reports
from engine.rules.attempt import AttemptState
from engine.rules.campaign import Action
from engine.rules.prospect import Outcome as End
from engine.rules.prospect import ProspectState
from engine.rules.telephony import CarrierError, CarrierEvent, Channel, CommandKind, EndReason, EventKind, Fault
from engine.simulation.port import CARRIER, DOCUMENT_CARRIER, SETTINGS, Imported, Steps
from engine.simulation.timeline import VirtualTime
from engine.store.callbacks import Report as Callback
from tests.simulation.conftest import DOCUMENT, NAMED, NARROW, SMS_NUMBER, VOICE
from tests.simulation.contract import (
    ANN,
    BOB,
    answer,
    call,
    callback_of,
    counted,
    dial,
    hints_of,
    people,
    refusals,
    text,
    types,
)


async def test_a_number_is_in_a_campaign_once(steps: Steps) -> None:
    assert await steps.add_prospects(VOICE, [ANN, BOB, ANN]) == 2
    assert await steps.add_prospects(VOICE, [BOB, "+13125550103"]) == 1
    assert [(each.id, each.phone) for each in await people(steps)] == [(1, ANN), (2, BOB), (5, "+13125550103")]
    assert await counted(steps, VOICE) == {"total": 3, "queued": 3}


async def test_a_campaign_that_dials_takes_nobody(steps: Steps) -> None:
    await dial(steps, VOICE, ANN)
    with pytest.raises(Conflict):
        await steps.add_prospects(VOICE, [BOB])
    with pytest.raises(Conflict):
        await steps.import_csv(VOICE, b"phone\n4155550123\n")


async def test_an_import_holds_who_lacks_a_value_and_a_later_one_releases_them(steps: Steps) -> None:
    file = b"phone,Name\n2135550101,Ann\n2125550102,\n12,Eve\n2135550101,Ann\n"
    assert await steps.import_csv(NAMED, file) == Imported(2, 1, 0, 1, 1)
    held = (await people(steps))[1]
    assert (held.reason, held.next_at) == ("missing_value: name", "2026-03-12T18:00:00+00:00")
    assert await steps.import_csv(NAMED, b"phone,Name\n2125550102,Bob\n") == Imported(0, 0, 1, 0, 0)
    assert (await people(steps))[1][7:] == (None, "")


async def test_moves_follow_the_table(steps: Steps) -> None:
    assert await steps.move(VOICE, Action.START) == "dialing"
    with pytest.raises(Conflict) as refused:
        await steps.move(VOICE, Action.START)
    assert refused.value.fields["status"] == "dialing"
    assert await steps.move(VOICE, Action.PAUSE) == "paused"
    assert await steps.move(VOICE, Action.CANCEL) == "cancelled"
    with pytest.raises(Conflict):
        await steps.move(VOICE, Action.RESUME)


async def test_who_is_put_off_waits_with_a_reason_unless_something_happened_since(steps: Steps) -> None:
    await dial(steps, VOICE, ANN, BOB)
    (campaign,) = await steps.active()
    (claim,) = await steps.claim([(Walk(campaign, 1), 9)])
    ann, bob = claim.due
    assert (await steps.facts([VOICE]))[VOICE].account_id == 1
    await steps.commit_intents([hint for hint in await hints_of(steps, VOICE) if hint.phone == ANN], Channel.VOICE)
    now = steps.clock.now()
    later = now + timedelta(hours=9)
    await steps.put_off([Closed(VOICE, each, "outside_window", later) for each in (ann, bob)], now)
    rows = [(each.state, each.reason, each.next_at) for each in await people(steps)]
    assert rows[0] == (ProspectState.DIALING, None, "")
    assert rows[1] == (ProspectState.QUEUED, "outside_window", later.isoformat())
    await steps.put_off([Closed(VOICE, bob._replace(attempt=2), "no_timezone", later)], now)
    assert (await people(steps))[1].reason == "outside_window"


async def test_a_document_carrier_is_told_in_its_answer_and_in_a_repeats(steps: Steps) -> None:
    await dial(steps, DOCUMENT, ANN)
    (intent,) = (await steps.commit_intents(await hints_of(steps, DOCUMENT), Channel.VOICE)).granted
    ringing = replace(callback_of(intent, EventKind.RINGING, "k1"), carrier=DOCUMENT_CARRIER)
    answered = replace(callback_of(intent, EventKind.ANSWERED, "k2"), carrier=DOCUMENT_CARRIER)
    for callback in (ringing, answered):
        await steps.receive([callback])
    assert await steps.answer(ringing) is None
    for _ in range(2):
        told = await steps.answer(answered)
        assert told is not None
        assert (told.kind, told.number) == (CommandKind.HANDOFF, 1)
    assert await steps.answer(ringing) is None
    assert (await steps.snapshot()).unsettled == 0


async def test_an_intent_is_given_once(steps: Steps) -> None:
    granted = await call(steps, ANN)
    assert [(each.try_no, each.hint.prospect_id) for each in granted] == [(1, 1)]
    again = await steps.commit_intents([granted[0].hint], Channel.VOICE)
    assert (again.granted, refusals(again)) == ([], ["out_of_date"])
    assert await counted(steps, VOICE) == {"total": 1, "dialing": 1}


async def test_nobody_is_contacted_after_a_pause_or_an_opt_out_or_at_night(steps: Steps, time: VirtualTime) -> None:
    await dial(steps, VOICE, ANN, BOB)
    hints = await hints_of(steps, VOICE)
    await steps.move(VOICE, Action.PAUSE)
    assert refusals(await steps.commit_intents(hints, Channel.VOICE)) == ["not_live", "not_live"]
    await steps.move(VOICE, Action.RESUME)
    assert await steps.opt_out(1, ANN) == 1
    assert await steps.opt_out(1, ANN) == 0
    time.now_us = 12 * 3_600_000_000
    assert refusals(await steps.commit_intents(hints, Channel.VOICE)) == ["outside_window", "suppressed"]
    ann, bob = await people(steps)
    assert (ann.state, ann.reason, ann.next_at) == (ProspectState.CANCELLED, "suppressed", "infinity")
    assert (bob.state, bob.reason, bob.next_at) == (0, "outside_window", "2026-03-12T12:00:00+00:00")
    assert await counted(steps, VOICE) == {"total": 2, "queued": 1, "cancelled": 1, "suppressed": 1}


async def test_a_limit_on_calls_at_one_time(steps: Steps) -> None:
    await dial(steps, NARROW, ANN, BOB)
    batch = await steps.commit_intents(await hints_of(steps, NARROW), Channel.VOICE)
    assert (len(batch.granted), refusals(batch)) == (1, ["too_many_calls"])
    assert (await people(steps))[1].reason == "too_many_calls"


async def test_a_text_holds_its_sender_until_its_answer_and_the_gap(steps: Steps) -> None:
    intent = await text(steps, ANN)
    assert (await steps.snapshot()).free_s[SMS_NUMBER] == float("inf")
    await answer(steps, intent, Receipt(Outcome.ACCEPTED, "c1"))
    gap_s = (await steps.snapshot()).free_s[SMS_NUMBER] - steps.clock.now().timestamp()
    assert 900 <= gap_s <= 1020
    assert (await steps.snapshot()).used == {(1, intent.intent_at.date(), "sms.send"): 1}


async def test_what_was_not_sent_goes_through_the_whole_intent_again(steps: Steps) -> None:
    intent = await text(steps, ANN)
    receipt = Receipt(Outcome.NOT_SENT, error=CarrierError(Fault.TRANSIENT, "ticket_expired"))
    assert (await answer(steps, intent, receipt)).released == [intent.key]
    again = await steps.commit_intents([intent.hint], Channel.SMS)
    assert [each.try_no for each in again.granted] == [2]
    await answer(steps, intent, Receipt(Outcome.ACCEPTED, "old"))  # of the first try: it says nothing
    view = (await steps.snapshot()).attempts[0]
    assert (view.state, view.carrier_id, view.try_no) == (AttemptState.RESERVED, None, 2)


async def test_a_callback_that_beats_the_answer_wins(steps: Steps) -> None:
    (intent,) = await call(steps, ANN)
    busy = callback_of(intent, EventKind.CALL_ENDED, "k1", end=EndReason.BUSY)
    (id_,) = await steps.receive([busy])
    assert await steps.receive([busy]) == []
    result = await steps.settle_callbacks([id_])
    assert result.ended == {("voice", "busy"): 1}
    assert (await steps.settle_callbacks([id_])).ended == {}
    await answer(steps, intent, Receipt(Outcome.ACCEPTED, "c2"))
    (ann,) = await people(steps)
    assert (ann.state, ann.attempt) == (ProspectState.QUEUED, 2)  # tried again in a minute
    assert await counted(steps, VOICE) == {"total": 1, "queued": 1, "retrying": 1}
    assert (await steps.snapshot()).unsettled == 0


async def test_one_key_for_two_people_is_two_reports(steps: Steps) -> None:
    ann, bob = await call(steps, ANN, BOB)
    busy = [callback_of(intent, EventKind.CALL_ENDED, "k1", end=EndReason.BUSY) for intent in (ann, bob)]
    ids = await steps.receive(busy)
    assert len(ids) == 2
    assert await steps.receive([*reversed(busy)]) == []
    assert (await steps.settle_callbacks(ids)).ended == {("voice", "busy"): 2}


async def test_a_callback_of_nobody_is_kept_and_settles_nothing(steps: Steps) -> None:
    (intent,) = await call(steps, ANN)
    event = CarrierEvent(EventKind.RINGING, "k", "no-name-of-ours", "c1", real_now())
    assert await steps.receive([Callback(CARRIER, event)]) == []
    stray = Callback("another", callback_of(intent, EventKind.RINGING, "k2").event)
    await steps.settle_callbacks(await steps.receive([stray]))
    assert (await steps.snapshot()).attempts[0].state == AttemptState.RESERVED


async def test_a_refused_sender_pauses_the_campaign(steps: Steps) -> None:
    (intent,) = await call(steps, ANN)
    error = CarrierError(Fault.SENDER_CONFIG, "403", "not registered")
    result = await answer(steps, intent, Receipt(Outcome.REJECTED, error=error))
    assert result.paused == {VOICE: "sender_config: not registered"}
    assert (await steps.snapshot()).campaigns[0] == (VOICE, "paused", "sender_config: not registered")


async def test_an_opt_out_that_the_carrier_reports_holds_for_the_account(steps: Steps) -> None:
    intent = await text(steps, ANN)
    error = CarrierError(Fault.OPTED_OUT, "21610", "opted out")
    await answer(steps, intent, Receipt(Outcome.REJECTED, error=error))
    assert [each[:3] for each in (await steps.snapshot()).suppressed] == [(1, ANN, "carrier")]
    await dial(steps, VOICE, ANN)
    batch = await steps.commit_intents(await hints_of(steps, VOICE), Channel.VOICE)
    assert refusals(batch) == ["suppressed"]


async def test_open_tickets_are_those_that_may_still_be_sent(steps: Steps, time: VirtualTime) -> None:
    (intent,) = await call(steps, ANN)
    for jumped_s in (0.0, 3_600.0, -600.0):
        time.jumped_s = jumped_s
        tickets = await steps.open_tickets(VOICE)
        assert [tuple(each) for each in tickets] == [(1, 1, 1)]
    assert await steps.are_open(tickets)
    time.jumped_s = 3_600.0
    await steps.settle({intent.key: [reports.CHECK]})  # the watch has its doubts, and the ticket is good for a second
    assert (await steps.open_tickets(VOICE), await steps.are_open(tickets)) == (tickets, True)
    await answer(steps, intent, Receipt(Outcome.ACCEPTED, "c1"))
    assert (await steps.open_tickets(VOICE), await steps.are_open(tickets)) == ([], False)


async def test_the_watch_sees_what_is_overdue(steps: Steps, time: VirtualTime) -> None:
    (intent,) = await call(steps, ANN)
    assert (await steps.overdue(), await steps.due_attempts([intent.key])) == ([], [])
    time.now_us = round(1e6 * (SETTINGS.ticket_s + SETTINGS.carrier_timeout_s + SETTINGS.reconcile_after_s))
    assert await steps.overdue() == [intent.key]
    ((view, campaign),) = await steps.due_attempts([intent.key])
    assert (view.state, campaign.channel) == (AttemptState.RESERVED, Channel.VOICE)
    await steps.settle({intent.key: [reports.CHECK]})
    assert (await steps.snapshot()).attempts[0].state == AttemptState.UNKNOWN
    assert await steps.overdue() == []


async def test_a_claim_walks_on_and_the_look_behind_sees_what_is_left(steps: Steps) -> None:
    await dial(steps, VOICE, ANN, BOB, "+13125550103")
    (campaign,) = await steps.active()
    walk = Walk(campaign, 1)
    (first,) = await steps.claim([(walk, 2)])
    assert ([due.phone for due in first.due], first.next_due_s) == ([ANN, BOB], None)
    assert await steps.queued_behind([walk]) == {VOICE: {}}
    walk.cursor = first.cursor
    (second,) = await steps.claim([(walk, 2)])
    assert [due.phone for due in second.due] == ["+13125550103"]
    assert await steps.queued_behind([walk]) == {VOICE: dict.fromkeys([1, 2], Queued(1, float("-inf")))}
    assert [due.prospect_id for due in await steps.read_due(campaign, [2, 9])] == [2]
    walk.cursor = second.cursor
    (third,) = await steps.claim([(walk, 2)])
    assert (third.due, third.cursor, walk.cursor != START) == ([], second.cursor, True)


async def test_a_retry_is_not_due_before_its_time(steps: Steps, time: VirtualTime) -> None:
    """An attempt may end between the look behind the cursor and the look at the rows themselves."""
    (intent,) = await call(steps, ANN)
    (campaign,) = await steps.active()
    await steps.settle_callbacks(
        await steps.receive([callback_of(intent, EventKind.CALL_ENDED, "k1", end=EndReason.BUSY)])
    )
    (ann,) = await people(steps)
    assert (ann.state, ann.attempt) == (ProspectState.QUEUED, 2)
    assert await steps.read_due(campaign, [ann.id]) == []
    time.now_us += 60_000_000
    assert [due.attempt for due in await steps.read_due(campaign, [ann.id])] == [2]


async def test_a_cancel_counts_at_once_and_its_rows_are_swept(steps: Steps) -> None:
    await dial(steps, VOICE, ANN, BOB)
    assert await steps.sweep(VOICE) == 0
    await steps.move(VOICE, Action.CANCEL)
    assert await counted(steps, VOICE) == {"total": 2, "cancelled": 2}
    assert (await steps.sweep(VOICE), await steps.sweep(VOICE)) == (2, 0)
    assert {each.state for each in await people(steps)} == {ProspectState.CANCELLED}


async def test_a_campaign_completes_when_nobody_is_open(steps: Steps) -> None:
    (intent,) = await call(steps, ANN)
    assert not await steps.complete(VOICE)
    ended = callback_of(intent, EventKind.CALL_ENDED, "k1", end=EndReason.INVALID_NUMBER)
    await steps.settle_callbacks(await steps.receive([ended]))
    assert (await people(steps))[0].outcome == End.FAILED
    assert await steps.complete(VOICE)
    assert not await steps.complete(VOICE)
    assert await steps.active() == []


async def test_one_relay_numbers_until_its_lease_is_over(steps: Steps) -> None:
    (intent,) = await call(steps, ANN)
    assert await steps.number("a") == 0
    await answer(steps, intent, Receipt(Outcome.ACCEPTED, "c1"))
    assert await steps.number("a") == 2
    ended = callback_of(intent, EventKind.CALL_ENDED, "k1", end=EndReason.NO_ANSWER)
    await steps.settle_callbacks(await steps.receive([ended]))
    assert await steps.number("b") is None
    assert (await steps.snapshot()).unnumbered > 0
    await steps.depose()
    assert await steps.number("b")
    (log,) = (await steps.snapshot()).events.values()
    assert [number for number, _ in log] == list(range(1, len(log) + 1))
    assert types(log)[:2] == ["campaign.call.initiated", "voice.initiated"] or "voice.ai.initiated" in types(log)


async def test_an_operator_may_set_engine_time(steps: Steps) -> None:
    await dial(steps, VOICE, ANN)
    at_s = steps.clock.now().timestamp() + 12 * 3600
    steps.clock = Clock(steps.clock.real_anchor, at_s, steps.clock.speed)
    batch = await steps.commit_intents(await hints_of(steps, VOICE), Channel.VOICE)
    assert refusals(batch) == ["outside_window"]
