"""The call flow: each state × each report, then whole calls in every order."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.rules import reports
from engine.rules.attempt import TRANSITIONS, AttemptState
from engine.rules.call_flow import is_hopeless, needs_lookup
from engine.rules.decision import AttemptView, CallPlan
from engine.rules.prospect import Outcome
from engine.rules.reports import Report
from engine.rules.telephony import Amd, CarrierError, EndReason, Fault
from tests.rules.calls import (
    ACCEPTED,
    AGENT_FAILED,
    ANSWERED,
    BRIDGED,
    BUSY,
    GREETED,
    INITIATED,
    NO_ANSWER,
    OVER,
    PLAYED,
    RINGING,
    S,
    answered,
    bridged,
    finished,
    play,
    run,
)
from tests.rules.flows import (
    AGENT_PLAN,
    AUDIO_PLAN,
    BARE_PLAN,
    LONG_AGO,
    NOW,
    NOW_S,
    REF,
    amd,
    commanded,
    ended,
    names,
    next_view,
    view,
)

# --- what one report does in one state ------------------------------------------------------------------------------

TABLE = [
    # state, row, report → state, events, command
    (S.RESERVED, {}, ACCEPTED, S.PLACED, INITIATED, None),
    (S.UNKNOWN, {}, ACCEPTED, S.PLACED, INITIATED, None),
    (S.RESERVED, {}, reports.accepted(2, "c9"), S.RESERVED, [], None),
    (S.RESERVED, {}, reports.not_sent(1, "ticket_expired"), S.RELEASED, [], None),
    (S.RESERVED, {}, reports.not_sent(2, "ticket_expired"), S.RESERVED, [], None),
    (S.PLACED, {}, reports.not_sent(1, "ticket_expired"), S.PLACED, [], None),
    (S.RESERVED, {}, reports.doubtful(1), S.UNKNOWN, [], None),
    (S.PLACED, {}, reports.doubtful(1), S.PLACED, [], None),
    (S.RESERVED, {}, reports.absent(1), S.RESERVED, [], None),  # only what is doubtful can be absent
    (S.UNKNOWN, {}, reports.absent(1), S.RELEASED, [], None),
    (S.UNKNOWN, {}, reports.absent(2), S.UNKNOWN, [], None),
    (S.PLACED, {}, reports.absent(1), S.PLACED, [], None),
    (S.UNKNOWN, {"intent_at": LONG_AGO}, reports.GIVE_UP, S.ENDED, ["campaign.call.failed", "voice.failed"], None),
    (S.PLACED, {"intent_at": LONG_AGO}, reports.GIVE_UP, S.ENDED, ["campaign.call.failed", "voice.failed"], None),
    (S.RESERVED, {"intent_at": LONG_AGO}, reports.GIVE_UP, S.RESERVED, [], None),  # sent anew during the look-up
    (S.UNKNOWN, {}, reports.GIVE_UP, S.UNKNOWN, [], None),
    (S.ANSWERED, {"intent_at": LONG_AGO}, reports.GIVE_UP, S.ANSWERED, [], None),  # answered during it
    (S.HUMAN, {"intent_at": LONG_AGO}, reports.GIVE_UP, S.HUMAN, [], None),
    (S.RESERVED, {}, RINGING, S.RINGING, INITIATED, None),  # the callback beats the create's answer
    (S.UNKNOWN, {}, ANSWERED, S.ANSWERED, [*INITIATED, "voice.answered"], "handoff"),
    (S.PLACED, {}, ACCEPTED, S.PLACED, [], None),
    (S.PLACED, {}, RINGING, S.RINGING, [], None),
    (S.RINGING, {}, RINGING, S.RINGING, [], None),
    (S.RINGING, {}, ANSWERED, S.ANSWERED, ["voice.answered"], "handoff"),
    (S.RINGING, {}, NO_ANSWER, S.ENDED, ["campaign.call.no_answer", "voice.failed"], None),
    (S.RINGING, {}, BUSY, S.ENDED, ["campaign.call.busy", "voice.failed"], None),
    (S.PLACED, {}, ended(EndReason.FAILED), S.ENDED, ["campaign.call.failed", "voice.failed"], None),
    (S.ANSWERED, answered, RINGING, S.ANSWERED, [], None),
    (S.ANSWERED, answered, ANSWERED, S.ANSWERED, [], None),
    (S.ANSWERED, answered, amd(Amd.HUMAN), S.HUMAN, ["voice.amd"], None),
    (S.ANSWERED, bridged, amd(Amd.HUMAN), S.HUMAN, ["voice.amd", "campaign.call.human_connected"], None),
    (S.ANSWERED, bridged, amd(Amd.UNKNOWN), S.HUMAN, ["voice.amd", "campaign.call.human_connected"], None),
    (S.ANSWERED, bridged, amd(Amd.SILENCE), S.HUMAN, ["voice.amd", "campaign.call.human_connected"], None),
    (S.ANSWERED, bridged, amd(Amd.SCREENING), S.ANSWERED, ["voice.amd"], None),
    (S.ANSWERED, answered, amd(Amd.MACHINE), S.MACHINE, ["voice.amd", "campaign.call.voicemail"], "detach"),
    (S.ANSWERED, bridged, amd(Amd.MACHINE), S.MACHINE, ["voice.amd", "campaign.call.voicemail"], "detach"),
    (S.ANSWERED, bridged, amd(Amd.MACHINE_READY), S.MACHINE, ["voice.amd", "campaign.call.voicemail"], "detach"),
    (S.ANSWERED, bridged, amd(Amd.FAX), S.MACHINE, ["voice.amd"], "hangup"),
    (S.ANSWERED, answered, BRIDGED, S.ANSWERED, [], None),
    (S.ANSWERED, answered, AGENT_FAILED, S.ANSWERED, [], "play"),
    (S.HUMAN, answered, BRIDGED, S.HUMAN, ["campaign.call.human_connected"], None),
    (S.HUMAN, bridged, BRIDGED, S.HUMAN, [], None),
    (S.HUMAN, bridged, AGENT_FAILED, S.HUMAN, [], None),
    (S.HUMAN, bridged, amd(Amd.MACHINE), S.HUMAN, [], None),  # the first verdict stands
    (S.HUMAN, bridged, OVER, S.ENDED, ["campaign.call.human_hangup", "voice.completed"], None),
    (S.MACHINE, {"amd": "machine"}, amd(Amd.MACHINE_READY), S.MACHINE, [], "play"),
    (S.MACHINE, {"amd": "machine_ready"}, amd(Amd.MACHINE_READY), S.MACHINE, [], None),
    (S.MACHINE, {"amd": "machine_ready"}, amd(Amd.MACHINE), S.MACHINE, [], None),
    (S.MACHINE, {"amd": "machine"}, BRIDGED, S.MACHINE, [], None),
    (S.MACHINE, {"amd": "machine"}, OVER, S.ENDED, ["voice.completed"], None),
    (S.MACHINE, {"amd": "fax"}, OVER, S.ENDED, ["campaign.call.failed", "voice.completed"], None),
    (S.RELEASED, {}, RINGING, S.RELEASED, [], None),
    (S.RELEASED, {}, ACCEPTED, S.RELEASED, [], None),
]


@pytest.mark.parametrize(("state", "row", "report", "after", "told", "command"), TABLE)
def test_one_report(
    state: AttemptState,
    row: dict[str, object],
    report: Report,
    after: AttemptState,
    told: list[str],
    command: str | None,
) -> None:
    at = view(state, **(row if state < S.ANSWERED else {"answered_at": NOW - timedelta(seconds=1)} | row))
    decision = run(at, report)
    assert (decision.state, names(decision), commanded(decision)) == (after, told, command)


EVERY_REPORT = [
    ACCEPTED, RINGING, ANSWERED, GREETED, BRIDGED, AGENT_FAILED, PLAYED, OVER, NO_ANSWER, BUSY, *map(amd, Amd),
    reports.not_sent(1, ""), reports.doubtful(1), reports.absent(1), reports.CHECK, reports.GIVE_UP,
    reports.command_done(1), reports.command_failed(1, gone=True), reports.rejected(1, CarrierError(Fault.BLOCKED)),
]  # fmt: skip


@pytest.mark.parametrize("state", S)
def test_every_report_in_every_state_obeys_the_table(state: AttemptState) -> None:
    for report, began in itertools.product(EVERY_REPORT, (NOW - timedelta(seconds=1), LONG_AGO)):
        answered_at = began if state >= S.ANSWERED else None
        decision = run(view(state, intent_at=began, answered_at=answered_at, check_at=NOW), report)
        assert decision.state is state or _reachable(state, decision.state), (state, report)


def _reachable(start: AttemptState, end: AttemptState) -> bool:
    return end in TRANSITIONS[start] or any(end in TRANSITIONS[each] for each in TRANSITIONS[start])


@pytest.mark.parametrize("report", EVERY_REPORT)
def test_an_ended_attempt_takes_nothing_but_the_carriers_id(report: Report) -> None:
    at = view(S.ENDED, outcome=int(Outcome.UNKNOWN), check_at=None, carrier_id=None)
    decision = run(at, report)
    assert (decision.state, decision.events, decision.command) == (S.ENDED, [], None)
    assert decision.is_changed is (report is ACCEPTED)


# --- whole calls ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "plan", "outcome", "reason"),
    [
        ([ACCEPTED, RINGING, ANSWERED, BRIDGED, amd(Amd.HUMAN), OVER], AGENT_PLAN, Outcome.HUMAN_CONNECTED, None),
        ([ACCEPTED, ANSWERED, amd(Amd.MACHINE), amd(Amd.MACHINE_READY), OVER], AGENT_PLAN, Outcome.VOICEMAIL, None),
        ([ACCEPTED, ANSWERED, amd(Amd.FAX), OVER], AGENT_PLAN, Outcome.FAILED, "fax"),
        ([ACCEPTED, ANSWERED, AGENT_FAILED, amd(Amd.HUMAN), OVER], AGENT_PLAN, Outcome.ABANDONED, "agent_failed"),
        ([ANSWERED, amd(Amd.HUMAN), OVER], AGENT_PLAN, Outcome.ABANDONED, "hung_up_before_agent"),
        ([ANSWERED, BRIDGED, OVER], AGENT_PLAN, Outcome.HUMAN_CONNECTED, None),  # no verdict: a person
        ([ANSWERED, BRIDGED, amd(Amd.SCREENING), OVER], AGENT_PLAN, Outcome.NO_ANSWER, "screened"),
        ([ANSWERED, amd(Amd.SCREENING), amd(Amd.HUMAN), BRIDGED, OVER], AGENT_PLAN, Outcome.HUMAN_CONNECTED, None),
        ([ANSWERED, amd(Amd.HUMAN), OVER], BARE_PLAN, Outcome.HUMAN_CONNECTED, None),
        ([ANSWERED, OVER], BARE_PLAN, Outcome.HUMAN_CONNECTED, None),
        ([ACCEPTED, RINGING, NO_ANSWER], AGENT_PLAN, Outcome.NO_ANSWER, "no_answer"),
        ([ACCEPTED, BUSY], AGENT_PLAN, Outcome.BUSY, "busy"),
        ([ended(EndReason.INVALID_NUMBER)], AGENT_PLAN, Outcome.FAILED, "invalid_number"),
        ([reports.rejected(1, CarrierError(Fault.INVALID_NUMBER, "21211"))], AGENT_PLAN, Outcome.FAILED, "21211"),
    ],
)
def test_outcome(told: list[Report], plan: CallPlan, outcome: Outcome, reason: str | None) -> None:
    at, _ = finished(play(told, plan)[0], plan)
    assert (at.state, at.outcome, at.reason) == (S.ENDED, outcome, reason)
    assert (at.check_at, at.command) == (None, None)


HISTORIES = {
    "human": (AGENT_PLAN, [ACCEPTED, RINGING, ANSWERED, GREETED, BRIDGED, amd(Amd.HUMAN), OVER]),
    "machine": (AGENT_PLAN, [ACCEPTED, ANSWERED, BRIDGED, amd(Amd.MACHINE), amd(Amd.MACHINE_READY), PLAYED, OVER]),
    "fax": (AGENT_PLAN, [ACCEPTED, RINGING, ANSWERED, BRIDGED, amd(Amd.FAX), OVER]),
    "no verdict": (AGENT_PLAN, [ACCEPTED, RINGING, ANSWERED, BRIDGED, OVER]),
    "no agent": (AGENT_PLAN, [ACCEPTED, RINGING, ANSWERED, GREETED, AGENT_FAILED, amd(Amd.HUMAN), OVER]),
    "audio": (AUDIO_PLAN, [ACCEPTED, RINGING, ANSWERED, amd(Amd.UNKNOWN), PLAYED, OVER]),
    "busy": (AGENT_PLAN, [ACCEPTED, BUSY]),
    "no answer": (AGENT_PLAN, [ACCEPTED, RINGING, NO_ANSWER]),
}


@pytest.mark.parametrize("history", HISTORIES)
def test_every_order_ends_the_same_and_tells_each_event_once(history: str) -> None:
    plan, told = HISTORIES[history]
    expected_at, expected_names = play(told, plan)
    expected_at, rest = finished(expected_at, plan)
    expected = (expected_at.state, expected_at.outcome, expected_at.agent_state, sorted(expected_names + rest))
    for order in itertools.permutations(told):
        at, told_names = play(order, plan)
        at, rest = finished(at, plan)
        assert (at.state, at.outcome, at.agent_state, sorted(told_names + rest)) == expected, order


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_doubled_reports_in_batches_of_any_size_change_nothing(data: st.DataObject) -> None:
    plan, told = HISTORIES[data.draw(st.sampled_from(sorted(HISTORIES)))]
    expected, expected_names = play(told, plan)
    expected, rest = finished(expected, plan)
    order = data.draw(st.permutations([*told, *data.draw(st.lists(st.sampled_from(told), max_size=6))]))
    at, told_names = view(), []
    while order:
        size = data.draw(st.integers(1, len(order)))
        decision = run(at, *order[:size], plan=plan)
        at, order, told_names = next_view(decision), order[size:], told_names + names(decision)
    at, last = finished(at, plan)
    assert (at.state, at.outcome, at.agent_state) == (expected.state, expected.outcome, expected.agent_state)
    assert sorted(told_names + last) == sorted(expected_names + rest)


def test_a_whole_history_needs_no_wait_for_stragglers() -> None:
    decision = run(view(), ACCEPTED, ended(EndReason.COMPLETED, is_whole=True), plan=BARE_PLAN)
    assert (decision.state, decision.outcome) == (S.ENDED, Outcome.HUMAN_CONNECTED)


# --- the create's refusals, retries, one-off calls ------------------------------------------------------------------


def test_throttling_costs_no_attempt() -> None:
    refused = reports.rejected(1, CarrierError(Fault.RATE_LIMITED, retryable=True, retry_after_s=7.0))
    decision = run(view(), refused)
    assert (decision.state, decision.is_released, decision.events) == (S.RELEASED, True, [])
    assert decision.release_at == NOW + timedelta(seconds=7)


@pytest.mark.parametrize("fault", [Fault.SENDER_CONFIG, Fault.AUTH])
def test_the_accounts_own_faults_pause_the_campaign(fault: Fault) -> None:
    refused = reports.rejected(1, CarrierError(fault, "1", "no such sender"))
    decision = run(view(), refused)
    assert (decision.is_released, decision.pause_reason) == (True, f"{fault}: no such sender")
    one_off = run(view(), refused, plan=replace(BARE_PLAN, is_direct=True))
    assert (one_off.state, one_off.outcome, one_off.pause_reason) == (S.ENDED, Outcome.FAILED, "")


def test_an_opt_out_suppresses_and_is_never_tried_again() -> None:
    decision = run(view(), reports.rejected(1, CarrierError(Fault.OPTED_OUT, retryable=True)))
    assert (decision.suppresses, decision.outcome, decision.next_attempt_at) == (True, Outcome.FAILED, None)


@pytest.mark.parametrize(
    ("told", "attempt", "is_over", "is_retried"),
    [
        (NO_ANSWER, 1, False, True),
        (NO_ANSWER, 2, False, True),
        (NO_ANSWER, 3, False, False),
        (NO_ANSWER, 1, True, False),  # cancelled meanwhile
        (BUSY, 1, False, True),
        (ended(EndReason.FAILED), 1, False, True),
        (ended(EndReason.FAILED, error=CarrierError(Fault.BLOCKED, "x")), 1, False, False),
        (ended(EndReason.INVALID_NUMBER), 1, False, False),
        (reports.rejected(1, CarrierError(Fault.TRANSIENT, retryable=True)), 1, False, True),
    ],
)
def test_retry(told: Report, attempt: int, is_over: bool, is_retried: bool) -> None:
    decision = run(view(attempt=attempt), told, plan=replace(BARE_PLAN, is_over=is_over))
    assert decision.state is S.ENDED
    assert (decision.next_attempt_at == NOW + timedelta(seconds=600)) is is_retried


def test_unknown_is_never_tried_again() -> None:
    decision = run(view(S.UNKNOWN, intent_at=LONG_AGO), reports.GIVE_UP, plan=BARE_PLAN)
    assert (decision.outcome, decision.next_attempt_at) == (Outcome.UNKNOWN, None)


def test_a_one_off_call_tells_voice_events_only() -> None:
    _, told = play([ACCEPTED, ANSWERED, BRIDGED, amd(Amd.HUMAN), OVER], replace(AGENT_PLAN, is_direct=True))
    assert told == ["voice.initiated", "voice.answered", "voice.amd", "voice.completed"]


def test_an_ai_call_is_told_as_one() -> None:
    _, told = play([ACCEPTED, ANSWERED, BRIDGED, amd(Amd.HUMAN), OVER], replace(AGENT_PLAN, is_ai=True))
    assert "voice.ai.initiated" in told
    assert "voice.ai.completed" in told
    assert "voice.completed" not in told


def test_an_event_tells_which_call_it_was() -> None:
    decision = run(view(), ACCEPTED)
    assert decision.events[1].payload == {
        "id": "call_0000000000002",
        "attempt": 1,
        "campaignId": "camp_0000000000001",
        "prospectId": "pros_0000000000002",
        "from": "+12135550100",
        "to": "+12125550100",
        "status": "initiated",
        "carrierId": "c1",
    }
    assert decision.events[1].tracking_id == REF


# --- the watch ------------------------------------------------------------------------------------------------------


def test_an_unanswered_create_becomes_doubtful_and_is_looked_up_ever_less_often() -> None:
    at = view(check_at=NOW)
    first = run(at, reports.CHECK)
    assert (first.state, first.check_at_s) == (S.UNKNOWN, NOW_S + 7.0)  # when its create is over, whatever the clocks
    later = run(next_view(first), reports.CHECK, after_s=39.0)
    assert later.check_at_s == pytest.approx(NOW_S + 39.0 + 20.0)


def test_a_create_that_may_take_longer_than_any_look_is_waited_for() -> None:
    patient = replace(AGENT_PLAN, limits=replace(AGENT_PLAN.limits, create_s=62.0))
    first = run(view(check_at=NOW), reports.CHECK, plan=patient)
    assert first.check_at_s == NOW_S + 62.0


def test_an_early_or_doubled_check_changes_nothing() -> None:
    assert run(view(), reports.CHECK).is_changed is False


@pytest.mark.parametrize(
    ("row", "after_s", "asks", "hopeless"),
    [
        (view(S.RESERVED), 10, True, False),
        (view(S.UNKNOWN), 119, True, True),
        (view(S.PLACED), 45, True, False),
        (view(S.RINGING), 165, True, True),
        (view(S.ANSWERED, answered_at=NOW), 2, False, False),
        (view(S.HUMAN, answered_at=NOW), 3700, True, False),
        (view(S.HUMAN, answered_at=NOW), 3800, True, True),
        (view(S.ANSWERED, answered_at=NOW, ended_at=NOW), 2, True, True),
    ],
)
def test_when_the_carrier_is_asked(row: AttemptView, after_s: float, asks: bool, hopeless: bool) -> None:
    now = NOW + timedelta(seconds=after_s)
    assert (needs_lookup(row, AGENT_PLAN, now), is_hopeless(row, AGENT_PLAN, now)) == (asks, hopeless)


def test_a_silent_call_is_always_looked_at_again() -> None:
    for state in (S.PLACED, S.RINGING, S.ANSWERED, S.HUMAN, S.MACHINE):
        when = NOW - timedelta(days=1) if state >= S.ANSWERED else None
        at = view(state, answered_at=when, intent_at=NOW - timedelta(days=1), check_at=NOW)
        decision = run(at, reports.CHECK)
        assert decision.check_at_s is not None
        assert decision.check_at_s > NOW_S


def test_times_come_from_the_argument() -> None:
    decision = run(view(S.RINGING), ANSWERED)
    assert decision.answered_at == NOW
    assert all(each.at == NOW for each in decision.events)
    assert datetime.fromtimestamp(decision.check_at_s or 0, UTC) > NOW
