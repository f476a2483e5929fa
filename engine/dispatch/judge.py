"""The contact rules of an intent in their order, judged for one prospect from facts already read. Nothing is written.

The intent transaction judges with it under its locks; `carillon explain` asks it without any.
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import NamedTuple

from engine.dispatch import opening
from engine.dispatch.callers import BLOCKED_FOR, Sender
from engine.dispatch.campaigns import CampaignFacts
from engine.dispatch.compose import SUPPRESSED, Message, compose
from engine.dispatch.hints import Hint
from engine.dispatch.refusal import Refusal
from engine.rules import whom
from engine.rules.attempt import AttemptState
from engine.rules.campaign import CampaignStatus
from engine.rules.prospect import ProspectState
from engine.rules.registry import NATIONAL
from engine.rules.telephony import Channel
from engine.rules.whereabouts import whereabouts
from engine.rules.whom import UNREMARKABLE, Bar, Barred, Person
from engine.rules.window import WindowReason

_CLOSED = {WindowReason.NO_TIMEZONE: Refusal.NO_TIMEZONE, WindowReason.NO_RULE: Refusal.NO_RULE}


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
    Nothing is written where `written` is empty.
    """

    refusal: Refusal | None = None
    written: str = ""
    again_at: datetime | None = None
    message: Message | None = None


ALLOWED = Verdict()


def is_due(hint: Hint, state: int | None, attempt: int | None, phone: str | None, attempt_state: int | None) -> bool:
    """Whether the prospect's row, and that of its attempt if there is one, still say what the hint says."""
    return (
        state == ProspectState.QUEUED
        and attempt == hint.attempt
        and phone == hint.phone
        and attempt_state in (None, AttemptState.RELEASED)
    )


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
    if campaign is None or campaign.status is not CampaignStatus.DIALING:
        return Verdict(Refusal.NOT_LIVE)
    if campaign.account_id != hint.account_id or campaign.channel is not channel:
        return Verdict(Refusal.OUT_OF_DATE)
    if hint.is_one_off_text is not (campaign.is_direct and channel is Channel.SMS):
        return Verdict(Refusal.OUT_OF_DATE)
    if not fact.is_due:
        return Verdict(Refusal.OUT_OF_DATE)
    refused = _person(hint, fact, campaign, now, takes, copies) or _sender(hint, campaign, sender, now)
    if refused is not None:
        return refused
    return _composed(campaign, fact, now) if channel is Channel.SMS else ALLOWED


def is_counted(hint: Hint, fact: Fact, campaign: CampaignFacts, now: datetime) -> bool:
    """Whether this contact, once allowed, counts against the caps of later ones."""
    if campaign.is_system:
        return False
    kind = campaign.kind_for(fact.data)
    return kind.is_marketing and (
        not kind.is_one_off or whom.counts(kind, fact.person, whereabouts(hint.phone, fact.data), now)
    )


def _person(
    hint: Hint,
    fact: Fact,
    campaign: CampaignFacts,
    now: datetime,
    takes: timedelta,
    copies: Mapping[str, date],
) -> Verdict | None:
    """May this person be contacted now? Answers that the law asks for are held by neither opt-outs nor hours."""
    if campaign.is_system:
        return None
    if fact.suppressed:
        return Verdict(Refusal.SUPPRESSED, SUPPRESSED)
    kind = campaign.kind_for(fact.data)
    if barred := whom.barred(kind, _earlier(fact), whereabouts(hint.phone, fact.data), copies, now):
        return _barred(barred, hint, fact, campaign, now)
    if closed := opening.closed(campaign, hint.phone, fact.data, now, takes):
        refusal = _CLOSED.get(closed[0], Refusal.OUTSIDE_WINDOW)
        return Verdict(refusal, refusal, closed[1])
    return None


def _earlier(fact: Fact) -> Person:
    """The person before this attempt: an intent of its own that came to nothing was no contact."""
    person = fact.person
    if fact.released_at is None or not person.contacts:
        return person
    return person._replace(contacts=tuple(at for at in person.contacts if at != fact.released_at))


def _barred(barred: Barred, hint: Hint, fact: Fact, campaign: CampaignFacts, now: datetime) -> Verdict:
    """What follows. Who is at a cap is due when it frees, inside the hours of that moment. Without the national copy
    nobody can be contacted, and the coordinator pauses the campaign; for want of a state's, its people wait."""
    refusal = Refusal(barred.bar)
    if barred.free_at is not None and not campaign.is_direct:
        return Verdict(refusal, refusal, opening.first(campaign, hint.phone, fact.data, barred.free_at))
    if barred.bar in (Bar.REGISTRY_MISSING, Bar.REGISTRY_STALE) and not campaign.is_direct:
        return Verdict(refusal) if barred.by == NATIONAL else Verdict(refusal, refusal, now + opening.HELD_FOR)
    return Verdict(refusal, refusal)


def _sender(hint: Hint, campaign: CampaignFacts, sender: Sender | None, now: datetime) -> Verdict | None:
    if _is_ready(sender, hint, campaign):
        return None
    if not campaign.is_system and sender is not None and hint.attempt > 1 and sender.is_blocked:
        return Verdict(Refusal.SENDER_BLOCKED, Refusal.SENDER_BLOCKED, now + BLOCKED_FOR)
    return Verdict(Refusal.SENDER_NOT_READY)


def _is_ready(sender: Sender | None, hint: Hint, campaign: CampaignFacts) -> bool:
    """An answer that the law asks for comes from the number that was written to, even while that rests."""
    if sender is None:
        return False
    is_ours = sender.is_ready(hint.account_id, hint.from_number, campaign.channel, is_answer=campaign.is_system)
    return is_ours and (campaign.channel is Channel.VOICE or campaign.is_direct or sender.sms_free)


def _composed(campaign: CampaignFacts, fact: Fact, now: datetime) -> Verdict:
    """The last rule: what it says. The text is part of the verdict, for what is judged is what is sent."""
    found = compose(campaign, fact.data)
    if isinstance(found, Message):
        return Verdict(message=found)
    if found.is_missing:
        return Verdict(Refusal.MISSING_VALUE, found.reason, now + opening.HELD_FOR)
    return Verdict(Refusal.CONTENT_REJECTED, found.reason)
