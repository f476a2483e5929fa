"""The life of a call after its intent, as one pure fold: what is known, what it wants next, what has to be told.

On `answered` the agent is attached at once and answering machine detection runs beside it. A person (and whatever is
not clearly a machine: unknown, silence) keeps the agent. A machine loses it, and hears the recording after its beep. A
person whom no agent reached within two seconds of the greeting's end is abandoned: they hear who called, and it counts.

Reports come late, doubled and disordered. A later fact implies the earlier ones (a verdict implies the answer), a state
never goes back, and a call whose end has overtaken its verdict or its agent waits a moment for them: so every order of
one history ends the same, and each event is told once.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from engine.rules import call_end, call_orders
from engine.rules.attempt import AgentState, AttemptState
from engine.rules.call_orders import AGENT_LATE
from engine.rules.decision import (
    UNANSWERED,
    AttemptView,
    CallPlan,
    Decision,
    check_unanswered,
    final_refusal,
    is_acceptance,
    is_due,
    take_answer,
)
from engine.rules.reports import Report, ReportKind, in_order
from engine.rules.telephony import Amd, CarrierEvent, CommandKind, EventKind

S = AttemptState

_PEOPLE = (Amd.HUMAN, Amd.UNKNOWN, Amd.SILENCE)


def fold(
    view: AttemptView, reports: Sequence[Report], plan: CallPlan, now: datetime, now_real_s: float, ref: str
) -> Decision:
    """What the reports make of a call. `now`: engine time; `now_real_s`: epoch seconds; `ref`: the attempt's name."""
    call = Decision(view, now, now_real_s, ref)
    call.is_ai = plan.is_ai
    if call.is_open:
        call.name("call", plan)
    for report in in_order(reports):
        if call.is_open:
            _TAKEN[report.kind](call, report, plan)
        else:
            call.take_late(report)
    if call.is_open and not call.is_unanswered:
        _schedule(call, plan)
    return call


def needs_lookup(view: AttemptView, plan: CallPlan, now: datetime) -> bool:
    """Must the carrier be asked before this due attempt is folded? Abandonment and lost commands cannot wait for it."""
    if view.state < S.ANSWERED or view.ended_at is not None:
        return True
    return view.answered_at is not None and _elapsed_s(view.answered_at, now, plan) >= _longest_s(plan)


def is_hopeless(call: AttemptView | Decision, plan: CallPlan, now: datetime) -> bool:
    """Have the look-ups gone on for long enough? Never of a create that may still be about to be sent."""
    give_up_s = plan.limits.reconcile_give_up_s
    if call.state in UNANSWERED:
        return call.state != S.RESERVED and _elapsed_s(call.intent_at, now, plan) >= give_up_s
    if call.ended_at is not None:
        return True
    if call.answered_at is None:
        return _elapsed_s(call.intent_at, now, plan) >= _ring_s(plan) + give_up_s
    return _elapsed_s(call.answered_at, now, plan) >= _longest_s(plan) + give_up_s


def _elapsed_s(since: datetime, now: datetime, plan: CallPlan) -> float:
    return (now - since).total_seconds() / plan.limits.speed


def _ring_s(plan: CallPlan) -> float:
    return plan.ring_timeout_s + plan.limits.grace_s


def _longest_s(plan: CallPlan) -> float:
    return plan.max_duration_s + plan.limits.grace_s


def _accepted(call: Decision, report: Report, plan: CallPlan) -> None:
    if is_acceptance(call, report):
        call.adopt(report.carrier_id)
        _begin(call, plan)


def _rejected(call: Decision, report: Report, plan: CallPlan) -> None:
    if (error := final_refusal(call, report, plan)) is not None:
        call_end.refused(call, error, plan)
    else:
        take_answer(call, report, plan)


def _hear(call: Decision, report: Report, plan: CallPlan) -> None:
    event = report.event
    if event is None or event.kind is EventKind.UNRECOGNISED:
        return
    call.cause = event.key
    call.adopt(event.carrier_id)
    _begin(call, plan)
    if (hear := _HEARD.get(event.kind)) is not None:
        hear(call, event, plan)
    if call.ended_at is not None and call.is_open and (_is_last(report) or call_end.is_told(call, plan)):
        call_end.end_answered(call, plan)


def _is_last(report: Report) -> bool:
    """Is this the end, told with everything that went before it?"""
    return report.is_whole and report.event is not None and report.event.kind is EventKind.CALL_ENDED


def _begin(call: Decision, plan: CallPlan) -> None:
    """The carrier has it: told once, whether the create's answer or a callback comes first."""
    if not call.is_unanswered:
        return
    call.move(S.PLACED)
    if not plan.is_direct:
        call.emit("campaign.call.initiated", {"status": "initiated"})
    told = {"status": "initiated", "carrierId": call.carrier_id}
    call.emit("voice.ai.initiated" if plan.is_ai else "voice.initiated", told)


def _ringing(call: Decision, _event: CarrierEvent, _plan: CallPlan) -> None:
    call.move(S.RINGING)


def _answered(call: Decision, _event: CarrierEvent, plan: CallPlan) -> None:
    _answer(call, plan)


def _answer(call: Decision, plan: CallPlan) -> None:
    if call.answered_at is not None:
        return
    call.move(S.ANSWERED)
    call.answered_at = call.now
    call.emit("voice.answered", {"status": "answered"})
    if plan.agent is not None:
        call.agent_state = AgentState.REQUESTED
        call_orders.order(call, CommandKind.HANDOFF, plan)
    elif plan.is_document:
        call_orders.order(call, CommandKind.WAIT, plan)


def _detected(call: Decision, event: CarrierEvent, plan: CallPlan) -> None:
    """The first verdict stands; screening is none yet, and a machine may become ready for the recording."""
    if (verdict := event.amd) is None:
        return
    _answer(call, plan)
    if call.state is S.ANSWERED and (verdict is not Amd.SCREENING or call.amd is None):
        call.amd = verdict.value
        call.is_changed = True
        if verdict in _PEOPLE:
            _person(call, plan)
        elif verdict is Amd.SCREENING:
            call.emit("voice.amd", {"status": "answered", "amd": call.amd})
        else:
            _machine(call, verdict, plan)
    elif call.state is S.MACHINE and verdict is Amd.MACHINE_READY and call.amd == Amd.MACHINE:
        call.amd = verdict.value
        call.is_changed = True
        call_orders.deposit(call, plan)


def _person(call: Decision, plan: CallPlan) -> None:
    call.move(S.HUMAN)
    call.emit("voice.amd", {"status": "answered", "amd": call.amd})
    if plan.agent is None:
        call_end.connected(call, plan)
        call_orders.order(call, CommandKind.PLAY if plan.audio_url else CommandKind.HANGUP, plan)
    elif call.agent_state is AgentState.BRIDGED:
        call_end.connected(call, plan)


def _machine(call: Decision, verdict: Amd, plan: CallPlan) -> None:
    """`agent_state` returns to none: whatever becomes of the handoff, it matters no more."""
    call.move(S.MACHINE)
    had_agent = call.agent_state in (AgentState.REQUESTED, AgentState.BRIDGED)
    call.agent_state, call.reason = AgentState.NONE, None
    told = Amd.FAX if verdict is Amd.FAX else Amd.MACHINE
    call.emit("voice.amd", {"status": "answered", "amd": told.value})
    if told is Amd.MACHINE and not plan.is_direct:
        call.emit("campaign.call.voicemail", {"status": "answered", "amd": told.value})
    call_orders.take_off(call, verdict, had_agent, plan)


def _greeted(call: Decision, _event: CarrierEvent, plan: CallPlan) -> None:
    _answer(call, plan)
    if call.greeting_ended_at is None:
        call.greeting_ended_at = call.now
        call.is_changed = True


def _bridged(call: Decision, _event: CarrierEvent, plan: CallPlan) -> None:
    _answer(call, plan)
    if call_orders.is_told(call, CommandKind.HANDOFF):
        call_orders.drop(call)
    came_late = call.agent_state is AgentState.FAILED and call.reason == AGENT_LATE
    if call.agent_state not in (AgentState.REQUESTED, AgentState.FAILED) or came_late:
        return
    call.agent_state, call.reason = AgentState.BRIDGED, None
    call.is_changed = True
    if call.state is S.HUMAN:
        call_end.connected(call, plan)


def _agent_failed(call: Decision, _event: CarrierEvent, plan: CallPlan) -> None:
    _answer(call, plan)
    if call.agent_state is AgentState.REQUESTED:
        call_orders.abandon(call, "agent_failed", plan)


def _played(call: Decision, _event: CarrierEvent, _plan: CallPlan) -> None:
    if call_orders.is_told(call, CommandKind.PLAY):
        call_orders.drop(call)


def _ended(call: Decision, event: CarrierEvent, plan: CallPlan) -> None:
    """An answered call's outcome needs its verdict and its agent, which this report may have overtaken."""
    if call.ended_at is not None:
        return
    call.duration_s = event.duration_s
    if not call_end.was_answered(call, event):
        call_end.end_unanswered(call, event, plan)
        return
    call.ended_at = call.now
    call.is_changed = True
    call_orders.drop(call)


def _check(call: Decision, _report: Report, plan: CallPlan) -> None:
    if not is_due(call):
        return
    if call.is_unanswered:
        check_unanswered(call, plan.limits)
    elif call.ended_at is not None:
        call_end.end_answered(call, plan)
    elif (at_s := _abandoned_at(call, plan)) is not None and at_s <= call.now_real_s + 0.001:
        call_orders.abandon(call, AGENT_LATE, plan)
    elif call_orders.is_waiting(call):
        call.is_command_due = True


def _give_up(call: Decision, _report: Report, plan: CallPlan) -> None:
    """Since the look-up began it may have been answered, or sent anew."""
    if is_hopeless(call, plan, call.now):
        call_end.give_up(call, plan)


def _abandoned_at(call: Decision, plan: CallPlan) -> float | None:
    """When a person has waited too long (epoch seconds). Never while a screening assistant holds the line."""
    since = call.greeting_ended_at or call.answered_at
    if since is None or call.agent_state is not AgentState.REQUESTED or call.amd == Amd.SCREENING:
        return None
    return call.real_s(since, plan.limits) + plan.limits.abandon_after_s


def _schedule(call: Decision, plan: CallPlan) -> None:
    """The earliest of: the end of a wait for stragglers, abandonment, a lost command, a call that says no more."""
    limits, now_s = plan.limits, call.now_real_s
    if call.ended_at is not None:
        call.watch_at(call.real_s(call.ended_at, limits) + limits.straggler_s)
        return
    if call.answered_at is None:
        at_s = call.real_s(call.view.intent_at, limits) + _ring_s(plan)
    else:
        at_s = call.real_s(call.answered_at, limits) + _longest_s(plan)
    if at_s <= now_s:
        at_s = now_s + limits.grace_s
    if (abandoned_s := _abandoned_at(call, plan)) is not None:
        at_s = min(at_s, abandoned_s)
    if call_orders.is_waiting(call):
        at_s = min(at_s, now_s + limits.resend_after_s)
    call.watch_at(at_s)


# What each report of an open call does, and what each word of the carrier does; words that are not here change nothing
# but that the carrier has it.
_TAKEN: Mapping[ReportKind, Callable[[Decision, Report, CallPlan], None]] = {
    ReportKind.ACCEPTED: _accepted,
    ReportKind.REJECTED: _rejected,
    ReportKind.NOT_SENT: take_answer,
    ReportKind.DOUBTFUL: take_answer,
    ReportKind.ABSENT: take_answer,
    ReportKind.CARRIER: _hear,
    ReportKind.CHECK: _check,
    ReportKind.COMMAND_DONE: call_orders.answered,
    ReportKind.COMMAND_FAILED: call_orders.answered,
    ReportKind.GIVE_UP: _give_up,
}
_HEARD: Mapping[EventKind, Callable[[Decision, CarrierEvent, CallPlan], None]] = {
    EventKind.RINGING: _ringing,
    EventKind.ANSWERED: _answered,
    EventKind.AMD: _detected,
    EventKind.GREETING_ENDED: _greeted,
    EventKind.AGENT_BRIDGED: _bridged,
    EventKind.AGENT_FAILED: _agent_failed,
    EventKind.PLAYBACK_DONE: _played,
    EventKind.CALL_ENDED: _ended,
}
