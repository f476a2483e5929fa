"""What is checked of one call or message before it is accepted; the intent judges all of it again."""

from datetime import datetime

from api_min.replies import moment
from engine.clock import iso
from engine.errors import InvalidInput
from engine.rules.phone import is_e164
from engine.rules.whereabouts import whereabouts
from engine.rules.window import WindowReason, hours
from engine.rules.zones import zone_problem

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
