"""How long a suppressed number is kept."""

from datetime import UTC, datetime

import pytest

from engine.rules.suppression import least_years, may_forget, term_end, years


@pytest.mark.parametrize(
    ("phone", "expected"),
    [
        ("+12125550123", 5),
        ("+17035550123", 10),  # Virginia
        ("+18005550100", 10),  # of no place: the longest
        ("+442079460018", 5),
    ],
)
def test_years_by_state(phone: str, expected: int) -> None:
    assert years(phone) == expected
    assert years(phone) >= least_years()


@pytest.mark.parametrize(
    ("phone", "now", "is_over"),
    [
        ("+12125550123", datetime(2031, 3, 11, 17, 59, 59, tzinfo=UTC), False),
        ("+12125550123", datetime(2031, 3, 11, 18, 0, tzinfo=UTC), True),
        ("+17035550123", datetime(2036, 3, 11, 17, 59, 59, tzinfo=UTC), False),
        ("+17035550123", datetime(2036, 3, 11, 18, 0, tzinfo=UTC), True),
    ],
)
def test_nothing_is_forgotten_before_its_term(phone: str, now: datetime, is_over: bool) -> None:
    assert may_forget(phone, datetime(2026, 3, 11, 18, 0, tzinfo=UTC), now) is is_over


def test_a_leap_day_ends_a_day_later() -> None:
    assert term_end(datetime(2028, 2, 29, 12, tzinfo=UTC), 5) == datetime(2033, 3, 1, 12, tzinfo=UTC)
