"""What the flows tell fits its model: every plan and every short history of reports, not a chosen few."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import orjson
import pytest

from engine.rules import call_flow, sms_flow
from engine.rules.decision import CallPlan
from engine.rules.event_catalog import BY_TYPE, EVENTS
from engine.rules.events import Event
from engine.rules.reports import GIVE_UP, Report, accepted, rejected
from engine.rules.telephony import Amd, CarrierError, EndReason, EventKind, Fault
from engine.rules.topics import topic_of
from tests.rules.flows import (
    AGENT_PLAN,
    AUDIO_PLAN,
    BARE_PLAN,
    LONG_AGO,
    NOW,
    NOW_S,
    REF,
    SMS_PLAN,
    amd,
    ended,
    heard,
    next_view,
    view,
)

ACCEPTED = accepted(1, "c1")
NAMELESS = accepted(1, "")  # the carrier took it and gave no id
REFUSED = rejected(1, CarrierError(Fault.INVALID_NUMBER, "21211"))
OPTED_OUT = rejected(1, CarrierError(Fault.OPTED_OUT, "21610"))

PLANS = [AGENT_PLAN, AUDIO_PLAN, BARE_PLAN, replace(AGENT_PLAN, is_ai=True), replace(AGENT_PLAN, is_direct=True)]
CALL_REPORTS = [
    ACCEPTED,
    NAMELESS,
    REFUSED,
    GIVE_UP,
    heard(EventKind.ANSWERED),
    *(amd(verdict) for verdict in Amd),
    heard(EventKind.AGENT_BRIDGED),
    heard(EventKind.AGENT_FAILED),
    *(ended(reason) for reason in EndReason),
    ended(EndReason.COMPLETED, 42, is_whole=True),
    ended(EndReason.FAILED, error=CarrierError(Fault.UNREACHABLE, "31480", retryable=True)),
]
SMS_REPORTS = [
    ACCEPTED,
    REFUSED,
    OPTED_OUT,
    GIVE_UP,
    heard(EventKind.SMS_SENT),
    heard(EventKind.SMS_DELIVERED),
    heard(EventKind.SMS_FAILED, error=CarrierError(Fault.BLOCKED, "30007")),
    heard(EventKind.SMS_FAILED, error=CarrierError(Fault.UNREACHABLE, "30003", retryable=True)),
]


def check(event: Event) -> None:
    payload = orjson.loads(event.encode())["payload"]
    BY_TYPE[event.type].payload.model_validate(payload)


def at_once(reports: Sequence[Report], plan: CallPlan) -> list[Event]:
    return call_flow.fold(view(intent_at=LONG_AGO), reports, plan, NOW, NOW_S, REF).events


def one_by_one(reports: Sequence[Report], plan: CallPlan) -> list[Event]:
    """Each report in a fold of its own, as callbacks come."""
    row, events = view(intent_at=LONG_AGO), []
    for report in reports:
        decision = call_flow.fold(row, [report], plan, NOW, NOW_S, REF)
        row = next_view(decision)
        events += decision.events
    return events


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(("fold", "reports"), [(at_once, 3), (one_by_one, 2)])
def test_calls(fold: Callable[[Sequence[Report], CallPlan], list[Event]], reports: int, plan: CallPlan) -> None:
    """On the Teletracker streams each history has a start, then perhaps an answer, then an end, or nothing at all."""
    for history in itertools.product(CALL_REPORTS, repeat=reports):
        events = fold(history, plan)
        for event in events:
            check(event)
        steps = [topic.rpartition(".")[2] for event in events if (topic := topic_of(event.type, event.payload))]
        assert steps in ([], ["start"], ["start", "answer"], ["start", "end"], ["start", "answer", "end"])


def test_messages() -> None:
    told: set[str] = set()
    for history in itertools.product(SMS_REPORTS, repeat=3):
        events = sms_flow.fold(view(intent_at=LONG_AGO), history, SMS_PLAN, NOW, NOW_S, REF).events
        told |= {event.type for event in events}
        for event in events:
            check(event)
    assert told == {"sms.sent", "sms.delivered", "sms.failed"}


def test_these_histories_cause_all_that_the_flows_are_said_to_cause() -> None:
    histories = itertools.product(PLANS, itertools.product(CALL_REPORTS, repeat=2))
    told = {event.type for plan, history in histories for event in at_once(history, plan)}
    flows = {"engine.rules.call_flow", "engine.rules.call_end"}
    assert told == {event.name for event in EVENTS if event.cause in flows}
