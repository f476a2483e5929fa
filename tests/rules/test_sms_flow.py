"""The SMS flow: each state × each report, and every order of a message's life."""

import itertools
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from engine.rules import reports
from engine.rules.attempt import AttemptState
from engine.rules.decision import AttemptView, Decision, Limits, SmsPlan
from engine.rules.prospect import Outcome
from engine.rules.reports import Report
from engine.rules.sms_flow import fold, is_hopeless
from engine.rules.telephony import CarrierError, EventKind, Fault
from tests.rules.flows import LONG_AGO, NOW, NOW_S, REF, SMS_PLAN, heard, names, next_view, view

S = AttemptState

ACCEPTED = reports.accepted(1, "m1")
SENT = heard(EventKind.SMS_SENT)
DELIVERED = heard(EventKind.SMS_DELIVERED)
TRANSIENT = heard(EventKind.SMS_FAILED, error=CarrierError(Fault.TRANSIENT, "30008", "try later", retryable=True))
LANDLINE = heard(EventKind.SMS_FAILED, error=CarrierError(Fault.UNREACHABLE, "30006", "landline"))
STOPPED = heard(EventKind.SMS_FAILED, error=CarrierError(Fault.OPTED_OUT, "21610", "stop"))


def run(at: AttemptView, *told: Report, plan: SmsPlan = SMS_PLAN, after_s: float = 0.0) -> Decision:
    return fold(at, told, plan, NOW + timedelta(seconds=after_s), NOW_S + after_s, REF)


@pytest.mark.parametrize(
    ("state", "report", "after", "told", "outcome"),
    [
        (S.RESERVED, ACCEPTED, S.PLACED, ["sms.sent"], None),
        (S.UNKNOWN, ACCEPTED, S.PLACED, ["sms.sent"], None),
        (S.RESERVED, reports.accepted(2, "m9"), S.RESERVED, [], None),
        (S.RESERVED, SENT, S.PLACED, ["sms.sent"], None),
        (S.RESERVED, DELIVERED, S.ENDED, ["sms.sent", "sms.delivered"], Outcome.DELIVERED),
        (S.RESERVED, reports.not_sent(1, "ticket_expired"), S.RELEASED, [], None),
        (S.RESERVED, reports.doubtful(1), S.UNKNOWN, [], None),
        (S.UNKNOWN, reports.absent(1), S.RELEASED, [], None),
        (S.RESERVED, reports.rejected(1, CarrierError(Fault.BLOCKED)), S.ENDED, ["sms.failed"], Outcome.FAILED),
        (S.RESERVED, reports.rejected(1, CarrierError(Fault.RATE_LIMITED)), S.RELEASED, [], None),
        (S.PLACED, ACCEPTED, S.PLACED, [], None),
        (S.PLACED, SENT, S.PLACED, [], None),
        (S.PLACED, reports.absent(1), S.PLACED, [], None),
        (S.PLACED, reports.doubtful(1), S.PLACED, [], None),
        (S.PLACED, DELIVERED, S.ENDED, ["sms.delivered"], Outcome.DELIVERED),
        (S.PLACED, TRANSIENT, S.ENDED, ["sms.failed"], Outcome.FAILED),
        (S.PLACED, LANDLINE, S.ENDED, ["sms.failed"], Outcome.FAILED),
        (S.PLACED, heard(EventKind.UNRECOGNISED), S.PLACED, [], None),
        (S.RESERVED, heard(EventKind.UNRECOGNISED), S.RESERVED, [], None),
        (S.PLACED, reports.command_done(1), S.PLACED, [], None),  # whoever says so: a text is sent no commands
        (S.PLACED, reports.command_failed(1, gone=True), S.PLACED, [], None),
        (S.RELEASED, DELIVERED, S.RELEASED, [], None),
        (S.ENDED, DELIVERED, S.ENDED, [], None),
    ],
)
def test_one_report(
    state: AttemptState, report: Report, after: AttemptState, told: list[str], outcome: Outcome | None
) -> None:
    decision = run(view(state), report)
    assert (decision.state, names(decision), decision.outcome) == (after, told, outcome)


@pytest.mark.parametrize(
    ("state", "intent_at", "is_given_up"),
    [
        (S.UNKNOWN, LONG_AGO, True),
        (S.PLACED, LONG_AGO, True),
        (S.RESERVED, LONG_AGO, False),  # sent anew during the look-up
        (S.UNKNOWN, NOW, False),
        (S.PLACED, NOW, False),
    ],
)
def test_what_is_hopeless_is_given_up(state: AttemptState, intent_at: datetime, is_given_up: bool) -> None:
    decision = run(view(state, intent_at=intent_at), reports.GIVE_UP)
    found = (S.ENDED, ["sms.failed"], Outcome.UNKNOWN) if is_given_up else (state, [], None)
    assert (decision.state, names(decision), decision.outcome) == found


@pytest.mark.parametrize("last", [DELIVERED, TRANSIENT, LANDLINE])
def test_every_order_ends_the_same_and_tells_each_event_once(last: Report) -> None:
    for order in itertools.permutations([ACCEPTED, SENT, last, last, SENT]):
        at, told = view(), []
        for report in order:
            decision = run(at, report)
            at, told = next_view(decision), told + names(decision)
        assert at.state == S.ENDED
        assert at.outcome == (Outcome.DELIVERED if last is DELIVERED else Outcome.FAILED)
        assert told == ["sms.sent", "sms.delivered" if last is DELIVERED else "sms.failed"]


@pytest.mark.parametrize(
    ("report", "attempt", "is_retried"), [(TRANSIENT, 1, True), (TRANSIENT, 3, False), (LANDLINE, 1, False)]
)
def test_only_transient_failures_are_tried_again(report: Report, attempt: int, is_retried: bool) -> None:
    decision = run(view(S.PLACED, attempt=attempt), report)
    assert (decision.next_attempt_at == NOW + timedelta(seconds=600)) is is_retried


def test_a_failure_tells_the_carriers_code_and_words() -> None:
    payload = run(view(S.PLACED), LANDLINE).events[0].payload
    assert (payload["errorCode"], payload["reason"], payload["outcome"]) == ("30006", "landline", "failed")
    assert payload["id"] == "msg_0000000000002"


def test_stop_suppresses() -> None:
    decision = run(view(S.PLACED), STOPPED)
    assert (decision.suppresses, decision.next_attempt_at) == (True, None)


def test_its_watch_is_set_to_the_delivery_deadline_of_engine_time() -> None:
    plan = replace(SMS_PLAN, limits=Limits(speed=60.0, delivery_deadline_s=3600.0))
    at = view(intent_at=NOW)
    assert run(at, ACCEPTED, plan=plan).check_at_s == pytest.approx(NOW_S + 60.0)
    assert is_hopeless(next_view(run(at, ACCEPTED, plan=plan)), plan, NOW + timedelta(seconds=3600))
    assert not is_hopeless(next_view(run(at, ACCEPTED, plan=plan)), plan, NOW + timedelta(seconds=3599))


def test_the_sender_is_freed_by_the_creates_answer_and_never_again() -> None:
    """Its next message may be under way when this one is delivered: the gap must not move."""
    accepted = run(view(), ACCEPTED)
    assert (accepted.frees_sender, accepted.was_not_sent) == (True, False)
    assert run(next_view(accepted), DELIVERED).frees_sender is False
    assert run(view(), reports.doubtful(1)).frees_sender is False
    released = run(view(), reports.not_sent(1, "slot_missed"))
    assert (released.frees_sender, released.was_not_sent) == (True, True)
