"""What is checked of one call or message before it is accepted; the intent judges all of it again."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from api_min.auth import Caller
from api_min.replies import moment
from engine.carriers.catalog import is_simulated
from engine.clock import iso
from engine.errors import InvalidInput
from engine.rules import whom
from engine.rules.compliance import parse_compliance
from engine.rules.phone import is_e164
from engine.rules.purpose import Purpose
from engine.rules.registry import name_of
from engine.rules.whereabouts import whereabouts
from engine.rules.whom import Bar, Barred, Kind
from engine.rules.window import WindowReason, hours
from engine.rules.zones import zone_problem
from engine.store import people, registries

_DONE_TO = {"voice": "called", "sms": "texted"}


def check_numbers(from_: str, to: str) -> None:
    """Raises InvalidInput that names each of the two that is not E.164."""
    faults = {
        name: f"'{number[:40]}' is not an E.164 number such as +14155550123"
        for name, number in (("from", from_), ("to", to))
        if not is_e164(number)
    }
    if faults:
        raise InvalidInput("; ".join(f"{name}: {fault}" for name, fault in faults.items()), faults)


def check_hours(channel: str, to: str, now: datetime) -> None:
    """Raises InvalidInput that names the next opening, so that the client is told at once."""
    place = whereabouts(to)
    window = hours(channel).at(place, now)
    if window.reason is WindowReason.NO_TIMEZONE:
        fault = f"its local time is unknown: {zone_problem(to)}"
        raise InvalidInput(f"to: {fault}", {"to": fault})
    if window.reason is WindowReason.NO_RULE:
        fault = f"no legal hours are known for {window.rule}; your operator can add them (CARILLON_RULES_FILE)"
        raise InvalidInput(f"to: {fault}", {"to": fault})
    if not window.open:
        fields: dict[str, object] = {
            "to": "outside legal calling hours at the recipient",
            "next_open_at": moment(window.next_open_at),
            "zones": place.zones,
            "closed_by": window.rule,
        }
        opens = iso(window.next_open_at) if window.next_open_at else "not within 30 days"
        raise InvalidInput(f"{to} may not be {_DONE_TO[channel]} at this hour; next opening: {opens}", fields)


def one_off_kind(
    channel: str, purpose: str | None, caller: Caller, carrier: str, settings: Mapping[str, object]
) -> Kind:
    """What is judged of a one-off contact. Raises InvalidInput for an account's `compliance` that cannot be read."""
    compliance = parse_compliance(settings.get("compliance"), is_real=caller.is_live and not is_simulated(carrier))
    wanted = Purpose(purpose) if purpose else Purpose.MARKETING
    return Kind(channel, wanted, is_automated=True, is_one_off=True, compliance=compliance)


async def check_person(conn: AsyncConnection, caller: Caller, kind: Kind, to: str, now: datetime) -> None:
    """Raises InvalidInput that names the `reason`, as it would be on the contact, and what would help."""
    copies = await registries.dates(conn) if kind.compliance.requires_registry else {}
    person = await people.read(conn, caller.account_id, to, kind, caller.is_live, now)
    barred = whom.barred(kind, person, whereabouts(to), copies, now)
    if barred is None:
        return
    fault = _told(barred)
    fields: dict[str, object] = {"to": fault, "reason": str(barred.bar)}
    if barred.free_at is not None:
        fields |= {"next_allowed_at": moment(barred.free_at), "cap": barred.by}
    raise InvalidInput(f"{to} may not be {_DONE_TO[kind.channel]}: {fault}", fields)


def _told(barred: Barred) -> str:
    match barred.bar:
        case Bar.REGISTRY:
            return f"on the {name_of(barred.by)} do-not-call registry, and no written consent is recorded"
        case Bar.NO_CONSENT:
            return f"no consent of class {barred.by} is recorded; POST /api/consents records one"
        case Bar.ATTEMPT_CAP:
            return f"contacted as often as the cap of {barred.by} allows"
        case Bar.REGISTRY_MISSING:
            return f"no copy of the {name_of(barred.by)} do-not-call registry is loaded; ask your operator"
    return f"the copy of the {name_of(barred.by)} do-not-call registry is too old; ask your operator"
