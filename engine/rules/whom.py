"""May this person be contacted at all? Registries, consent and attempt caps, in this order, judged from known facts.

Written consent opens a listed number, and an established business relationship does (`rules.relationship`).

A reply is exempt from all three: a one-off contact within 24 h of the person's own message (an inquiry is a business
relationship: 47 CFR 64.1200(f)(5)), unless a row of a state that may bind has the flag `no_reply_exemption`. So are the
answers that the law asks for, which nobody judges.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from engine.rules import attempt_caps, consent, registry, relationship
from engine.rules.attempt_caps import Cap
from engine.rules.compliance import Compliance
from engine.rules.consent import Consent
from engine.rules.purpose import Purpose
from engine.rules.relationship import STRANGER, Relationship
from engine.rules.states import Row
from engine.rules.whereabouts import Place
from engine.rules.window import binding_rows

REPLY_WITHIN = timedelta(hours=24)
_NO_REPLY_EXEMPTION = "no_reply_exemption"


class Bar(StrEnum):
    """Why not. Each is the reason on the prospect's row."""

    REGISTRY = "registry"  # listed, without written consent or a relationship
    NO_CONSENT = "no_consent"
    ATTEMPT_CAP = "attempt_cap"
    REGISTRY_MISSING = "registry_missing"  # no copy was loaded
    REGISTRY_STALE = "registry_stale"  # it is older than 31 days


class Barred(NamedTuple):
    """`by` names the registry, the class of consent that is needed, or whose cap it is; `free_at`: of a cap."""

    bar: Bar
    by: str
    free_at: datetime | None = None


class Person(NamedTuple):
    """What is known of a person, as far as it was asked for."""

    listed: tuple[str, ...] = ()  # codes of the registries that name the number
    consent: Consent = Consent.NONE
    contacts: tuple[datetime, ...] = ()  # marketing contacts of the account within the longest period
    wrote_at: datetime | None = None  # their own last message to the account
    relation: Relationship = STRANGER
    ended_at: datetime | None = None  # of those listed: until then they wished to be left alone; `STILL`: they do


UNREMARKABLE = Person()
STILL = datetime(9000, 1, 1, tzinfo=UTC)  # the database's infinity has no Python form


class Wants(NamedTuple):
    """Which facts must be looked up for a kind of contact."""

    listed: bool
    consent: bool
    contacts: bool
    wrote_at: bool


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of contact: of a campaign, or a one-off one of its own purpose."""

    channel: str
    purpose: Purpose
    is_automated: bool
    is_one_off: bool
    compliance: Compliance
    cap: Cap | None = None  # the campaign's own

    @property
    def is_marketing(self) -> bool:
        return self.purpose is Purpose.MARKETING


@lru_cache(maxsize=1024)
def wants(kind: Kind) -> Wants:
    """A one-off contact may have a purpose of its own, so for it everything is looked up."""
    is_marketing = kind.is_marketing or kind.is_one_off
    return Wants(
        listed=is_marketing and kind.compliance.requires_registry,
        consent=kind.compliance.requires_consent or (is_marketing and kind.compliance.requires_registry),
        contacts=is_marketing,
        wrote_at=kind.is_one_off,
    )


def barred(kind: Kind, person: Person, place: Place, copies: Mapping[str, date], now: datetime) -> Barred | None:
    """None: they may. `copies`: the date of each registry's copy; `now` is aware."""
    compliance = kind.compliance
    if is_reply(kind, person, place, now):
        return None
    if compliance.requires_registry and kind.is_marketing and (found := _registered(kind, person, place, copies, now)):
        return found
    if compliance.requires_consent and person.consent < (needed := consent_needed(kind, place)):
        return Barred(Bar.NO_CONSENT, needed.label)
    if person.contacts and kind.is_marketing:
        full = attempt_caps.full(person.contacts, caps(kind, place, now), now)
        return None if full is None else Barred(Bar.ATTEMPT_CAP, full.cap.rule, full.free_at)
    return None


def consent_needed(kind: Kind, place: Place) -> Consent:
    flags = [flag for row in _rows(kind, place) for flag in row.flags]
    return consent.needed(kind.is_automated, kind.purpose, flags)


def caps(kind: Kind, place: Place, now: datetime) -> list[Cap]:
    """Every cap that binds: the account's, the campaign's, the states'."""
    own = [kind.compliance.cap] if kind.cap is None else [kind.compliance.cap, kind.cap]
    return own + attempt_caps.caps_of_rows(_rows(kind, place), now)


def is_reply(kind: Kind, person: Person, place: Place, now: datetime) -> bool:
    if not kind.is_one_off or person.wrote_at is None or now - person.wrote_at >= REPLY_WITHIN:
        return False
    return not any(_NO_REPLY_EXEMPTION in row.flags for row in _rows(kind, place))


def counts(kind: Kind, person: Person, place: Place, now: datetime) -> bool:
    """Whether this contact counts against the caps of later ones."""
    return kind.is_marketing and not is_reply(kind, person, place, now)


def opened_by(kind: Kind, person: Person, place: Place, code: str, now: datetime) -> str:
    """What opens the number of somebody whom the registry `code` lists; empty when nothing does."""
    if person.consent >= Consent.EXPRESS_WRITTEN:
        return "consent"
    return relationship.excuses(person.relation, person.ended_at, code, _rows(kind, place), now)


def allowed_by(kind: Kind, person: Person, place: Place, copies: Mapping[str, date], now: datetime) -> str:
    """What a contact with somebody who is listed, and is not barred, rests on; empty when it needs nothing."""
    if not (person.listed and kind.compliance.requires_registry and kind.is_marketing):
        return ""
    if is_reply(kind, person, place, now):
        return "reply"
    binding = [each for each in registry.binding(place.regions, copies) if each in person.listed]
    return ", ".join(f"{each}: {opened_by(kind, person, place, each, now)}" for each in binding)


def _registered(kind: Kind, person: Person, place: Place, copies: Mapping[str, date], now: datetime) -> Barred | None:
    today = now.date()
    for each in registry.binding(place.regions, copies):
        if each in person.listed and not opened_by(kind, person, place, each, now):
            return Barred(Bar.REGISTRY, each)
        if fault := registry.unfit(each, copies, today):
            return Barred(Bar.REGISTRY_MISSING if fault == "missing" else Bar.REGISTRY_STALE, each)
    return None


def _rows(kind: Kind, place: Place) -> tuple[Row, ...]:
    return binding_rows(place, kind.channel, kind.purpose, kind.is_automated)
