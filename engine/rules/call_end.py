"""How a call ends: the outcome from what is known of it, and what is told of the end."""

from collections.abc import Mapping

from engine.rules.attempt import AgentState, AttemptState
from engine.rules.decision import LABELS, CallPlan, Decision
from engine.rules.prospect import Outcome
from engine.rules.telephony import Amd, CarrierError, CarrierEvent, EndReason, Fault

# A call that nobody answered: its outcome, and whether another try could help when the carrier does not say.
UNANSWERED_ENDS: Mapping[EndReason, tuple[Outcome, bool]] = {
    EndReason.NO_ANSWER: (Outcome.NO_ANSWER, True),
    EndReason.BUSY: (Outcome.BUSY, True),
    EndReason.UNREACHABLE: (Outcome.FAILED, True),
    EndReason.FAILED: (Outcome.FAILED, True),
    EndReason.CANCELED: (Outcome.FAILED, True),
    EndReason.EXPIRED: (Outcome.FAILED, True),
    EndReason.REJECTED: (Outcome.FAILED, False),  # declined by hand: calling again would be harassment
    EndReason.INVALID_NUMBER: (Outcome.FAILED, False),
    EndReason.BLOCKED: (Outcome.FAILED, False),
}
_TOLD_AS = {
    Outcome.NO_ANSWER: "campaign.call.no_answer",
    Outcome.BUSY: "campaign.call.busy",
    Outcome.FAILED: "campaign.call.failed",
    Outcome.UNKNOWN: "campaign.call.failed",
    Outcome.ABANDONED: "campaign.call.failed",
}


def was_answered(call: Decision, event: CarrierEvent) -> bool:
    """A completed call, or one with talk time, was answered even if that report is still on its way."""
    return call.answered_at is not None or event.end is EndReason.COMPLETED or bool(event.duration_s)


def end_unanswered(call: Decision, event: CarrierEvent, plan: CallPlan) -> None:
    reason, error = event.end or EndReason.FAILED, event.error
    outcome, retryable = UNANSWERED_ENDS[reason]
    call.fault = error.fault if error else None
    if reason is EndReason.BLOCKED:
        call.fault = Fault.BLOCKED
    if error is None:
        _end(call, outcome, reason.value, retryable, plan)
    else:
        _end(call, outcome, error.code or error.fault.value, error.retryable, plan)


def end_answered(call: Decision, plan: CallPlan) -> None:
    """The outcome from verdict and agent. No verdict counts as a person."""
    call.ended_at = call.ended_at or call.now
    if call.answered_at is None:
        call.answered_at = call.now
        call.emit("voice.answered", {"status": "answered"})
    if call.state is AttemptState.MACHINE:
        is_fax = call.amd == Amd.FAX
        _end(call, Outcome.FAILED if is_fax else Outcome.VOICEMAIL, "fax" if is_fax else None, False, plan)
    elif call.amd == Amd.SCREENING:
        _end(call, Outcome.NO_ANSWER, "screened", True, plan)
    elif plan.agent is not None and call.agent_state is not AgentState.BRIDGED:
        _end(call, Outcome.ABANDONED, call.reason or "hung_up_before_agent", False, plan)
    else:
        _end_with_person(call, plan)


def is_told(call: Decision, plan: CallPlan) -> bool:
    """Is everything known that the outcome of an answered call depends on?"""
    if call.state is AttemptState.MACHINE:
        return True
    return call.state is AttemptState.HUMAN and (plan.agent is None or call.agent_state is not AgentState.REQUESTED)


def connected(call: Decision, plan: CallPlan) -> None:
    if not plan.is_direct:
        call.emit("campaign.call.human_connected", {"status": "answered", "amd": call.amd})


def refused(call: Decision, error: CarrierError, plan: CallPlan) -> None:
    """The carrier would not place it, and never will."""
    call.suppresses = error.fault is Fault.OPTED_OUT
    call.fault = error.fault
    _end(call, Outcome.FAILED, error.code or error.fault.value, error.retryable, plan)


def give_up(call: Decision, plan: CallPlan) -> None:
    """The carrier cannot say what became of it. What is known of an answered call is enough for its outcome."""
    if call.answered_at is not None or call.ended_at is not None:
        end_answered(call, plan)
    else:
        _end(call, Outcome.UNKNOWN, "no_report", False, plan)


def _end_with_person(call: Decision, plan: CallPlan) -> None:
    if call.state is not AttemptState.HUMAN:
        connected(call, plan)
    if plan.agent is not None and not plan.is_direct:
        call.emit("campaign.call.human_hangup", {"status": "completed"})
    _end(call, Outcome.HUMAN_CONNECTED, None, False, plan)


def _end(call: Decision, outcome: Outcome, reason: str | None, retryable: bool, plan: CallPlan) -> None:
    has_begun = not call.is_unanswered
    if not call.end(outcome, reason, retryable, plan):
        return
    told: dict[str, object] = {"status": LABELS[outcome], "outcome": LABELS[outcome]}
    if reason:
        told["reason"] = reason
    if call.next_attempt_at is not None:
        told["nextAttemptAt"] = call.next_attempt_at
    if not plan.is_direct and (name := _TOLD_AS.get(outcome)):
        call.emit(name, told)
    if call.answered_at is None:
        call.emit("voice.failed", {**told, "started": has_begun, "carrierId": call.carrier_id})
    else:
        talk = {"amd": call.amd, "durationS": call.duration_s, "carrierId": call.carrier_id}
        call.emit("voice.ai.completed" if plan.is_ai else "voice.completed", {**told, "status": "completed", **talk})
