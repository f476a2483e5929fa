"""Moments and places for the tests of hours."""

from datetime import UTC, datetime

from engine.rules.whereabouts import Place, place_of


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def place(*zones: str) -> Place:
    """Somewhere on these clocks, in a state that adds nothing to the country's hours."""
    is_canadian = any(name == "America/Toronto" for name in zones)
    return place_of(frozenset(zones), frozenset({"CA-ON" if is_canadian else "US-OH"}))
