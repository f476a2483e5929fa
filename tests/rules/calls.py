"""What the tests of the call flow share: reports, and ways to fold them."""

from collections.abc import Sequence
from datetime import timedelta

from engine.rules import reports
from engine.rules.attempt import AgentState, AttemptState
from engine.rules.call_flow import fold
from engine.rules.decision import AttemptView, CallPlan, Decision
from engine.rules.reports import Report
from engine.rules.telephony import EndReason, EventKind
from tests.rules.flows import (
    AGENT_PLAN,
    NOW,
    NOW_S,
    REF,
    ended,
    heard,
    names,
    next_view,
    view,
)

S, A = AttemptState, AgentState

RINGING = heard(EventKind.RINGING)
ANSWERED = heard(EventKind.ANSWERED)
GREETED = heard(EventKind.GREETING_ENDED)
BRIDGED = heard(EventKind.AGENT_BRIDGED)
AGENT_FAILED = heard(EventKind.AGENT_FAILED)
PLAYED = heard(EventKind.PLAYBACK_DONE)
OVER = ended(EndReason.COMPLETED, 30)
NO_ANSWER = ended(EndReason.NO_ANSWER)
BUSY = ended(EndReason.BUSY)
ACCEPTED = reports.accepted(1, "c1")

answered = {"answered_at": NOW - timedelta(seconds=1), "agent_state": int(A.REQUESTED)}
bridged = answered | {"agent_state": int(A.BRIDGED)}

INITIATED = ["campaign.call.initiated", "voice.initiated"]


def run(at: AttemptView, *told: Report, plan: CallPlan = AGENT_PLAN, after_s: float = 0.0) -> Decision:
    return fold(at, told, plan, NOW + timedelta(seconds=after_s), NOW_S + after_s, REF)


def play(told: Sequence[Report], plan: CallPlan = AGENT_PLAN) -> tuple[AttemptView, list[str]]:
    """Folds reports one by one, as their callbacks would be; returns the last row and all event names."""
    at, told_names = view(), []
    for report in told:
        decision = run(at, report, plan=plan)
        told_names += names(decision)
        at = next_view(decision)
    return at, told_names


def finished(at: AttemptView, plan: CallPlan = AGENT_PLAN) -> tuple[AttemptView, list[str]]:
    """The row after the wait for stragglers, where one is under way."""
    if at.state == S.ENDED or at.ended_at is None:
        return at, []
    decision = run(at, reports.CHECK, plan=plan, after_s=60.0)
    return next_view(decision), names(decision)
