"""What is checked of one call or message before it is accepted; the intent judges all of it again."""

from datetime import datetime

from api_min.replies import moment
from engine.clock import iso
from engine.errors import InvalidInput
from engine.rules import window
from engine.rules.phone import is_e164
from engine.rules.schedule import Schedule
from engine.rules.zones import zone_problem, zones_of

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
    zones = zones_of(to)
    if not zones:
        fault = f"its local time is unknown: {zone_problem(to)}"
        raise InvalidInput(f"to: {fault}", {"to": fault})
    hours = window.verdict(channel, zones, Schedule(), now)
    if not hours.open:
        fields: dict[str, object] = {
            "to": "outside legal calling hours at the recipient",
            "next_open_at": moment(hours.next_open_at),
            "zones": zones,
        }
        opens = iso(hours.next_open_at) if hours.next_open_at else "not within 15 days"
        raise InvalidInput(f"{to} may not be {_DONE_TO[channel]} at this hour; next opening: {opens}", fields)
