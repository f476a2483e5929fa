"""The rule of the hours once more, said the simple way from the raw file: the verdict is the same at every moment."""

import csv
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from importlib.resources import files

import holidays
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.rules.area_codes import area_codes
from engine.rules.purpose import Purpose
from engine.rules.schedule import ANY_TIME, Schedule
from engine.rules.whereabouts import Place, place_of, whereabouts
from engine.rules.window import HORIZON, Hours, hours
from engine.rules.zones import zone, zone_names
from tests.rules.clocks import place, utc

TEXT = files("engine.rules.data").joinpath("state_rules.csv").read_text("utf-8")
RAW = list(csv.DictReader(line for line in TEXT.splitlines() if not line.startswith("#")))
CALENDARS = {
    row["region"]: holidays.country_holidays(row["region"][:2], subdiv=row["region"][3:])
    for row in RAW
    if row["holidays"] != "ok"
}
ALSO = {
    "US-LA": {date(2026, 11, 1), date(2026, 11, 2)},  # All Saints' Day, a Sunday, and its observance
    "US-AL": {date(2026, 2, 17), date(2027, 2, 9)},  # Mardi Gras
}


def is_day_off(region: str, day: date) -> bool:
    return day in CALENDARS[region] or day in holidays.country_holidays("US") or day in ALSO.get(region, ())


def cells(regions: frozenset[str], channel: str, is_automated: bool, purpose: str) -> Iterator[dict[str, str]]:
    names = {"*", *regions, *(region[:2] for region in regions)}
    for row in RAW:
        if (
            row["region"] in names
            and row["channel"] in (channel, "both")
            and (row["mode"] == "any" or is_automated)
            and row["purpose"] in (purpose, "any")
        ):
            yield row


def allowed(campaign: tuple[str, Purpose, bool, Schedule], where: Place, now: datetime) -> bool:
    channel, purpose, is_automated, schedule = campaign
    if not where.zones:
        return False
    for row in cells(frozenset(where.regions), channel, is_automated, purpose):
        for name in (*where.zones, *filter(None, [row["also_clock"]])):
            clock = now.astimezone(zone(name))
            if not row["from"] <= clock.date().isoformat() < (row["until"] or "9999"):
                continue
            day = clock.isoweekday()
            wanted = [row["mon_fri"] if day < 6 else row["sat"] if day == 6 else row["sun"]]
            if row["holidays"] != "ok" and is_day_off(row["region"], clock.date()):
                wanted.append(row["holidays"])
            if not all(span != "none" and int(span[:2]) <= clock.hour < int(span[3:]) for span in wanted):
                return False
    clocks = [now.astimezone(zone(name)) for name in ([schedule.timezone] if schedule.timezone else where.zones)]
    first, after = schedule.start_hour or 0, 24 if schedule.end_hour is None else schedule.end_hour
    return all(first <= clock.hour < after and clock.isoweekday() in schedule.days for clock in clocks)


schedules = st.builds(
    lambda name, hours, days: (
        Schedule(name, min(hours), max(hours), days) if hours[0] != hours[1] else Schedule(name, days=days)
    ),
    st.none() | st.sampled_from(sorted(zone_names())),
    st.tuples(st.integers(0, 23), st.integers(0, 23)),
    st.frozensets(st.integers(1, 7), min_size=1),
)
campaigns = st.tuples(
    st.sampled_from(["voice", "sms"]),
    st.sampled_from([Purpose.MARKETING, Purpose.MARKETING, Purpose.INFORMATIONAL]),
    st.booleans(),
    st.just(ANY_TIME) | schedules,
)
codes = sorted(area.code for area in area_codes().values() if area.zones)
states = sorted({row["region"] for row in RAW if len(row["region"]) > 2})
places = st.builds(lambda code: whereabouts(f"+1{code}5550123"), st.sampled_from(codes))
also_states = st.frozensets(st.sampled_from(states), max_size=2)
edges = [
    *(utc(text) for text in ("2026-03-08 00:00", "2026-11-01 00:00", "2027-03-14 00:00")),  # clock changes
    *(utc(text) for text in ("2026-02-17 12:00", "2026-07-04 12:00", "2026-12-25 12:00", "2026-12-31 12:00")),
    utc("2026-10-18 00:00"),  # Pennsylvania's new hours
]
instants = st.builds(
    lambda base, minutes: base + timedelta(minutes=minutes), st.sampled_from(edges), st.integers(-6000, 6000)
)


@settings(max_examples=250, deadline=None)
@given(campaigns, places, also_states, instants)
@example(
    ("voice", Purpose.MARKETING, True, ANY_TIME), whereabouts("+16015550123"), frozenset(), utc("2026-07-03 12:00")
)
def test_the_verdict_is_the_rule_and_its_times_are_its_edges(
    campaign: tuple[str, Purpose, bool, Schedule], where: Place, more: frozenset[str], now: datetime
) -> None:
    where = place_of(frozenset(where.zones), frozenset(where.regions) | more)
    window = hours(*campaign).at(where, now)
    assert window.open is allowed(campaign, where, now) is hours(*campaign).holds(where, now)
    change = window.closes_at if window.open else window.next_open_at
    end = change or now + HORIZON
    for step in range(int((end - now) / timedelta(minutes=60)) + 1):
        between = now + step * timedelta(minutes=60)
        assert between >= end or allowed(campaign, where, between) is window.open
    if change:
        assert allowed(campaign, where, change) is not window.open
        for minutes in (1, 15, 30, 45, 60, 75, 90):
            before = change - timedelta(minutes=minutes)
            assert before < now or allowed(campaign, where, before) is window.open


@settings(max_examples=150, deadline=None)
@given(campaigns, places, st.lists(instants, min_size=2, max_size=12))
def test_what_is_remembered_is_what_would_be_judged(
    campaign: tuple[str, Purpose, bool, Schedule], where: Place, moments: list[datetime]
) -> None:
    """In any order of instants, across midnights and clock changes, and right at the edges of what is remembered."""
    remembering = Hours(*campaign)
    for moment in moments:
        window, fresh = remembering.at(where, moment), Hours(*campaign).at(where, moment)
        assert (window.open, window.closes_at, window.next_open_at) == (fresh.open, fresh.closes_at, fresh.next_open_at)
        edge = window.closes_at or window.next_open_at
        for near in (edge - timedelta(microseconds=1), edge) if edge else ():
            assert remembering.at(where, near).open is remembering.holds(where, near)


@settings(max_examples=250, deadline=None)
@given(campaigns, places, places, also_states, instants)
def test_what_is_added_never_widens_a_window(
    campaign: tuple[str, Purpose, bool, Schedule], one: Place, other: Place, more: frozenset[str], now: datetime
) -> None:
    both = place_of(frozenset(one.zones + other.zones), frozenset(one.regions + other.regions) | more)
    wider, narrower = hours(*campaign).at(one, now), hours(*campaign).at(both, now)
    assert wider.open or not narrower.open
    if narrower.open and narrower.closes_at and wider.closes_at:
        assert narrower.closes_at <= wider.closes_at
    if not wider.open and wider.next_open_at and narrower.next_open_at:
        assert narrower.next_open_at >= wider.next_open_at


@settings(max_examples=250, deadline=None)
@given(campaigns, places, also_states, instants)
def test_a_window_lies_within_the_federal_hours(
    campaign: tuple[str, Purpose, bool, Schedule], where: Place, more: frozenset[str], now: datetime
) -> None:
    where = place_of(frozenset(where.zones), frozenset(where.regions) | more)
    channel, purpose = campaign[:2]
    first = 7 if (channel, purpose) == ("sms", Purpose.INFORMATIONAL) else 8
    if hours(*campaign).at(where, now).open:
        for name in where.zones:
            assert first <= now.astimezone(zone(name)).hour < (19 if channel == "sms" else 21)


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
    guam = place("Pacific/Guam")
    for first in range(23):
        schedule = Schedule(name, first, first + 1)
        for minutes in range(-240, 240, 15):
            now = utc(change) + timedelta(minutes=minutes)
            campaign = ("voice", Purpose.MARKETING, True, schedule)
            window = hours(*campaign).at(guam, now)
            assert window.open is allowed(campaign, guam, now)
            end = window.closes_at or window.next_open_at
            for step in range(1, 17):
                later = now + timedelta(minutes=15 * step)
                if end is None or later < end:
                    assert allowed(campaign, guam, later) is window.open
