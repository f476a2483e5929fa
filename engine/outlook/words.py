"""What the checks of an explanation say, in plain words, and the facts that each of them goes by."""
# ruff: noqa: ARG001 - the checks of one table share one signature

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from engine.clock import iso
from engine.dispatch.ceilings import Ceiling
from engine.dispatch.judge import Case, Verdict, allowed_by, known
from engine.dispatch.refusal import Refusal
from engine.outlook.choice import Choice
from engine.rules import registry
from engine.rules.account_limits import TenDlc
from engine.rules.campaign import CampaignStatus
from engine.rules.did_policy import Caps
from engine.rules.prospect import ProspectState
from engine.rules.telephony import Channel
from engine.rules.whereabouts import whereabouts
from engine.rules.whom import wants
from engine.rules.zones import zone, zone_problem
from engine.store.campaigns import Campaign
from engine.store.prospects import Prospect

_DONE = {Channel.VOICE: "called", Channel.SMS: "texted"}
_COPY = frozenset({Refusal.REGISTRY_MISSING, Refusal.REGISTRY_STALE})
_HELD = frozenset({Refusal.NO_TIMEZONE, Refusal.NO_RULE, Refusal.MISSING_VALUE, *_COPY})
_WHOM = {
    Refusal.REGISTRY: "the number is on a do-not-call registry, without written consent or a business relationship",
    Refusal.NO_CONSENT: "the law asks for consent, and none of that class is on record",
    Refusal.ATTEMPT_CAP: "the person was contacted as often as a cap of the account, the campaign or a state allows",
}
_NEXT_STEP = {
    CampaignStatus.CREATED: "once the campaign is started",
    CampaignStatus.PAUSED: "once the campaign is resumed",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One check in its order. Refused: `is_final` for good, `is_held` until a fact changes, else until `again_at`."""

    name: str
    passed: bool
    says: str
    facts: Mapping[str, object] = field(default_factory=dict)
    again_at: datetime | None = None
    is_final: bool = False
    is_held: bool = False


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom it is about, as the rules see them."""

    campaign: Campaign
    prospect: Prospect
    case: Case
    choice: Choice


_Say = Callable[[Subject, Verdict | None], tuple[str, Mapping[str, object]]]


def rule(name: str, verdict: Verdict | None, subject: Subject) -> Check:
    """A rule of the intent and its verdict. One that has no words of its own here is told by its refusal's name."""
    refusal = None if verdict is None else verdict.refusal
    says, facts = _SAYS.get(name, _plainly)(subject, verdict)
    if verdict is None or refusal is None:
        return Check(name, True, says, facts)
    again_at = verdict.again_at
    if refusal is Refusal.SENDER_NOT_READY:
        again_at = subject.choice.free_at
    is_final = bool(verdict.written) and verdict.again_at is None
    return Check(name, False, says, facts, again_at, is_final, refusal in _HELD)


def queue(subject: Subject) -> Check:
    """The coordinator does not look at a prospect before its time."""
    due_at, reason = subject.prospect.next_attempt_at, subject.prospect.reason
    assert due_at is not None
    because = f" ({reason})" if reason else ""
    says = f"attempt {subject.prospect.attempt} is not due before {iso(due_at)}{because}"
    return Check("queue", False, says, {"nextAttemptAt": iso(due_at), "reason": reason}, due_at)


def ceiling(limit: Ceiling, room: int) -> Check:
    facts = {"limit": limit.most, "room": max(0, room)}
    subject, _, _ = limit.key.partition(" of ")
    if limit.pacing is not None:
        says = f"{room} more calls may be placed for {limit.most} agents ({limit.pacing})"
        if room < 1:
            says = f"no call more may be placed for {limit.most} agents until one ends ({limit.pacing})"
        return Check("agents", room > 0, says, facts | {"pacing": limit.pacing})
    whose = "the carrier takes from this account" if limit.is_carriers else "the campaign may have up"
    says = f"{max(0, room)} of the {limit.most} {subject} that {whose} at one time are free"
    return Check("carrier_calls" if limit.is_carriers else "concurrent_calls", room > 0, says, facts)


def number_caps(number: str, caps: Caps, counted: tuple[int, int], room: int, free_at: datetime) -> Check:
    """`counted`: calls in the sliding hour and day."""
    hour, day = counted
    facts = {"perHour": caps.per_hour, "perDay": caps.per_day, "gapS": caps.gap_s, "hour": hour, "day": day}
    says = f"{number} has made {hour} of {caps.per_hour} calls this hour and {day} of {caps.per_day} this day"
    if room > 0:
        return Check("number_caps", True, says, facts)
    return Check("number_caps", False, f"{says}; the next may be made at {iso(free_at)}", facts, free_at)


def ten_dlc(caps: TenDlc, parts: int, later: Sequence[datetime]) -> Check:
    """`later`: when to look again, if the caps have no room."""
    facts = {"perMinute": caps.parts_per_minute, "perDay": caps.parts_per_day, "parts": parts}
    if not later:
        return Check("ten_dlc", True, f"the carriers' caps have room for its parts ({parts})", facts)
    says = f"the carriers' caps on message parts are used up; the next look is at {iso(later[0])}"
    return Check("ten_dlc", False, says, facts, later[0])


def answer(subject: Subject, refused: Check | None) -> str:
    """The whole in one sentence."""
    done = _DONE[subject.case.channel]
    if refused is None:
        did = subject.choice.did
        return f"{subject.prospect.phone} would be {done} now, from {did.number if did else 'no number'}"
    return f"{subject.prospect.phone} would not be {done} now: {refused.says}"


def not_queued(prospect: Prospect) -> str:
    if prospect.state is ProspectState.COMPLETED:
        return "never: the campaign is done with this person"
    if prospect.state is ProspectState.CANCELLED:
        return "never: this person was cancelled"
    return "not before this attempt has ended, and then only if the retry rule says so"


def not_live(status: CampaignStatus) -> str:
    return _NEXT_STEP.get(status, f"never: the campaign is {status}")


def at_next(at: datetime, subject: Subject) -> str:
    place = whereabouts(subject.prospect.phone, subject.case.fact.data)
    local = ", ".join(f"{_clock(at, name)} in {name}" for name in place.zones[:3])
    return f"from {iso(at)} on ({local})"


def _campaign(subject: Subject, verdict: Verdict | None) -> tuple[str, Mapping[str, object]]:
    status, reason = subject.case.campaign.status, subject.campaign.status_reason
    because = f" ({reason})" if reason else ""
    return f"the campaign is {status}{because}", {"status": status, "reason": reason or None}


def _due(subject: Subject, verdict: Verdict | None) -> tuple[str, Mapping[str, object]]:
    prospect = subject.prospect
    facts = {"status": prospect.state.label, "attempt": prospect.attempt}
    if verdict is None:
        return f"this person waits for attempt {prospect.attempt}", facts
    if prospect.state is ProspectState.COMPLETED and prospect.outcome is not None:
        became = f"{prospect.outcome.label} at attempt {prospect.attempt}"
        return f"this person is done: {became}", facts | {"outcome": prospect.outcome.label}
    if prospect.state is ProspectState.CANCELLED:
        return f"this person was cancelled ({prospect.reason or 'with the campaign'})", facts
    if prospect.state is ProspectState.QUEUED:
        return f"attempt {prospect.attempt} is under way already", facts
    return f"attempt {prospect.attempt} is under way: {prospect.state.label}", facts


def _suppression(subject: Subject, verdict: Verdict | None) -> tuple[str, Mapping[str, object]]:
    is_listed = subject.case.fact.suppressed
    says = "the number is on the account's suppression list" if is_listed else "the number is not suppressed"
    return says, {"suppressed": is_listed}


def _whom(subject: Subject, verdict: Verdict | None) -> tuple[str, Mapping[str, object]]:
    """Registries, consent and the caps per person. What nothing asks for is not looked up: it is null, not empty."""
    case = subject.case
    asked = wants(case.campaign.kind)
    person = known(case.fact, case.now)
    passed = verdict is None or verdict.refusal is None
    basis = allowed_by(case.hint, case.fact, case.campaign, case.copies, case.now) if passed else ""
    facts = {
        "registries": person.listed if asked.listed else None,
        "allowedBy": basis or None,
        "lastPurchaseAt": iso(person.relation.purchase_at) if person.relation.purchase_at else None,
        "lastInquiryAt": iso(person.relation.inquiry_at) if person.relation.inquiry_at else None,
        "consent": person.consent.label if asked.consent else None,
        "contacts": [iso(at) for at in sorted(person.contacts)] if asked.contacts else None,
    }
    if verdict is None or verdict.refusal is None:
        unknown = [name for name in ("registries", "consent", "contacts") if facts[name] is None]
        but = f" (not asked: {', '.join(unknown)})" if unknown else ""
        return f"no registry, missing consent or cap on contacts is against it{but}", facts
    if verdict.refusal in _COPY:
        return registry.fault_of(case.copies, verdict.by, case.now.date()), facts | {"registry": verdict.by}
    return _WHOM[verdict.refusal], facts


def _window(subject: Subject, verdict: Verdict | None) -> tuple[str, Mapping[str, object]]:
    case, prospect = subject.case, subject.prospect
    place = whereabouts(prospect.phone, case.fact.data)
    window = case.campaign.hours.at(place, case.now)
    facts = {
        "purpose": case.campaign.purpose,
        "zones": place.zones,
        "regions": place.regions,
        "localTimes": {name: _clock(case.now, name) for name in place.zones},
        "reason": window.reason,
        "closedBy": window.rule or None,
        "closesAt": iso(window.closes_at) if window.closes_at else None,
        "nextOpenAt": iso(window.next_open_at) if window.next_open_at else None,
    }
    refusal = None if verdict is None else verdict.refusal
    if refusal is Refusal.NO_TIMEZONE:
        problem = zone_problem(prospect.phone) or "an import's column names no place that is known"
        return f"the local time of this person is unknown: {problem}", facts
    if refusal is Refusal.NO_RULE:
        return f"no legal hours are known for {window.rule or 'its country'}", facts
    here = ", ".join(f"{_clock(case.now, name)} in {name}" for name in place.zones[:3])
    more = f" and {len(place.zones) - 3} more zones" if len(place.zones) > 3 else ""
    if window.open:
        ends = f"until {iso(window.closes_at)}" if window.closes_at else "for more than 30 days"
        soon = ", too soon for a request to leave" if refusal else ""
        return f"it is {here}{more}: open {ends}{soon}", facts
    whose = f"the hours of {window.rule}" if window.rule else "the campaign's schedule"
    opens = iso(window.next_open_at) if window.next_open_at else "not within 30 days"
    return f"it is {here}{more}: closed by {whose}; next opening {opens}", facts


def _sender(subject: Subject, verdict: Verdict | None) -> tuple[str, Mapping[str, object]]:
    choice = subject.choice
    facts = {
        "number": choice.did.number if choice.did else None,
        "because": choice.because,
        "usable": choice.usable,
        "resting": choice.resting,
        "freeAt": iso(choice.free_at) if choice.free_at else None,
    }
    if choice.did is None:
        opens = f"; the first may be used at {iso(choice.free_at)}" if choice.free_at else ""
        return f"{choice.because}{opens}", facts
    if verdict is None:
        return f"from {choice.did.number}: {choice.because}", facts
    return f"{choice.did.number} cannot be used now: {choice.because}", facts


def _content(subject: Subject, verdict: Verdict | None) -> tuple[str, Mapping[str, object]]:
    if verdict is None:
        return "a call has no text to judge", {}
    if verdict.message is not None:
        message = verdict.message
        facts = {"segments": message.segments, "encoding": message.encoding}
        return f"the text has {message.segments} segments ({message.encoding or 'MMS'})", facts
    return f"the text cannot be sent to this person: {verdict.written}", {"reason": verdict.written}


def _plainly(subject: Subject, verdict: Verdict | None) -> tuple[str, Mapping[str, object]]:
    if verdict is None or verdict.refusal is None:
        return "nothing against it", {}
    again = f", until {iso(verdict.again_at)}" if verdict.again_at else ""
    return f"refused: {verdict.refusal}{again}", {"reason": verdict.written or verdict.refusal}


def _clock(at: datetime, name: str) -> str:
    return at.astimezone(zone(name)).strftime("%a %H:%M")


_SAYS: Mapping[str, _Say] = {
    "campaign": _campaign,
    "due": _due,
    "suppression": _suppression,
    "whom": _whom,
    "window": _window,
    "sender": _sender,
    "content": _content,
}
