"""The life of a text message after its intent, as one pure fold: sent at the carrier's acceptance, then its report.

A transient failure is tried again by the campaign's rule, a permanent one never, and a message without a report is
settled `unknown` at the deadline: known to be unknown, so that no campaign hangs open.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from engine.rules.attempt import AttemptState
from engine.rules.decision import (
    LABELS,
    UNANSWERED,
    AttemptView,
    Decision,
    SmsPlan,
    check_unanswered,
    final_refusal,
    is_acceptance,
    is_due,
    take_answer,
)
from engine.rules.prospect import Outcome
from engine.rules.reports import Report, ReportKind, in_order
from engine.rules.telephony import CarrierError, EventKind, Fault

S = AttemptState

_HEARD = (EventKind.SMS_SENT, EventKind.SMS_DELIVERED, EventKind.SMS_FAILED)
_NO_REASON = CarrierError(Fault.UNKNOWN)


def fold(
    view: AttemptView, reports: Sequence[Report], plan: SmsPlan, now: datetime, now_real_s: float, ref: str
) -> Decision:
    """What the reports make of a message. `now` is engine time, `now_real_s` real epoch seconds."""
    message = Decision(view, now, now_real_s, ref)
    if message.is_open:
        message.name("msg", plan)
        message.facts |= {"segments": view.segments, "encoding": view.encoding}
        if plan.media_urls:
            message.facts["mediaUrls"] = list(plan.media_urls)
    for report in in_order(reports):
        if message.is_open:
            _TAKEN[report.kind](message, report, plan)
        else:
            message.take_late(report)
    return message


def is_hopeless(message: AttemptView | Decision, plan: SmsPlan, now: datetime) -> bool:
    """Have the look-ups gone on for long enough? Never of a create that may still be about to be sent."""
    waited_s = (now - message.intent_at).total_seconds()
    if message.state in UNANSWERED:
        return message.state != S.RESERVED and waited_s / plan.limits.speed >= plan.limits.reconcile_give_up_s
    return waited_s >= plan.limits.delivery_deadline_s


def _accepted(message: Decision, report: Report, plan: SmsPlan) -> None:
    if is_acceptance(message, report):
        message.adopt(report.carrier_id)
        _sent(message, plan)


def _rejected(message: Decision, report: Report, plan: SmsPlan) -> None:
    if (error := final_refusal(message, report, plan)) is not None:
        _failed(message, error, plan)
    else:
        take_answer(message, report, plan)


def _hear(message: Decision, report: Report, plan: SmsPlan) -> None:
    event = report.event
    if event is None or event.kind not in _HEARD:
        return
    message.adopt(event.carrier_id)
    _sent(message, plan)
    if event.kind is EventKind.SMS_DELIVERED:
        _end(message, Outcome.DELIVERED, None, "", False, plan)
    elif event.kind is EventKind.SMS_FAILED:
        _failed(message, event.error or _NO_REASON, plan)


def _sent(message: Decision, plan: SmsPlan) -> None:
    """The carrier has it: told once, whether the create's answer or a callback comes first."""
    if not message.is_unanswered:
        return
    message.move(S.PLACED)
    message.emit("sms.sent", {"status": "sent", "carrierId": message.carrier_id})
    waits_s = plan.limits.delivery_deadline_s / plan.limits.speed
    message.watch_at(message.real_s(message.view.intent_at, plan.limits) + waits_s)


def _failed(message: Decision, error: CarrierError, plan: SmsPlan) -> None:
    message.suppresses = error.fault is Fault.OPTED_OUT
    message.fault = error.fault
    _end(message, Outcome.FAILED, error.text or error.fault.value, error.code, error.retryable, plan)


def _end(message: Decision, outcome: Outcome, reason: str | None, code: str, retryable: bool, plan: SmsPlan) -> None:
    if not message.end(outcome, reason, retryable, plan):
        return
    told: dict[str, object] = {"status": LABELS[outcome], "outcome": LABELS[outcome]}
    if outcome is Outcome.DELIVERED:
        message.emit("sms.delivered", {**told, "carrierId": message.carrier_id})
        return
    message.error_code = code or None
    told |= {"reason": reason, "errorCode": message.error_code}
    if message.next_attempt_at is not None:
        told["nextAttemptAt"] = message.next_attempt_at
    message.emit("sms.failed", {**told, "carrierId": message.carrier_id})


def _check(message: Decision, _report: Report, plan: SmsPlan) -> None:
    if not is_due(message):
        return
    if message.is_unanswered:
        check_unanswered(message, plan.limits)
    else:
        message.watch_at(message.now_real_s + plan.limits.reconcile_after_s)


def _give_up(message: Decision, _report: Report, plan: SmsPlan) -> None:
    """Since the look-up began it may have been sent anew."""
    if is_hopeless(message, plan, message.now):
        _end(message, Outcome.UNKNOWN, "no_report", "", False, plan)


def _says_nothing(_message: Decision, _report: Report, _plan: SmsPlan) -> None:
    """A text is sent no commands, so nothing comes of them."""


# What each report of an open message does.
_TAKEN: Mapping[ReportKind, Callable[[Decision, Report, SmsPlan], None]] = {
    ReportKind.ACCEPTED: _accepted,
    ReportKind.REJECTED: _rejected,
    ReportKind.NOT_SENT: take_answer,
    ReportKind.DOUBTFUL: take_answer,
    ReportKind.ABSENT: take_answer,
    ReportKind.CARRIER: _hear,
    ReportKind.CHECK: _check,
    ReportKind.COMMAND_DONE: _says_nothing,
    ReportKind.COMMAND_FAILED: _says_nothing,
    ReportKind.GIVE_UP: _give_up,
}
