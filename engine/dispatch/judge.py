"""The contact rules of an intent in their order, judged for one prospect from facts already read. Nothing is written.

`RULES` is the order. The intent transaction judges by it under its locks and stops at the first refusal; `carillon
explain` asks the same rules one by one, without any lock. To add a rule is to add a line.
"""

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import NamedTuple

from engine.dispatch import opening
from engine.dispatch.callers import BLOCKED_FOR, NOT_READY_FOR, Sender
from engine.dispatch.campaigns import CampaignFacts
from engine.dispatch.compose import SUPPRESSED, Message, compose
from engine.dispatch.hints import Hint
from engine.dispatch.refusal import Refusal
from engine.rules import relationship, whom
from engine.rules.attempt import AttemptState
from engine.rules.campaign import CampaignStatus
from engine.rules.prospect import ProspectState
from engine.rules.registry import NATIONAL
from engine.rules.telephony import Channel
from engine.rules.whereabouts import whereabouts
from engine.rules.whom import UNREMARKABLE, Bar, Barred, Person
from engine.rules.window import WindowReason

REFUSALS = {WindowReason.NO_TIMEZONE: Refusal.NO_TIMEZONE, WindowReason.NO_RULE: Refusal.NO_RULE}


class Fact(NamedTuple):
    """What the rows say of one prospect."""

    is_due: bool
    suppressed: bool
    data: Mapping[str, object] | None  # the prospect's own columns
    person: Person = UNREMARKABLE  # what else is known of them
    released_at: datetime | None = None  # this attempt's intent, which came to nothing: it is no contact


NO_COPIES: Mapping[str, date] = {}


class Verdict(NamedTuple):
    """No `refusal`: contact them, a text with `message`.

    Else `written` is the reason on the prospect's row: due again at `again_at`, or cancelled for good without one.
    Nothing is written where `written` is empty. `by` names what bars them (`Barred.by`), for whoever explains it.
    """

    refusal: Refusal | None = None
    written: str = ""
    again_at: datetime | None = None
    message: Message | None = None
    by: str = ""


ALLOWED = Verdict()

_UNTRIED = (None, AttemptState.RELEASED)  # states of an attempt that may be made


def is_due(hint: Hint, state: int | None, attempt: int | None, phone: str | None, attempt_state: int | None) -> bool:
    """Whether the prospect's row, and that of its attempt if there is one, still say what the hint says."""
    return (
        state == ProspectState.QUEUED and attempt == hint.attempt and phone == hint.phone and attempt_state in _UNTRIED
    )


class Case(NamedTuple):
    """One contact before its rules. A request may leave until `takes` after `now` (engine time)."""

    hint: Hint
    fact: Fact
    campaign: CampaignFacts
    sender: Sender | None
    channel: Channel
    now: datetime
    takes: timedelta
    copies: Mapping[str, date] = NO_COPIES


Rule = Callable[[Case], Verdict | None]
"""None: nothing against it. The last rule's verdict may be without a refusal."""


def judge(
    hint: Hint,
    fact: Fact,
    campaign: CampaignFacts | None,
    sender: Sender | None,
    channel: Channel,
    now: datetime,
    takes: timedelta,
    copies: Mapping[str, date] = NO_COPIES,
) -> Verdict:
    """The contact rules in their order; unknown is never allowed. A request may leave until `takes` after `now`.

    `copies` are the dates of the registries' copies, for campaigns that must ask them.
    """
    if campaign is None:
        return Verdict(Refusal.NOT_LIVE)
    case = Case(hint, fact, campaign, sender, channel, now, takes, copies)
    for rule in _IN_ORDER:
        if (verdict := rule(case)) is not None:
            return verdict
    return ALLOWED


def is_counted(hint: Hint, fact: Fact, campaign: CampaignFacts, now: datetime) -> bool:
    """Whether this contact, once allowed, counts against the caps of later ones."""
    if campaign.is_system:
        return False
    kind = campaign.kind_for(fact.data)
    return kind.is_marketing and (
        not kind.is_one_off or whom.counts(kind, fact.person, whereabouts(hint.phone, fact.data), now)
    )


def allowed_by(hint: Hint, fact: Fact, campaign: CampaignFacts, copies: Mapping[str, date], now: datetime) -> str:
    """What a contact that was allowed with somebody on a registry rests on (`whom.allowed_by`)."""
    if campaign.is_system or not fact.person.listed:
        return ""
    where = whereabouts(hint.phone, fact.data)
    return whom.allowed_by(campaign.kind_for(fact.data), known(fact, now), where, copies, now)


def _campaign(case: Case) -> Verdict | None:
    return None if case.campaign.status is CampaignStatus.DIALING else Verdict(Refusal.NOT_LIVE)


def _due(case: Case) -> Verdict | None:
    """Is the hint still what the rows say?"""
    hint, campaign = case.hint, case.campaign
    is_of_campaign = campaign.account_id == hint.account_id and campaign.channel is case.channel
    is_of_kind = hint.is_one_off_text is (campaign.is_direct and case.channel is Channel.SMS)
    return None if is_of_campaign and is_of_kind and case.fact.is_due else Verdict(Refusal.OUT_OF_DATE)


def _suppression(case: Case) -> Verdict | None:
    if case.campaign.is_system or not case.fact.suppressed:
        return None  # answers that the law asks for are held by neither opt-outs nor hours
    return Verdict(Refusal.SUPPRESSED, SUPPRESSED)


def _whom(case: Case) -> Verdict | None:
    """Registries, consent, and how often the person was contacted lately."""
    campaign, fact, phone = case.campaign, case.fact, case.hint.phone
    if campaign.is_system:
        return None
    where = whereabouts(phone, fact.data)
    found = whom.barred(campaign.kind_for(fact.data), known(fact, case.now), where, case.copies, case.now)
    return found and _barred(found, case)


def _window(case: Case) -> Verdict | None:
    if case.campaign.is_system:
        return None
    return window(case.campaign, case.hint.phone, case.fact.data, case.now, case.takes)


def window(
    campaign: CampaignFacts, phone: str, data: Mapping[str, object] | None, now: datetime, takes: timedelta
) -> Verdict | None:
    """The rule of the hours by itself: the coordinator asks it before it enqueues."""
    if closed := opening.closed(campaign, phone, data, now, takes):
        refusal = REFUSALS.get(closed[0], Refusal.OUTSIDE_WINDOW)
        return Verdict(refusal, refusal, closed[1])
    return None


def known(fact: Fact, now: datetime) -> Person:
    """The person before this attempt: an intent of its own that came to nothing was no contact. Of those listed, with
    the relationship that their columns tell of."""
    person = fact.person
    if person.listed:
        person = person._replace(relation=relationship.read(fact.data, now))
    if fact.released_at is None or not person.contacts:
        return person
    return person._replace(contacts=tuple(at for at in person.contacts if at != fact.released_at))


def _barred(barred: Barred, case: Case) -> Verdict:
    """What follows. Who is at a cap is due when it frees, inside the hours of that moment. Without the national copy
    nobody can be contacted, and the coordinator pauses the campaign; for want of a state's, its people wait."""
    campaign, refusal, by = case.campaign, Refusal(barred.bar), barred.by
    if barred.free_at is not None and not campaign.is_direct:
        at = opening.first(campaign, case.hint.phone, case.fact.data, barred.free_at)
        return Verdict(refusal, refusal, at, by=by)
    if barred.bar in (Bar.REGISTRY_MISSING, Bar.REGISTRY_STALE) and not campaign.is_direct:
        if by == NATIONAL:
            return Verdict(refusal, by=by)
        return Verdict(refusal, refusal, case.now + opening.HELD_FOR, by=by)
    return Verdict(refusal, refusal, by=by)


def _sender(case: Case) -> Verdict | None:
    hint, campaign, sender = case.hint, case.campaign, case.sender
    if _is_ready(sender, hint, campaign):
        return None
    if not campaign.is_system and sender is not None and hint.attempt > 1 and sender.is_blocked:
        again_at = None if sender.is_gone else case.now + BLOCKED_FOR
        return Verdict(Refusal.SENDER_BLOCKED, Refusal.SENDER_BLOCKED, again_at)
    return Verdict(Refusal.SENDER_NOT_READY, Refusal.SENDER_NOT_READY, case.now + NOT_READY_FOR)


def _is_ready(sender: Sender | None, hint: Hint, campaign: CampaignFacts) -> bool:
    """An answer that the law asks for comes from the number that was written to, even while that rests."""
    if sender is None:
        return False
    is_ours = sender.is_ready(hint.account_id, hint.from_number, campaign.channel, is_answer=campaign.is_system)
    return is_ours and (campaign.channel is Channel.VOICE or campaign.is_direct or sender.sms_free)


def _content(case: Case) -> Verdict | None:
    """The last rule: what it says. The text is part of the verdict, for what is judged is what is sent."""
    if case.channel is not Channel.SMS:
        return None
    found = compose(case.campaign, case.fact.data)
    if isinstance(found, Message):
        return Verdict(message=found)
    if found.is_missing:
        return Verdict(Refusal.MISSING_VALUE, found.reason, case.now + opening.HELD_FOR)
    return Verdict(Refusal.CONTENT_REJECTED, found.reason)


RULES: Mapping[str, Rule] = {
    "campaign": _campaign,
    "due": _due,
    "suppression": _suppression,
    "whom": _whom,
    "window": _window,
    "sender": _sender,
    "content": _content,
}
_IN_ORDER = tuple(RULES.values())
