"""What an attempt becomes: starts as its row, is moved by reports, ends as what one transaction writes.

Both flows (`call_flow`, `sms_flow`) share what happens around the create: its answer, its doubt and its release. Limits
are real seconds, and `Limits.speed` maps them to the engine time of the row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from engine.rules.attempt import TRANSITIONS, AgentState, AttemptState
from engine.rules.events import Event
from engine.rules.prospect import Outcome
from engine.rules.reports import Report, ReportKind
from engine.rules.retry import NO_RETRY, RetryHours, RetryRule, next_attempt
from engine.rules.telephony import AgentTarget, CarrierError, Command, Fault

DEFAULT_RETRY_AFTER_S = 1.0
RELEASE_PAUSE_S = 0.25  # real: it then lies ahead of the coordinator's walk, which looks back only now and then
LONGEST_LOOKUP_PAUSE_S = 30.0

# This is the hot path, and members of enums, their names and their look-up by code are slow to read before Python 3.12.
LABELS = {outcome: outcome.label for outcome in Outcome}
_STATES = {int(state): state for state in AttemptState}
_AGENT_STATES = {int(state): state for state in AgentState}

OVER = (AttemptState.ENDED, AttemptState.RELEASED)
UNANSWERED = (AttemptState.RESERVED, AttemptState.UNKNOWN)
_NOT_ITS_FAULT = {Fault.SENDER_CONFIG, Fault.AUTH}  # nothing that this prospect or a retry could mend


@dataclass(frozen=True, slots=True)
class Limits:
    """Real seconds, except `delivery_deadline_s`: engine seconds. `speed` is engine seconds per real second."""

    speed: float = 1.0
    abandon_after_s: float = 2.0  # TSR 310.4(b)(4): two seconds from the person's completed greeting
    straggler_s: float = 2.0  # an ended call waits so long for reports that its end has overtaken
    resend_after_s: float = 2.0  # a command that the carrier has not confirmed is sent again
    grace_s: float = 15.0  # on top of ring and call length, before the carrier is asked what became of a call
    create_s: float = 7.0  # from an intent until its create is over: the ticket, and the request's timeout
    reconcile_after_s: float = 15.0
    reconcile_give_up_s: float = 120.0
    delivery_deadline_s: float = 72 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the campaign wants. `campaign` is its public id; `is_over`: cancelled or failed, nothing is tried again."""

    campaign: str
    is_direct: bool = False
    is_over: bool = False
    retry: RetryRule = NO_RETRY
    hours: RetryHours | None = None
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPlan(Plan):
    agent: AgentTarget | None = None
    is_ai: bool = False
    audio_url: str = ""  # played to machines, and to people when there is no agent
    identification: str = ""  # said to a person whom no agent reached; `{number}` is the caller id
    ring_timeout_s: float = 25.0
    max_duration_s: float = 3600.0
    is_document: bool = False  # a new document replaces what the call does now
    renders: bool = False  # the command becomes the answer to the callback that is being folded


@dataclass(frozen=True, slots=True, kw_only=True)
class SmsPlan(Plan):
    media_urls: tuple[str, ...] = ()  # of a one-off MMS


class AttemptView(NamedTuple):
    """The attempt's row. Times are engine time, `check_at` is real."""

    campaign_id: int
    prospect_id: int
    attempt: int
    try_no: int
    account_id: int
    phone: str
    did_id: int
    from_number: str
    carrier: str
    carrier_id: str | None
    state: int
    agent_state: int
    amd: str | None
    outcome: int | None
    reason: str | None
    intent_at: datetime
    answered_at: datetime | None
    greeting_ended_at: datetime | None
    ended_at: datetime | None
    duration_s: int | None
    check_at: datetime | None
    command: Mapping[str, Any] | None
    command_no: int
    segments: int | None = None
    encoding: str | None = None


class Decision:
    """One attempt under way through its reports. `is_changed` says whether the row must be written at all."""

    __slots__ = (
        "agent_state",
        "amd",
        "answered_at",
        "carrier_id",
        "cause",
        "check_at_s",
        "command",
        "command_no",
        "duration_s",
        "ended_at",
        "error_code",
        "events",
        "facts",
        "fault",
        "greeting_ended_at",
        "is_ai",
        "is_changed",
        "is_command_due",
        "is_ended",
        "is_released",
        "next_attempt_at",
        "now",
        "now_real_s",
        "open_at",
        "outcome",
        "pause_reason",
        "reason",
        "ref",
        "release_at",
        "state",
        "suppresses",
        "view",
        "was_not_sent",
    )

    def __init__(self, view: AttemptView, now: datetime, now_real_s: float, ref: str) -> None:
        self.view = view
        self.now = now
        self.now_real_s = now_real_s
        self.ref = ref
        self.state = _STATES[view.state]
        self.agent_state = _AGENT_STATES[view.agent_state]
        self.amd = view.amd
        self.carrier_id = view.carrier_id
        self.outcome: Outcome | None = None if view.outcome is None else Outcome(view.outcome)
        self.reason = view.reason
        self.error_code: str | None = None  # the carrier's, when these reports end a text in failure
        self.fault: Fault | None = None  # whose fault it was, when these reports end it in failure
        self.answered_at = view.answered_at
        self.greeting_ended_at = view.greeting_ended_at
        self.ended_at = view.ended_at
        self.duration_s = view.duration_s
        self.check_at_s: float | None = None if view.check_at is None else view.check_at.timestamp()
        self.command: dict[str, Any] | None = None if view.command is None else dict(view.command)
        self.command_no = view.command_no
        self.cause = ""  # key of the carrier's report that is being folded
        self.facts: dict[str, object] = {}
        self.events: list[Event] = []
        self.next_attempt_at: datetime | None = None
        self.open_at: datetime | None = None  # the same moved into the hours of the number
        self.is_ended = False  # by these reports
        self.is_released = False  # likewise
        self.was_not_sent = False  # released before a byte left us
        self.release_at = now
        self.suppresses = False
        self.pause_reason = ""
        self.is_ai = False  # a call of an AI agent: billed as such
        self.is_changed = False
        self.is_command_due = False  # `command` is to be carried out after the commit

    @property
    def intent_at(self) -> datetime:
        return self.view.intent_at

    @property
    def is_open(self) -> bool:
        return self.state not in OVER

    @property
    def is_unanswered(self) -> bool:
        """Nothing is known of the create."""
        return self.state in UNANSWERED

    @property
    def frees_sender(self) -> bool:
        """These reports answered the create: the sender's next gap counts from now. Once per try."""
        return self.view.state in UNANSWERED and not self.is_unanswered

    def name(self, prefix: str, plan: Plan) -> None:
        """What every event tells of this attempt. The prospect's number is the middle of the attempt's name."""
        number = self.ref.split("-")[1]
        facts: dict[str, object] = {"id": f"{prefix}_{number}", "attempt": self.view.attempt}
        if not plan.is_direct:
            facts["campaignId"] = plan.campaign
            facts["prospectId"] = f"pros_{number}"
        facts["from"] = self.view.from_number
        facts["to"] = self.view.phone
        self.facts = facts

    def move(self, state: AttemptState) -> bool:
        """To a higher rank, where the table allows it."""
        if state not in TRANSITIONS[self.state]:
            return False
        self.state = state
        self.is_changed = True
        return True

    def emit(self, event_type: str, told: dict[str, Any]) -> None:
        """`told`: its status, and what else there is to tell beside what every event tells."""
        self.events.append(Event(event_type, self.now, self.facts | told, self.ref, self.ref))

    def elapsed_s(self, since: datetime, limits: Limits) -> float:
        """Real seconds from an engine time until now."""
        return (self.now - since).total_seconds() / limits.speed

    def real_s(self, at: datetime, limits: Limits) -> float:
        return self.now_real_s - self.elapsed_s(at, limits)

    def watch_at(self, at_s: float | None) -> None:
        """The next look at this attempt. A millisecond's difference is rounding: rewriting an index for it is waste."""
        old = self.check_at_s
        if at_s is None or old is None or abs(at_s - old) > 0.001:
            self.is_changed = self.is_changed or at_s != old
            self.check_at_s = at_s

    def take_late(self, report: Report) -> None:
        """Over: a late answer adds the carrier's own id, and nothing else does anything."""
        if self.state is AttemptState.ENDED and is_acceptance(self, report):
            self.adopt(report.carrier_id)

    def adopt(self, carrier_id: str) -> None:
        if carrier_id and self.carrier_id is None:
            self.carrier_id = carrier_id
            self.is_changed = True

    def release(self, reason: str, at: datetime) -> None:
        """Provably nothing was sent: the same attempt goes through the whole intent again."""
        if self.move(AttemptState.RELEASED):
            self.is_released, self.release_at, self.reason = True, at, reason
            self.watch_at(None)

    def end(self, outcome: Outcome, reason: str | None, retryable: bool, plan: Plan) -> bool:
        """The attempt is over; only here may the prospect get another one."""
        if not self.move(AttemptState.ENDED):
            return False
        self.is_ended, self.outcome, self.reason = True, outcome, reason
        self.ended_at = self.ended_at or self.now
        self.command, self.is_command_due = None, False
        if not plan.is_over and not self.suppresses:
            self.next_attempt_at = next_attempt(plan.retry, LABELS[outcome], self.view.attempt, self.now, retryable)
        if self.next_attempt_at is not None and plan.hours is not None:
            delay_s = (self.next_attempt_at - self.now).total_seconds()
            self.open_at = plan.hours.land(self.view.phone, self.next_attempt_at, delay_s)
        self.watch_at(None)
        return True


def encode_command(command: Command, cause: str, *, is_rendered: bool) -> dict[str, Any]:
    """How the `command` column holds it. `cause` is the callback that asked for it: its repeat gets the same answer."""
    agent = command.agent
    return {
        "kind": command.kind.value,
        "number": command.number,
        "audio_url": command.audio_url,
        "text": command.text,
        "then_hangup": command.then_hangup,
        "agent": agent and {"kind": agent.kind.value, "address": agent.address, "params": dict(agent.params)},
        "cause": cause,
        "rendered": is_rendered,
    }


def take_answer(decision: Decision, report: Report, plan: Plan) -> None:
    """Folds what became of the create short of success; the flows themselves fold what the carrier accepted."""
    if report.try_no != decision.view.try_no or not decision.is_unanswered:
        return
    match report.kind:
        case ReportKind.NOT_SENT:
            decision.was_not_sent = True
            decision.release(report.reason, decision.now + timedelta(seconds=RELEASE_PAUSE_S * plan.limits.speed))
        case ReportKind.DOUBTFUL:
            decision.move(AttemptState.UNKNOWN)
        case ReportKind.ABSENT if decision.state is AttemptState.UNKNOWN:
            decision.release("absent", decision.now + timedelta(seconds=RELEASE_PAUSE_S * plan.limits.speed))
        case ReportKind.REJECTED if report.error is not None:
            _refuse(decision, report.error, plan)


def _refuse(decision: Decision, error: CarrierError, plan: Plan) -> None:
    if error.fault is Fault.RATE_LIMITED:
        pause_s = DEFAULT_RETRY_AFTER_S if error.retry_after_s is None else error.retry_after_s
        decision.release(error.fault, decision.now + timedelta(seconds=pause_s * plan.limits.speed))
    elif error.fault in _NOT_ITS_FAULT and not plan.is_direct:
        decision.pause_reason = f"{error.fault}: {error.text or error.code}"
        decision.release(error.fault, decision.now)


def final_refusal(decision: Decision, report: Report, plan: Plan) -> CarrierError | None:
    """The error of a REJECTED that ends the attempt. Throttling and the account's own faults release it instead."""
    error = report.error
    if report.kind is not ReportKind.REJECTED or error is None or report.try_no != decision.view.try_no:
        return None
    is_ours = error.fault is Fault.RATE_LIMITED or (error.fault in _NOT_ITS_FAULT and not plan.is_direct)
    return None if is_ours or not decision.is_unanswered else error


def is_acceptance(decision: Decision, report: Report) -> bool:
    """Does this answer say that the carrier has this try?"""
    return report.kind is ReportKind.ACCEPTED and report.try_no == decision.view.try_no


def check_unanswered(decision: Decision, limits: Limits) -> None:
    """Its watch is due and the create has no answer: doubtful, and looked up at growing intervals.

    When it was not doubtful before, its worker may still be about to send it: `absent` is believed at the next look,
    which comes when a create that had its intent before this one is over.
    """
    least_s = limits.create_s if decision.move(AttemptState.UNKNOWN) else limits.reconcile_after_s
    waited_s = decision.elapsed_s(decision.view.intent_at, limits)
    pause_s = max(least_s, min(waited_s / 2, LONGEST_LOOKUP_PAUSE_S))
    decision.watch_at(decision.now_real_s + pause_s)


def is_due(decision: Decision) -> bool:
    """A CHECK acts only when its time has come, so a doubled or early one changes nothing."""
    due_s = decision.check_at_s
    return due_s is not None and decision.now_real_s >= due_s - 0.001
