"""How long a business relationship excuses from which registry, and what ends it."""

from datetime import UTC, datetime

import pytest

from engine.rules.purpose import Purpose
from engine.rules.relationship import STRANGER, Relationship, excuses, read
from engine.rules.whereabouts import whereabouts
from engine.rules.whom import STILL
from engine.rules.window import binding_rows, use_rows

NOW = datetime(2026, 11, 29, 18, 0, tzinfo=UTC)
NEW_YORK, PENNSYLVANIA, TEXAS = map(whereabouts, ("+12125550123", "+12155550123", "+12145550123"))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def bought(text: str) -> Relationship:
    return Relationship(purchase_at=at(text))


def asked(text: str) -> Relationship:
    return Relationship(inquiry_at=at(text))


@pytest.mark.parametrize(
    ("relation", "ended_at", "registry", "place", "expected"),
    [
        # the very ends: 18 months after a purchase, 3 after an inquiry
        (bought("2025-05-29T18:00:01"), None, "US", NEW_YORK, "purchase 2025-05-29"),
        (bought("2025-05-29T18:00:00"), None, "US", NEW_YORK, ""),
        (asked("2026-08-29T18:00:01"), None, "US", NEW_YORK, "inquiry 2026-08-29"),
        (asked("2026-08-29T18:00:00"), None, "US", NEW_YORK, ""),
        (STRANGER, None, "US", NEW_YORK, ""),
        (Relationship(at("2020-01-01"), at("2026-11-01")), None, "US", NEW_YORK, "inquiry 2026-11-01"),
        # the person's own request ends what was before it, and only that
        (bought("2026-10-01"), at("2026-10-02"), "US", NEW_YORK, ""),
        (bought("2026-10-02"), at("2026-10-02"), "US", NEW_YORK, ""),
        (bought("2026-10-03"), at("2026-10-02"), "US", NEW_YORK, "purchase 2026-10-03"),
        (asked("2026-10-01"), at("2026-10-02"), "US", NEW_YORK, ""),
        (bought("2026-11-29"), STILL, "US", NEW_YORK, ""),
        # Pennsylvania: 12 months, for the national registry too; its own list knows purchases only
        (bought("2025-11-29T18:00:01"), None, "US", PENNSYLVANIA, "purchase 2025-11-29"),
        (bought("2025-11-29T18:00:00"), None, "US", PENNSYLVANIA, ""),
        (bought("2025-11-29T18:00:01"), None, "US-PA", PENNSYLVANIA, "purchase 2025-11-29"),
        (bought("2025-11-29T18:00:00"), None, "US-PA", PENNSYLVANIA, ""),
        (asked("2026-11-28"), None, "US", PENNSYLVANIA, "inquiry 2026-11-28"),
        (asked("2026-11-28"), None, "US-PA", PENNSYLVANIA, ""),
        # no other state's list is known to have the exception
        (bought("2026-11-28"), None, "US-TX", TEXAS, ""),
        (bought("2026-11-28"), None, "US-NY", NEW_YORK, ""),
    ],
)
def test_what_excuses(  # type: ignore[no-untyped-def]
    relation: Relationship, ended_at: datetime | None, registry: str, place, expected: str
) -> None:
    rows = binding_rows(place, "voice", Purpose.MARKETING, False)
    assert excuses(relation, ended_at, registry, rows, NOW) == expected


@pytest.mark.parametrize(
    ("since", "last"),
    [("2024-08-31", "2026-02-28"), ("2025-05-31", "2026-11-30"), ("2022-08-29", "2024-02-29")],
)
def test_a_month_that_is_too_short_ends_with_its_last_day(since: str, last: str) -> None:
    assert not excuses(bought(since), None, "US", (), at(last))
    assert excuses(bought(since), None, "US", (), at(f"{last}T00:00:00").replace(day=at(last).day - 1, hour=23))


@pytest.mark.parametrize(
    ("flags", "registry", "is_excused"),
    [
        ("ebr_6mo", "US", False),  # a row of one's own narrows
        ("", "US", True),
        ("ebr_18mo", "US-TX", False),  # and opens nothing where a built-in row tells of the list
    ],
)
def test_rows_of_an_operator_only_narrow(flags: str, registry: str, is_excused: bool) -> None:
    use_rows(f"region,mon_fri,sat,sun,flags\nUS-TX,08-21,08-21,08-21,state_dnc;{flags}\n")
    try:
        rows = binding_rows(TEXAS, "voice", Purpose.MARKETING, False)
        assert bool(excuses(bought("2026-02-01"), None, registry, rows, NOW)) is is_excused
    finally:
        use_rows("")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (None, STRANGER),
        ({"name": "Ann"}, STRANGER),
        ({"Last Purchase At": "2026-10-01", "LAST_INQUIRY_AT": ""}, bought("2026-10-01")),
        ({"last_inquiry_at": "2026-10-01T10:00:00+02:00"}, asked("2026-10-01T08:00:00")),
        ({"last_purchase_at": "10/01/2026"}, STRANGER),
        ({"last_purchase_at": "2026-11-30"}, STRANGER),  # yet to come
        ({"last_purchase_at": "9999-12-31T23:59:59-05:00"}, STRANGER),  # in UTC no year of Python's has it
        ({"last_inquiry_at": "0001-01-01T00:00:00+01:00"}, STRANGER),
        ({"last_purchase_at": None}, STRANGER),
    ],
)
def test_what_columns_say(data: dict[str, object] | None, expected: Relationship) -> None:
    assert read(data, NOW) == expected
