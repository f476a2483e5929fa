"""Every row of `state_rules.csv`, written out by hand: the hours of each state by day and by kind of campaign."""

from datetime import UTC, date, datetime, timedelta
from importlib.resources import files

import pytest

from engine.rules import states
from engine.rules.purpose import Purpose
from engine.rules.whereabouts import Place, place_of, whereabouts
from engine.rules.window import hours
from engine.rules.zones import zone

NY, CHI, DEN, LA, PHX = (f"America/{city}" for city in ("New_York", "Chicago", "Denver", "Los_Angeles", "Phoenix"))

# A Wednesday, Saturday and Sunday without a holiday anywhere, and Thanksgiving, a holiday in every state.
DAYS = (date(2026, 11, 18), date(2026, 11, 21), date(2026, 11, 22), date(2026, 11, 26))

# (region, its clock): hours of a live call, of an automated one, and of a text, on those days; `-` is a closed day.
BY_STATE: dict[tuple[str, str], tuple[str, str, str]] = {
    ("US-OH", NY): ("08-21 08-21 08-21 08-21", "08-21 08-21 08-21 08-21", "08-19 08-19 08-19 08-19"),  # federal alone
    ("US-AK", "America/Anchorage"): ("08-21 08-21 08-21 08-21", "08-21 08-21 08-21 08-21", "08-19 08-19 08-19 08-19"),
    ("US-HI", "Pacific/Honolulu"): ("08-21 08-21 08-21 08-21", "08-21 08-21 08-21 08-21", "08-19 08-19 08-19 08-19"),
    ("US-AL", CHI): ("08-20 08-20 - -", "08-20 08-20 - -", "08-19 08-19 - -"),
    ("US-AZ", PHX): ("08-21 08-21 08-21 08-21", "08-21 08-21 08-21 08-21", "08-19 08-19 08-19 08-19"),
    ("US-CA", LA): ("08-21 08-21 08-21 08-21", "09-21 09-21 09-21 09-21", "08-19 08-19 08-19 08-19"),
    ("US-CT", NY): ("09-20 09-20 09-20 09-20", "09-20 09-20 09-20 09-20", "09-19 09-19 09-19 09-19"),
    ("US-FL", NY): ("08-20 08-20 08-20 08-20", "08-20 08-20 08-20 08-20", "08-19 08-19 08-19 08-19"),
    ("US-GA", NY): ("08-21 08-21 08-21 08-21", "08-21 08-21 08-21 08-21", "08-19 08-19 08-19 08-19"),
    ("US-IL", CHI): ("08-21 08-21 08-21 08-21", "08-21 08-21 08-21 08-21", "08-19 08-19 08-19 08-19"),
    ("US-IN", "America/Indiana/Indianapolis"): (
        "08-21 08-21 08-21 08-21",
        "09-20 09-20 09-20 09-20",
        "09-19 09-19 09-19 09-19",
    ),
    ("US-KY", "America/Kentucky/Louisville"): (
        "10-21 10-21 10-21 10-21",
        "10-21 10-21 10-21 10-21",
        "10-19 10-19 10-19 10-19",
    ),
    ("US-LA", CHI): ("08-20 08-20 - -", "08-20 08-20 - -", "08-19 08-19 - -"),
    ("US-ME", NY): ("08-21 08-21 08-21 08-21", "09-17 - - 09-17", "09-17 - - 09-17"),
    ("US-MD", NY): ("08-20 08-20 08-20 08-20", "08-20 08-20 08-20 08-20", "08-19 08-19 08-19 08-19"),
    ("US-MA", NY): ("08-20 08-20 08-20 08-20", "08-20 08-20 08-20 08-20", "08-19 08-19 08-19 08-19"),
    ("US-MI", "America/Detroit"): (
        "09-21 09-21 09-21 09-21",
        "09-21 09-21 09-21 09-21",
        "09-19 09-19 09-19 09-19",
    ),
    ("US-MN", CHI): ("09-21 09-21 09-21 09-21", "09-21 09-21 09-21 09-21", "09-19 09-19 09-19 09-19"),
    ("US-MS", CHI): ("08-20 08-20 - -", "08-20 08-20 - -", "08-19 08-19 - -"),
    ("US-NE", CHI): ("08-21 08-21 08-21 08-21", "08-21 08-21 13-21 13-21", "08-19 08-19 08-19 08-19"),
    ("US-NV", LA): ("09-20 09-20 09-20 09-20", "09-20 09-20 09-20 09-20", "09-19 09-19 09-19 09-19"),
    ("US-NJ", NY): ("08-21 08-21 08-21 08-21", "08-21 08-21 08-21 08-21", "08-19 08-19 08-19 08-19"),
    ("US-NM", DEN): ("09-21 09-21 09-21 09-21", "09-21 09-21 09-21 09-21", "09-19 09-19 09-19 09-19"),
    ("US-NY", NY): ("08-21 08-21 08-21 08-21", "08-21 08-21 08-21 08-21", "08-19 08-19 08-19 08-19"),
    ("US-NC", NY): ("08-21 08-21 08-21 08-21", "08-21 08-21 08-21 08-21", "08-19 08-19 08-19 08-19"),
    ("US-OK", CHI): ("08-20 08-20 08-20 08-20", "08-20 08-20 08-20 08-20", "08-19 08-19 08-19 08-19"),
    ("US-OR", LA): ("08-20 08-20 08-20 08-20", "08-20 08-20 08-20 08-20", "08-19 08-19 08-19 08-19"),
    ("US-PA", NY): ("09-19 09-19 - -", "09-19 09-19 - -", "09-19 09-19 - -"),
    ("US-RI", NY): ("09-18 10-17 - -", "09-18 10-17 - -", "09-18 10-17 - -"),
    ("US-SC", NY): ("08-21 08-21 08-21 08-21", "08-21 08-21 08-21 08-21", "08-19 08-19 08-19 08-19"),
    ("US-SD", CHI): ("09-21 09-21 - 09-21", "09-21 - - 09-21", "09-19 - - 09-19"),
    ("US-TX", CHI): ("09-21 09-21 12-21 09-21", "09-21 09-21 12-21 09-21", "09-19 09-19 12-19 09-19"),
    ("US-UT", DEN): ("08-21 08-21 - -", "08-21 08-21 - -", "08-19 08-19 - -"),
    ("US-VT", NY): ("08-21 08-21 08-21 08-21", "08-21 08-21 08-21 08-21", "08-19 08-19 08-19 08-19"),
    ("US-VA", NY): ("08-21 08-21 08-21 08-21", "08-21 08-21 08-21 08-21", "08-19 08-19 08-19 08-19"),
    ("US-WA", LA): ("08-20 08-20 08-20 08-20", "08-20 08-20 08-20 08-20", "08-19 08-19 08-19 08-19"),
    ("US-WY", DEN): ("08-20 08-20 08-20 08-20", "08-20 08-20 08-20 08-20", "08-19 08-19 08-19 08-19"),
    ("CA-ON", "America/Toronto"): ("09-21 10-18 10-18 09-21", "09-21 10-18 10-18 09-21", "09-19 10-18 10-18 09-19"),
}
KINDS = (("voice", False), ("voice", True), ("sms", True))
CASES = [
    pytest.param(place_of(frozenset({name}), frozenset({region})), name, channel, is_automated, day, span,
                 id=f"{region} {channel}{' automated' if is_automated else ''} {day:%a}")
    for (region, name), spans in BY_STATE.items()
    for (channel, is_automated), by_day in zip(KINDS, spans, strict=True)
    for day, span in zip(DAYS, by_day.split(), strict=True)
]  # fmt: skip


def at(day: date, hour: int, name: str) -> datetime:
    """The instant at which that clock shows that hour (24: the next midnight)."""
    moment = datetime.combine(day + timedelta(days=hour // 24), datetime.min.time().replace(hour=hour % 24), zone(name))
    return moment.astimezone(UTC)


@pytest.mark.parametrize(("where", "name", "channel", "is_automated", "day", "span"), CASES)
def test_hours_of_a_state(where: Place, name: str, channel: str, is_automated: bool, day: date, span: str) -> None:
    judge = hours(channel, Purpose.MARKETING, is_automated)
    minute = timedelta(minutes=1)
    if span == "-":
        assert not any(judge.at(where, at(day, 0, name) + step * 15 * minute).open for step in range(24 * 4))
        return
    first, after = (at(day, int(hour), name) for hour in span.split("-"))
    moments = (first - minute, first, after - minute, after)
    assert [judge.at(where, moment).open for moment in moments] == [False, True, True, False]
    assert [judge.holds(where, moment) for moment in moments] == [False, True, True, False]
    assert judge.at(where, first).closes_at == after
    assert judge.at(where, first - minute).next_open_at == first


def test_every_region_of_the_file_is_in_this_table() -> None:
    text = files("engine.rules.data").joinpath("state_rules.csv").read_text("utf-8")
    regions = {row.region for row in states.parse_rows(text) if len(row.region) > 2}
    assert regions <= {region for region, _ in BY_STATE}
    assert len(regions) == 34


# ── what no table of four days shows ─────────────────────────────────────────────────────────────────────────────────


def opened(phone: str, text: str, name: str, channel: str = "voice", *, is_automated: bool = True) -> bool:
    moment = datetime.fromisoformat(text).replace(tzinfo=zone(name)).astimezone(UTC)
    return hours(channel, is_automated=is_automated).at(whereabouts(phone), moment).open


@pytest.mark.parametrize(
    ("phone", "open_minutes", "closed_minutes", "name"),
    [
        # Mississippi's statute says Standard Time: in summer 8:00 CST is 9:00 on the wall, and 20:00 stays the wall's.
        ("+16015550123", ("2026-07-01 09:00", "2026-07-01 19:59"), ("2026-07-01 08:59", "2026-07-01 20:00"), CHI),
        ("+16015550123", ("2026-01-07 08:00", "2026-01-07 19:59"), ("2026-01-07 07:59", "2026-01-07 20:00"), CHI),
        # Pennsylvania before and after Act 47 of 2026: the Saturday before and the Monday after, both Sundays.
        ("+12155550123", ("2026-10-17 08:00", "2026-10-17 20:59"), ("2026-10-17 07:59", "2026-10-17 21:00"), NY),
        ("+12155550123", ("2026-10-19 09:00", "2026-10-19 18:59"), ("2026-10-19 08:59", "2026-10-19 19:00"), NY),
        ("+12155550123", ("2026-10-11 12:00",), ("2026-10-18 12:00",), NY),
        ("+12155550123", ("2026-10-13 12:00",), ("2026-10-12 12:00",), NY),  # Columbus Day, under the older rule too
        # El Paso's area code reaches over the border of two zones: 9:00 there and in the rest of Texas, 21:00 likewise.
        ("+19155550123", ("2026-06-10 09:00", "2026-06-10 19:59"), ("2026-06-10 08:59", "2026-06-10 20:00"), DEN),
        ("+19155550123", ("2026-06-14 12:00",), ("2026-06-14 11:59",), DEN),  # Sunday
        # Florida's panhandle, and Orlando, which `phonenumbers` puts an hour too far west.
        ("+18505550123", ("2026-06-10 09:00", "2026-06-10 19:59"), ("2026-06-10 08:59", "2026-06-10 20:00"), NY),
        ("+16895550123", ("2026-06-10 08:00", "2026-06-10 19:59"), ("2026-06-10 07:59", "2026-06-10 20:00"), NY),
        # Indiana's northwest keeps Central time, the rest Eastern; 219 is both.
        ("+12195550123", ("2026-06-10 10:00", "2026-06-10 19:59"), ("2026-06-10 09:59", "2026-06-10 20:00"), NY),
        # Arizona in summer shares its clock with Los Angeles, and the Navajo Nation with Denver.
        ("+19285550123", ("2026-07-01 08:00", "2026-07-01 19:59"), ("2026-07-01 07:59", "2026-07-01 20:00"), PHX),
        # In winter Denver and Phoenix agree, but 928 also reaches places on Los Angeles's clock, an hour behind.
        ("+19285550123", ("2026-01-07 09:00", "2026-01-07 20:59"), ("2026-01-07 08:59", "2026-01-07 21:00"), PHX),
        ("+14805550123", ("2026-07-01 08:00", "2026-07-01 20:59"), ("2026-07-01 07:59", "2026-07-01 21:00"), PHX),
        # Alaska reaches to the Aleutians, an hour behind.
        (
            "+19075550123",
            ("2026-06-10 09:00", "2026-06-10 20:59"),
            ("2026-06-10 08:59", "2026-06-10 21:00"),
            "America/Anchorage",
        ),
        ("+18085550123", ("2026-06-10 08:00",), ("2026-06-10 07:59", "2026-06-10 21:00"), "Pacific/Honolulu"),
        # Independence Day 2026 is a Saturday: closed on it and on the observed Friday, and then on Sunday.
        ("+15045550123", ("2026-07-02 12:00", "2026-07-06 12:00"), ("2026-07-03 12:00", "2026-07-04 12:00"), CHI),
        # All Saints' Day 2026 is a Sunday and observed on Monday; Mardi Gras in Alabama; Pioneer Day in Utah; Victory
        # Day in Rhode Island; New Year's Day 2028 is observed in 2027.
        ("+15045550123", ("2026-10-31 12:00",), ("2026-11-01 12:00", "2026-11-02 12:00"), CHI),
        ("+12055550123", ("2026-02-18 12:00",), ("2026-02-17 12:00",), CHI),
        ("+18015550123", ("2026-07-23 12:00",), ("2026-07-24 12:00",), DEN),
        ("+14015550123", ("2026-08-11 12:00",), ("2026-08-10 12:00",), NY),
        ("+18015550123", ("2027-12-30 12:00",), ("2027-12-31 12:00", "2028-01-01 12:00"), DEN),
        # The last hour of a year, and New Year's Day.
        ("+12125550123", ("2026-12-31 20:59", "2027-01-01 08:00"), ("2026-12-31 21:00", "2027-01-01 07:59"), NY),
        ("+15045550123", ("2026-12-31 19:59", "2027-01-02 08:00"), ("2026-12-31 20:00", "2027-01-01 12:00"), CHI),
    ],
)  # fmt: skip
def test_by_the_minute(phone: str, open_minutes: tuple[str, ...], closed_minutes: tuple[str, ...], name: str) -> None:
    assert [opened(phone, text, name) for text in open_minutes] == [True] * len(open_minutes)
    assert [opened(phone, text, name) for text in closed_minutes] == [False] * len(closed_minutes)


def test_the_next_opening_lies_behind_a_long_weekend() -> None:
    saturday = datetime(2026, 7, 3, 2, 0, tzinfo=UTC)  # Thursday evening in New Orleans, with three closed days ahead
    window = hours("voice").at(whereabouts("+15045550123"), saturday)
    assert window.next_open_at == datetime(2026, 7, 6, 13, 0, tzinfo=UTC)


def test_an_address_in_north_carolina_is_judged_by_its_own_clock_as_well() -> None:
    moment = datetime(2026, 6, 10, 1, 30, tzinfo=UTC)  # 21:30 in Raleigh, 18:30 in Los Angeles
    at_home = whereabouts("+14155550123", {"timezone": "America/Los_Angeles", "location_verified": "yes"})
    assert hours("voice").at(at_home, moment).open
    registered = place_of(frozenset(at_home.zones), frozenset({*at_home.regions, "US-NC"}))
    assert not hours("voice").at(registered, moment).open


def test_a_state_that_cannot_be_read_has_the_hours_of_the_strictest() -> None:
    """COMPLIANCE 2: live Monday to Friday 10–18, Saturday 10–17; automated Monday to Friday 10–17."""
    somewhere = whereabouts("+12125550123", {"state": "N. Yrok"})
    for is_automated, spans in ((False, ("10-18", "10-17", "-", "-")), (True, ("10-17", "-", "-", "-"))):
        judge = hours("voice", is_automated=is_automated)
        for day, span in zip(DAYS, spans, strict=True):
            shown = [hour for hour in range(24) if judge.at(somewhere, at(day, hour, NY)).open]
            first, _, after = span.partition("-")
            assert shown == (list(range(int(first), int(after))) if first else [])
