"""How often: sliding periods, several caps at once, and what a `frequencyCap` may say."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidInput
from engine.rules.attempt_caps import Cap, caps_of_rows, full, parse_cap
from engine.rules.campaign_config import parse_campaign
from engine.rules.purpose import Purpose
from engine.rules.whereabouts import whereabouts
from engine.rules.window import binding_rows, use_rows

NOW = datetime(2026, 3, 8, 12, 0, tzinfo=UTC)  # the day on which clocks go forward: periods are absolute time
HOUR, DAY = 3600, 86_400


def ago(hours: float) -> datetime:
    return NOW - timedelta(hours=hours)


@pytest.mark.parametrize(
    ("contacts", "caps", "free_in_h"),
    [
        ([], [Cap(1, DAY)], None),
        ([ago(24)], [Cap(1, DAY)], None),  # half-open: one period later it counts no more
        ([ago(23.999)], [Cap(1, DAY)], 0.001),
        ([ago(0)], [Cap(1, DAY)], 24),
        ([ago(1), ago(2)], [Cap(3, DAY)], None),
        ([ago(3), ago(1), ago(2)], [Cap(3, DAY)], 21),  # in any order
        ([ago(5), ago(1), ago(2), ago(3)], [Cap(3, DAY)], 21),  # the third latest, not the oldest
        ([ago(7)], [Cap(3, DAY), Cap(1, 8 * HOUR, "US-ME")], 1),
        ([ago(8)], [Cap(3, DAY), Cap(1, 8 * HOUR, "US-ME")], None),
        ([ago(1), ago(1), ago(1)], [Cap(3, DAY), Cap(1, 8 * HOUR, "US-ME")], 23),  # the one that frees last
        ([NOW + timedelta(seconds=1)], [Cap(1, DAY)], 24 + 1 / 3600),  # another machine's clock is ahead
    ],
)
def test_when_there_is_room_again(contacts: list[datetime], caps: list[Cap], free_in_h: float | None) -> None:
    found = full(contacts, caps, NOW)
    assert (found and (found.free_at - NOW) / timedelta(hours=1)) == (free_in_h and pytest.approx(free_in_h))


def test_the_cap_that_frees_last_is_named() -> None:
    found = full([ago(1)], [Cap(1, DAY, "campaign"), Cap(1, 8 * HOUR, "US-ME")], NOW)
    assert found is not None
    assert found.cap.rule == "campaign"


caps_lists = st.lists(st.builds(Cap, st.integers(1, 4), st.integers(60, 3 * DAY)), min_size=1, max_size=3)


@given(st.lists(st.integers(0, 5 * DAY), max_size=40), caps_lists)
def test_no_window_ever_holds_more_than_a_cap_and_nobody_waits_for_nothing(wishes: list[int], caps: list[Cap]) -> None:
    made: list[datetime] = []
    for second in sorted(wishes):
        now = NOW + timedelta(seconds=second)
        found = full(made, caps, now)
        if found is None:
            made.append(now)
            for cap in caps:
                assert sum(at > now - timedelta(seconds=cap.period_s) for at in made) <= cap.most
        else:
            assert found.free_at > now
            assert full(made, caps, found.free_at) is None
            assert full(made, caps, found.free_at - timedelta(microseconds=1)) is not None


@pytest.mark.parametrize(
    ("phone", "is_automated", "purpose", "expected"),
    [
        ("+12075550123", True, Purpose.MARKETING, [Cap(1, 8 * HOUR, "US-ME")]),
        ("+12075550123", False, Purpose.MARKETING, []),  # Maine: automated devices only
        ("+12075550123", True, Purpose.INFORMATIONAL, []),
        ("+13055550123", False, Purpose.MARKETING, [Cap(3, DAY, "US-FL")]),
        ("+14055550123", True, Purpose.MARKETING, [Cap(3, DAY, "US-OK")]),
        ("+15035550123", True, Purpose.MARKETING, [Cap(3, DAY, "US-OR")]),
        ("+14105550123", True, Purpose.MARKETING, [Cap(3, DAY, "US-MD")]),
        ("+12125550123", True, Purpose.MARKETING, []),
    ],
)
def test_states_have_caps_of_their_own(phone: str, is_automated: bool, purpose: Purpose, expected: list[Cap]) -> None:
    rows = binding_rows(whereabouts(phone), "voice", purpose, is_automated)
    assert caps_of_rows(rows, NOW) == expected


def test_a_person_who_may_be_of_two_states_has_the_caps_of_both() -> None:
    rows = binding_rows(whereabouts("+13055550123", {"state": "ME"}), "sms", Purpose.MARKETING, True)
    assert {cap.rule for cap in caps_of_rows(rows, NOW)} == {"US-FL", "US-ME"}


def test_a_row_out_of_force_caps_nothing() -> None:
    header = "region,mon_fri,sat,sun,from,until,max_attempts,period_h"
    use_rows(f"{header}\nUS-NY,08-21,08-21,08-21,2027-01-01,,2,24\n")
    try:
        rows = binding_rows(whereabouts("+12125550123"), "voice", Purpose.MARKETING, True)
        assert caps_of_rows(rows, NOW) == []
        assert caps_of_rows(rows, datetime(2027, 1, 1, tzinfo=UTC)) == [Cap(2, DAY, "US-NY")]
    finally:
        use_rows("")


def test_an_operators_row_may_not_count_for_longer_than_contacts_are_kept() -> None:
    with pytest.raises(InvalidInput, match="period_h 169 is longer"):
        use_rows("region,mon_fri,sat,sun,max_attempts,period_h\nUS-NY,08-21,08-21,08-21,2,169\n")


@pytest.mark.parametrize(
    ("value", "cap"),
    [
        ({"max": 2, "per": "24h"}, Cap(2, DAY, "campaign")),
        ({"max": 1}, Cap(1, DAY, "campaign")),
        ({"max": 5, "per": "7d"}, Cap(5, 7 * DAY, "campaign")),
        (None, None),
    ],
)
def test_a_frequency_cap_is_read(value: object, cap: Cap | None) -> None:
    assert parse_cap(value, "campaign") == cap
    assert parse_campaign({"name": "x", "frequencyCap": value}).frequency_cap == cap


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({}, "max"),
        ({"max": 0}, "max"),
        ({"max": 1.5}, "max"),
        ({"max": True}, "max"),
        ({"max": 1, "per": "8d"}, "per"),
        ({"max": 1, "per": "30s"}, "per"),
        ({"max": 1, "per": "a day"}, "per"),
        ({"max": 1, "each": "24h"}, "each"),
    ],
)
def test_a_wrong_frequency_cap_names_its_field(value: object, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_campaign({"name": "x", "frequencyCap": value})
    assert set(refused.value.fields) == {f"frequencyCap.{field}"}


def test_only_marketing_is_counted_so_only_it_may_have_a_cap() -> None:
    with pytest.raises(InvalidInput, match="counts marketing contacts only"):
        parse_campaign({"name": "x", "purpose": "informational", "frequencyCap": {"max": 1}})
