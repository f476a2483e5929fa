"""The consent matrix, row by row, and consent as an import's columns say it."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.rules import consent_columns
from engine.rules.consent import LABELS, Consent, needed
from engine.rules.consent_columns import Given, given_at
from engine.rules.purpose import Purpose
from engine.rules.whereabouts import whereabouts
from engine.rules.window import binding_rows

NONE, EXPRESS, WRITTEN = Consent.NONE, Consent.EXPRESS, Consent.EXPRESS_WRITTEN
MARKETING, INFORMATIONAL, EMERGENCY = Purpose.MARKETING, Purpose.INFORMATIONAL, Purpose.EMERGENCY
NOW = datetime(2026, 3, 11, 18, 0, tzinfo=UTC)
NEW_YORK, CONNECTICUT, NEW_JERSEY, ARIZONA, FLORIDA, WASHINGTON = (
    *("+12125550123", "+12035550123", "+12015550123", "+16025550123", "+13055550123", "+12065550123"),
)
ENDS_OF_TIME = ("9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+01:00")  # in UTC no year of Python's has them
A_MINUTE_LESS_THAN_A_DAY = timedelta(hours=23, minutes=59)
OFFSETS = st.timedeltas(-A_MINUTE_LESS_THAN_A_DAY, A_MINUTE_LESS_THAN_A_DAY).map(timezone)


@pytest.mark.parametrize(
    ("phone", "channel", "is_automated", "purpose", "expected"),
    [
        (NEW_YORK, "voice", False, MARKETING, NONE),
        (NEW_YORK, "voice", True, MARKETING, WRITTEN),
        (NEW_YORK, "sms", True, MARKETING, WRITTEN),
        (NEW_YORK, "voice", False, INFORMATIONAL, NONE),
        (NEW_YORK, "voice", True, INFORMATIONAL, EXPRESS),
        (NEW_YORK, "sms", True, INFORMATIONAL, EXPRESS),
        (NEW_YORK, "voice", True, EMERGENCY, NONE),
        (NEW_YORK, "sms", True, EMERGENCY, NONE),
        (CONNECTICUT, "voice", False, MARKETING, WRITTEN),  # Conn. Gen. Stat. 42-288a: live sales calls, too
        (CONNECTICUT, "voice", False, INFORMATIONAL, NONE),
        (NEW_JERSEY, "voice", False, MARKETING, EXPRESS),  # N.J.S.A. 56:8-130: unsolicited calls to mobiles
        (ARIZONA, "voice", False, MARKETING, EXPRESS),
        (FLORIDA, "voice", False, MARKETING, NONE),  # pewc_automated
        (FLORIDA, "voice", True, MARKETING, WRITTEN),
        (WASHINGTON, "sms", True, MARKETING, WRITTEN),
    ],
)
def test_the_class_that_the_law_asks_for(
    phone: str, channel: str, is_automated: bool, purpose: Purpose, expected: Consent
) -> None:
    rows = binding_rows(whereabouts(phone), channel, purpose, is_automated)
    assert needed(is_automated, purpose, [flag for row in rows for flag in row.flags]) is expected


def test_an_unreadable_state_asks_for_what_the_strictest_does() -> None:
    rows = binding_rows(whereabouts(NEW_YORK, {"state": "Atlantis"}), "voice", MARKETING, False)
    assert needed(False, MARKETING, [flag for row in rows for flag in row.flags]) is WRITTEN


def test_classes_ascend_and_keep_their_names() -> None:
    assert list(LABELS) == ["none", "express", "express_written"]
    assert NONE < EXPRESS < WRITTEN


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"consent": ""}, None),
        ({"consent": "none"}, None),
        ({"consent": "express"}, Given(EXPRESS, None, "import", "")),
        ({"Consent": " Express Written "}, Given(WRITTEN, None, "import", "")),
        ({"consent": "express-written"}, Given(WRITTEN, None, "import", "")),
        (
            {
                "consent": "express",
                "consent_at": "2026-03-09",
                "Consent Source": "form 12",
                "consent_proof": "https://a",
            },
            Given(EXPRESS, datetime(2026, 3, 9, tzinfo=UTC), "form 12", "https://a"),
        ),
        (
            {"consent": "express", "consent_at": "2026-03-09T10:00:00-05:00"},
            Given(EXPRESS, datetime(2026, 3, 9, 15, tzinfo=UTC), "import", ""),
        ),
    ],
)
def test_columns_are_read(row: dict[str, str], expected: Given | None) -> None:
    assert consent_columns.has_consent(tuple(row))
    assert consent_columns.read(row, NOW) == expected


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"consent": "maybe"}, "consent 'maybe' is not one of none, express, express_written"),
        ({"consent": "express", "consent_at": "last week"}, "is no past time"),
        ({"consent": "express", "consent_at": "2026-03-12"}, "is no past time"),  # tomorrow
        ({"consent": "express", "consent_at": "1875-01-01"}, "is no past time"),
        *(({"consent": "express", "consent_at": at}, "is no past time") for at in ENDS_OF_TIME),
    ],
)
def test_columns_that_cannot_be_read_say_why(row: dict[str, str], fault: str) -> None:
    found = consent_columns.read(row, NOW)
    assert isinstance(found, str)
    assert fault in found


@given(at=st.datetimes(timezones=st.none() | OFFSETS))
@example(at=datetime.fromisoformat(ENDS_OF_TIME[0]))
@example(at=datetime.fromisoformat(ENDS_OF_TIME[1]))
def test_every_time_is_taken_as_it_is_or_not_at_all(at: datetime) -> None:
    moment = at if at.tzinfo else at.replace(tzinfo=UTC)
    is_past = datetime(1991, 12, 20, tzinfo=UTC) <= moment <= NOW
    found = given_at(at.isoformat(), NOW)
    assert found == (moment if is_past else None)
    assert found is None or found.tzinfo is UTC


def test_a_file_without_the_column_says_nothing() -> None:
    assert not consent_columns.has_consent(("first name", "consented"))
