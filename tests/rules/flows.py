"""Rows, plans and reports for the flows' tests."""

from datetime import UTC, datetime, timedelta
from typing import Any

from engine.rules.attempt import AttemptState
from engine.rules.decision import AttemptView, CallPlan, Decision, SmsPlan
from engine.rules.reports import Report, carrier
from engine.rules.retry import RetryRule
from engine.rules.telephony import (
    AgentKind,
    AgentTarget,
    Amd,
    CarrierError,
    CarrierEvent,
    EndReason,
    EventKind,
)

NOW = datetime(2026, 3, 11, 18, 0, tzinfo=UTC)
NOW_S = NOW.timestamp()  # engine time is real time here, unless a plan says otherwise
REF = "0000000000001-0000000000002-1"
AGENT = AgentTarget(AgentKind.SIP, "sip:agent@example.com")
RETRY = RetryRule(max_retries=2, delay_s=600)

AGENT_PLAN = CallPlan(
    campaign="camp_0000000000001",
    retry=RETRY,
    agent=AGENT,
    audio_url="https://example.com/vm.mp3",
    identification="This is Example. Call {number}.",
)
AUDIO_PLAN = CallPlan(campaign="camp_0000000000001", retry=RETRY, audio_url="https://example.com/vm.mp3")
BARE_PLAN = CallPlan(campaign="camp_0000000000001", retry=RETRY)
SMS_PLAN = SmsPlan(campaign="camp_0000000000001", retry=RETRY)


LONG_AGO = NOW - timedelta(days=10)  # longer than a delivery report is awaited


def view(state: AttemptState = AttemptState.RESERVED, **more: Any) -> AttemptView:
    """A row whose intent is a second old."""
    fields: dict[str, Any] = {
        "campaign_id": 1,
        "prospect_id": 2,
        "attempt": 1,
        "try_no": 1,
        "account_id": 3,
        "phone": "+12125550100",
        "did_id": 4,
        "from_number": "+12135550100",
        "carrier": "simulated-command",
        "carrier_id": None if state <= AttemptState.UNKNOWN else "c1",
        "state": int(state),
        "agent_state": 0,
        "amd": None,
        "outcome": None,
        "reason": None,
        "intent_at": NOW - timedelta(seconds=1),
        "answered_at": None,
        "greeting_ended_at": None,
        "ended_at": None,
        "duration_s": None,
        "check_at": NOW + timedelta(seconds=8),
        "command": None,
        "command_no": 0,
    }
    return AttemptView(**fields | more)


def event(kind: EventKind, **more: Any) -> CarrierEvent:
    key = f"{kind}:{more.get('amd', '')}"
    return CarrierEvent(kind, key, REF, "c1", NOW, **more)


def heard(kind: EventKind, *, is_whole: bool = False, **more: Any) -> Report:
    return carrier(event(kind, **more), is_whole=is_whole)


def amd(verdict: Amd) -> Report:
    return heard(EventKind.AMD, amd=verdict)


def ended(end: EndReason, duration_s: int = 0, error: CarrierError | None = None, *, is_whole: bool = False) -> Report:
    return heard(EventKind.CALL_ENDED, is_whole=is_whole, end=end, duration_s=duration_s, error=error)


def next_view(decision: Decision) -> AttemptView:
    """The row as the next fold finds it."""
    return decision.view._replace(
        state=int(decision.state),
        agent_state=int(decision.agent_state),
        amd=decision.amd,
        outcome=None if decision.outcome is None else int(decision.outcome),
        reason=decision.reason,
        carrier_id=decision.carrier_id,
        answered_at=decision.answered_at,
        greeting_ended_at=decision.greeting_ended_at,
        ended_at=decision.ended_at,
        duration_s=decision.duration_s,
        check_at=None if decision.check_at_s is None else datetime.fromtimestamp(decision.check_at_s, UTC),
        command=decision.command,
        command_no=decision.command_no,
    )


def names(decision: Decision) -> list[str]:
    return [each.type for each in decision.events]


def commanded(decision: Decision) -> str | None:
    """The kind of the command that is to be carried out now."""
    return decision.command["kind"] if decision.command and decision.is_command_due else None
