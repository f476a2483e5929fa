"""Windows on the clock: zones, schedules, clock changes. The states' own hours are in `test_window_by_state`."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from engine.rules.purpose import Purpose
from engine.rules.schedule import ANY_TIME, Schedule
from engine.rules.whereabouts import place_of, whereabouts
from engine.rules.window import Window, WindowReason, hours
from engine.rules.zones import zone
from tests.rules.clocks import place, utc

NY, LA, PHX, CHI = "America/New_York", "America/Los_Angeles", "America/Phoenix", "America/Chicago"
WEEKDAYS = frozenset({1, 2, 3, 4, 5})


def verdict(channel: str, zones: tuple[str, ...], schedule: Schedule, now: datetime) -> Window:
    return hours(channel, schedule=schedule).at(place(*zones), now)


def is_open(channel: str, zones: tuple[str, ...], schedule: Schedule, now: datetime) -> bool:
    return verdict(channel, zones, schedule, now).open


def local(text: str, name: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone(name)).astimezone(UTC)


@pytest.mark.parametrize(
    ("channel", "zones", "schedule", "now", "is_now_open", "change"),
    [
        # The night clocks go forward: 08:00 comes 23 hours after the last one, at 12:00 UTC instead of 13:00.
        ("voice", (NY,), ANY_TIME, utc("2026-03-08 11:59"), False, utc("2026-03-08 12:00")),
        ("voice", (NY,), ANY_TIME, utc("2026-03-07 13:00"), True, utc("2026-03-08 02:00")),
        ("voice", (NY,), ANY_TIME, utc("2026-03-08 12:00"), True, utc("2026-03-09 01:00")),
        # The night they go back: 25 hours after.
        ("voice", (NY,), ANY_TIME, utc("2026-11-01 12:59"), False, utc("2026-11-01 13:00")),
        ("voice", (NY,), ANY_TIME, utc("2026-11-01 13:00"), True, utc("2026-11-02 02:00")),
        # A schedule inside the skipped hour does not exist that night; inside the doubled hour it lasts two.
        ("voice", ("Pacific/Guam",), Schedule(NY, 2, 3), utc("2026-03-08 06:59"), False, utc("2026-03-09 06:00")),
        ("voice", ("Pacific/Guam",), Schedule(NY, 1, 2), utc("2026-11-01 05:00"), True, utc("2026-11-01 07:00")),
        ("voice", ("Pacific/Guam",), Schedule(NY, 1, 2), utc("2026-11-01 06:30"), True, utc("2026-11-01 07:00")),
        # Arizona keeps standard time; the Navajo Nation inside it does not.
        (
            "voice",
            (PHX, "America/Denver"),
            ANY_TIME,
            local("2026-07-01 07:59", PHX),
            False,
            local("2026-07-01 08:00", PHX),
        ),
        (
            "voice",
            (PHX, "America/Denver"),
            ANY_TIME,
            local("2026-07-01 20:00", PHX),
            False,
            local("2026-07-02 08:00", PHX),
        ),
        (
            "voice",
            (PHX, "America/Denver"),
            ANY_TIME,
            local("2026-01-05 20:59", PHX),
            True,
            local("2026-01-05 21:00", PHX),
        ),
        # Half-open edges, to the microsecond.
        ("voice", (NY,), ANY_TIME, local("2026-06-10 08:00", NY), True, local("2026-06-10 21:00", NY)),
        ("voice", (NY,), ANY_TIME, local("2026-06-10 20:59:59.999999", NY), True, local("2026-06-10 21:00", NY)),
        ("voice", (NY,), ANY_TIME, local("2026-06-10 21:00", NY), False, local("2026-06-11 08:00", NY)),
        ("voice", (NY,), ANY_TIME, local("2026-06-10 07:59:59.999999", NY), False, local("2026-06-10 08:00", NY)),
        # SMS: never at 07:00, whatever the reference says; until 19:00.
        ("sms", (NY,), ANY_TIME, local("2026-06-10 07:30", NY), False, local("2026-06-10 08:00", NY)),
        ("sms", (NY,), ANY_TIME, local("2026-06-10 18:59", NY), True, local("2026-06-10 19:00", NY)),
        ("sms", (NY,), ANY_TIME, local("2026-06-10 19:00", NY), False, local("2026-06-11 08:00", NY)),
        # Two zones: open only while both are.
        ("voice", (CHI, NY), ANY_TIME, local("2026-06-10 08:30", NY), False, local("2026-06-10 09:00", NY)),
        ("voice", (CHI, NY), ANY_TIME, local("2026-06-10 20:30", NY), True, local("2026-06-10 21:00", NY)),
        # The year's end, and a schedule's days in its own zone.
        ("voice", (NY,), ANY_TIME, local("2026-12-31 22:00", NY), False, local("2027-01-01 08:00", NY)),
        (
            "voice",
            (NY,),
            Schedule(LA, 9, 19, WEEKDAYS),
            local("2026-11-20 19:00", LA),
            False,
            local("2026-11-23 09:00", LA),
        ),
        (
            "voice",
            (NY,),
            Schedule(LA, 9, 19, WEEKDAYS),
            local("2026-11-20 09:00", LA),
            True,
            local("2026-11-20 21:00", NY),
        ),
        (
            "voice",
            (LA,),
            Schedule("Pacific/Auckland", days=frozenset({6})),
            utc("2026-06-12 15:30"),
            True,
            utc("2026-06-13 04:00"),
        ),
        # Without a zone a schedule means the recipient's hours and days.
        ("voice", (LA,), Schedule(None, 12, 13), local("2026-06-10 11:00", LA), False, local("2026-06-10 12:00", LA)),
        (
            "voice",
            (LA,),
            Schedule(None, None, None, frozenset({7})),
            local("2026-06-13 23:30", LA),
            False,
            local("2026-06-14 08:00", LA),
        ),
        # Canada: weekdays 09–21, weekends 10–18.
        ("voice", ("America/Toronto",), ANY_TIME, local("2026-06-10 08:30", NY), False, local("2026-06-10 09:00", NY)),
        ("voice", ("America/Toronto",), ANY_TIME, local("2026-06-12 21:00", NY), False, local("2026-06-13 10:00", NY)),
        ("sms", ("America/Toronto",), ANY_TIME, local("2026-06-13 17:00", NY), True, local("2026-06-13 18:00", NY)),
        # Never: the schedule's hours fall outside the law's in every zone.
        ("voice", (LA,), Schedule(LA, 0, 8), local("2026-06-10 12:00", LA), False, None),
        ("sms", (LA,), Schedule(LA, 19, 23), local("2026-06-10 12:00", LA), False, None),
        ("voice", (NY, "Pacific/Guam"), Schedule(NY, 12, 13), local("2026-06-10 12:30", NY), False, None),
        # Unknown zones are never allowed.
        ("voice", (), ANY_TIME, local("2026-06-10 12:00", NY), False, None),
    ],
)
def test_verdict(
    channel: str, zones: tuple[str, ...], schedule: Schedule, now: datetime, is_now_open: bool, change: datetime | None
) -> None:
    window = verdict(channel, zones, schedule, now)
    assert window.open is is_now_open is hours(channel, schedule=schedule).holds(place(*zones), now)
    assert (window.closes_at if is_now_open else window.next_open_at) == change
    assert (window.next_open_at if is_now_open else window.closes_at) is None


def test_reasons() -> None:
    evening = local("2026-06-10 22:00", NY)
    noon = local("2026-06-10 12:00", NY)
    assert verdict("voice", (), ANY_TIME, noon).reason == WindowReason.NO_TIMEZONE
    assert verdict("voice", (NY,), ANY_TIME, evening).reason == WindowReason.LEGAL_HOURS
    assert verdict("voice", (NY,), ANY_TIME, evening).rule == "US"
    assert verdict("voice", (NY,), Schedule(NY, 13, 14), noon).reason == WindowReason.SCHEDULE
    assert verdict("voice", (NY,), ANY_TIME, noon).reason == WindowReason.OPEN


def test_a_country_without_a_row_is_closed_and_named() -> None:
    for phone, country in (("+442079460018", "GB"), ("+18765550123", "JM"), ("+8613812345678", "CN")):
        window = hours("voice").at(whereabouts(phone), local("2026-06-10 12:00", NY))
        assert (window.open, window.next_open_at, window.reason, window.rule) == (
            False,
            None,
            "no_rule_for_country",
            country,
        )


def test_an_unknown_channel_is_never_allowed() -> None:
    assert not hours("fax").at(place(NY), local("2026-06-10 12:00", NY)).open
    assert not hours("fax", Purpose.EMERGENCY).at(place(NY), local("2026-06-10 12:00", NY)).open


@pytest.mark.parametrize(
    ("purpose", "channel", "first", "after"),
    [
        (Purpose.MARKETING, "voice", 10, 21),
        (Purpose.MARKETING, "sms", 10, 19),
        (Purpose.INFORMATIONAL, "voice", 8, 21),  # this state's rows bind solicitation only
        (Purpose.INFORMATIONAL, "sms", 7, 19),
        (Purpose.EMERGENCY, "voice", 0, 24),
        (Purpose.EMERGENCY, "sms", 0, 24),
    ],
)
def test_the_purpose_decides_which_rows_bind(purpose: Purpose, channel: str, first: int, after: int) -> None:
    kentucky = whereabouts("+15025550123")
    open_hours = [
        hour for hour in range(24) if hours(channel, purpose).at(kentucky, local(f"2026-06-10 {hour:02d}:30", NY)).open
    ]
    assert open_hours == list(range(first, after))


INDIANAPOLIS = "America/Indiana/Indianapolis"


@pytest.mark.parametrize(
    ("region", "name", "when", "automated", "live"),
    [
        ("US-CA", LA, "2026-06-10 08:30", False, True),  # a Wednesday
        ("US-CA", LA, "2026-06-10 09:00", True, True),
        ("US-CA", LA, "2026-06-14 20:30", True, True),  # a Sunday
        ("US-IN", INDIANAPOLIS, "2026-06-10 08:59", False, True),
        ("US-IN", INDIANAPOLIS, "2026-06-14 19:59", True, True),
        ("US-IN", INDIANAPOLIS, "2026-06-10 20:00", False, True),
        ("US-SD", CHI, "2026-06-10 08:30", False, True),
        ("US-SD", CHI, "2026-06-10 20:30", True, True),
        ("US-SD", CHI, "2026-06-13 12:00", False, True),
        ("US-SD", CHI, "2026-06-14 12:00", False, True),
        ("US-NE", CHI, "2026-06-14 08:30", True, True),  # its Sunday from 13 is for solicitation
        ("US-GA", NY, "2026-06-14 08:00", True, True),  # the federal hours
        ("US-KY", NY, "2026-06-10 08:30", True, True),  # its hours are for solicitation
    ],
)
def test_an_automated_call_has_a_states_hours_whatever_it_says(
    region: str, name: str, when: str, automated: bool, live: bool
) -> None:
    where, now = place_of(frozenset({name}), frozenset({region})), local(when, name)
    assert hours("voice", Purpose.INFORMATIONAL).at(where, now).open is automated
    assert hours("voice", Purpose.INFORMATIONAL, is_automated=False).at(where, now).open is live


@pytest.mark.parametrize("region", ["US-CA", "US-IN", "US-SD"])
def test_and_a_text_that_sells_nothing_has_none(region: str) -> None:
    where = place_of(frozenset({NY}), frozenset({region}))
    assert hours("sms", Purpose.INFORMATIONAL).at(where, local("2026-06-14 07:30", NY)).open


def test_an_emergency_keeps_the_campaigns_own_schedule_and_needs_a_known_place() -> None:
    urgent = hours("voice", Purpose.EMERGENCY, schedule=Schedule(NY, 3, 5))
    assert [hour for hour in range(24) if urgent.at(place(NY), local(f"2026-06-10 {hour:02d}:00", NY)).open] == [3, 4]
    for phone in ("+18005550123", "+442079460018"):
        assert not hours("voice", Purpose.EMERGENCY).at(whereabouts(phone), local("2026-06-10 12:00", NY)).open
    assert hours("voice", Purpose.EMERGENCY).at(place(NY), local("2026-06-10 03:00", NY)).closes_at is None


def test_what_is_remembered_does_not_outlive_its_edge_in_either_direction() -> None:
    noon, night = local("2026-06-10 12:00", NY), local("2026-06-10 22:00", NY)
    for _ in range(2):
        assert is_open("voice", (NY,), ANY_TIME, noon)
        assert not is_open("voice", (NY,), ANY_TIME, night)
        assert not is_open("voice", (NY,), ANY_TIME, noon - timedelta(hours=5))


def test_what_never_opens_is_looked_at_again_when_the_horizon_has_moved_on() -> None:
    never = hours("voice", schedule=Schedule(LA, 0, 8))
    for day in range(0, 90, 10):
        assert never.at(place(LA), local("2026-06-10 12:00", LA) + timedelta(days=day)).next_open_at is None


def test_now_may_be_in_any_zone() -> None:
    assert is_open("voice", (NY,), ANY_TIME, datetime(2026, 6, 10, 12, tzinfo=ZoneInfo(NY)))
