from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.rules.area_codes import area_codes, canadian_zones
from engine.rules.schedule import ANY_TIME, Schedule
from engine.rules.window import HORIZON, WindowReason, is_open, verdict
from engine.rules.zones import zone, zone_names, zones_of

NY, LA, PHX, CHI = "America/New_York", "America/Los_Angeles", "America/Phoenix", "America/Chicago"
WEEKDAYS = frozenset({1, 2, 3, 4, 5})


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


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
    assert window.open is is_now_open is is_open(channel, zones, schedule, now)
    assert (window.closes_at if is_now_open else window.next_open_at) == change
    assert (window.next_open_at if is_now_open else window.closes_at) is None


def test_reasons() -> None:
    evening = local("2026-06-10 22:00", NY)
    noon = local("2026-06-10 12:00", NY)
    assert verdict("voice", (), ANY_TIME, noon).reason == WindowReason.NO_TIMEZONE
    assert verdict("voice", (NY,), ANY_TIME, evening).reason == WindowReason.LEGAL_HOURS
    assert verdict("voice", (NY,), Schedule(NY, 13, 14), noon).reason == WindowReason.SCHEDULE
    assert verdict("voice", (NY,), ANY_TIME, noon).reason == WindowReason.OPEN


def test_an_unknown_channel_is_never_allowed() -> None:
    with pytest.raises(KeyError):
        verdict("fax", (NY,), ANY_TIME, local("2026-06-10 12:00", NY))


def test_what_is_remembered_does_not_outlive_its_edge_in_either_direction() -> None:
    noon, night = local("2026-06-10 12:00", NY), local("2026-06-10 22:00", NY)
    for _ in range(2):
        assert is_open("voice", (NY,), ANY_TIME, noon)
        assert not is_open("voice", (NY,), ANY_TIME, night)
        assert not is_open("voice", (NY,), ANY_TIME, noon - timedelta(hours=5))


def test_summer_and_winter_windows_of_928() -> None:
    zones = zones_of("+19285550123")
    january = [is_open("voice", zones, ANY_TIME, local(f"2026-01-07 {hour:02d}:00", PHX)) for hour in range(24)]
    july = [is_open("voice", zones, ANY_TIME, local(f"2026-07-07 {hour:02d}:00", PHX)) for hour in range(24)]
    assert january.index(True) >= 8
    assert max(hour for hour in range(24) if july[hour]) <= 19  # 20:00 in Phoenix is 21:00 on the Nation


schedules = st.builds(
    lambda name, hours, days: (
        Schedule(name, min(hours), max(hours), days) if hours[0] != hours[1] else Schedule(name, days=days)
    ),
    st.none() | st.sampled_from(sorted(zone_names())),
    st.tuples(st.integers(0, 23), st.integers(0, 23)),
    st.frozensets(st.integers(1, 7), min_size=1),
)
zone_sets = st.sampled_from(sorted({area.zones for area in area_codes().values() if area.zones}))
edges = [utc("2026-03-08 00:00"), utc("2026-11-01 00:00"), utc("2026-12-31 12:00"), utc("2027-03-14 00:00")]
instants = st.builds(
    lambda base, minutes: base + timedelta(minutes=minutes), st.sampled_from(edges), st.integers(-3000, 3000)
)


def allowed(channel: str, zones: tuple[str, ...], schedule: Schedule, now: datetime) -> bool:
    """The rule once more, said the simple way."""
    for name in zones:
        clock = now.astimezone(zone(name))
        first, after = 8, 21 if channel == "voice" else 19
        if name in canadian_zones():
            first, after = (10, 18) if clock.isoweekday() > 5 else (9, after)
        if not first <= clock.hour < after:
            return False
    clocks = [now.astimezone(zone(name)) for name in ([schedule.timezone] if schedule.timezone else zones)]
    first, after = schedule.start_hour or 0, 24 if schedule.end_hour is None else schedule.end_hour
    return all(first <= clock.hour < after and clock.isoweekday() in schedule.days for clock in clocks)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["voice", "sms"]), zone_sets, schedules, instants)
def test_the_verdict_is_the_rule_and_its_times_are_its_edges(
    channel: str, zones: tuple[str, ...], schedule: Schedule, now: datetime
) -> None:
    window = verdict(channel, zones, schedule, now)
    assert window.open is allowed(channel, zones, schedule, now)
    change = window.closes_at if window.open else window.next_open_at
    end = change or now + HORIZON
    for step in range(int((end - now) / timedelta(minutes=15)) + 1):
        between = now + step * timedelta(minutes=15)
        assert between >= end or allowed(channel, zones, schedule, between) is window.open
    if change:
        assert allowed(channel, zones, schedule, change) is not window.open
        assert allowed(channel, zones, schedule, change - timedelta(minutes=1)) is window.open


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("Antarctica/Troll", "2026-03-29 01:00"),  # two hours forward
        ("Antarctica/Troll", "2026-10-25 01:00"),
        ("Australia/Lord_Howe", "2026-04-04 15:00"),  # half an hour
        ("America/Havana", "2026-03-08 05:00"),  # at midnight
        ("America/Havana", "2026-11-01 05:00"),
        ("Africa/Cairo", "2026-04-23 22:00"),
    ],
)
def test_odd_clock_changes(name: str, change: str) -> None:
    guam = ("Pacific/Guam",)
    for first in range(23):
        schedule = Schedule(name, first, first + 1)
        for minutes in range(-240, 240, 15):
            now = utc(change) + timedelta(minutes=minutes)
            window = verdict("voice", guam, schedule, now)
            assert window.open is allowed("voice", guam, schedule, now)
            end = window.closes_at or window.next_open_at
            for step in range(1, 17):
                later = now + timedelta(minutes=15 * step)
                if end is None or later < end:
                    assert allowed("voice", guam, schedule, later) is window.open


def test_now_may_be_in_any_zone() -> None:
    assert is_open("voice", (NY,), ANY_TIME, datetime(2026, 6, 10, 12, tzinfo=ZoneInfo(NY)))
