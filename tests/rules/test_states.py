"""Rows of the law: reading a file of them, and what they say of a day."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, date, datetime
from importlib.metadata import version
from importlib.resources import files

import pytest

from engine.errors import InvalidInput
from engine.rules import states
from engine.rules.holidays_by_state import has_calendar, is_holiday
from engine.rules.purpose import Purpose
from engine.rules.states import CLOSED, parse_rows, rules
from engine.rules.whereabouts import whereabouts
from engine.rules.window import hours, use_rows

AUSTRALIA = """# our lawyers' reading of 2026-11
region,mon_fri,sat,sun,holidays,source
AU,09-20,09-17,none,none,Telemarketing Industry Standard
"""
SYDNEY = "+61291234567"
DECIDE_NOTHING = ("outcomes.json",)  # of the data files: what a forecast expects


@pytest.fixture
def built_in_afterwards() -> Iterator[None]:
    yield
    use_rows("")


def test_a_row_in_full() -> None:
    (row,) = parse_rows(
        "region,channel,mode,purpose,from,until,mon_fri,sat,sun,holidays,also_clock,max_attempts,period_h,flags,note\n"
        'US-MS,voice,automated,marketing,2026-01-01,2027-01-01,08-20,9:30-17,none,none,Etc/GMT+6,3,24,a;b,"x, y"\n'
    )
    assert (row.region, row.country, row.channels, row.is_automated_only) == ("US-MS", "US", {"voice"}, True)
    assert (row.mon_fri, row.sat, row.sun, row.holidays) == ((480, 1200), (570, 1020), CLOSED, CLOSED)
    assert (row.since, row.until, row.also_clock) == (date(2026, 1, 1), date(2027, 1, 1), "Etc/GMT+6")
    assert (row.max_attempts, row.period_h, row.flags, row.note) == (3, 24, ("a", "b"), "x, y")
    assert row.is_in_force(date(2026, 12, 31))
    assert not row.is_in_force(date(2027, 1, 1))


def test_what_is_left_out_binds_always() -> None:
    (row,) = parse_rows("\ufeffRegion, mon_fri ,sat,sun\n\nGB,8-21,8-21,8-21\n")
    for channel in ("voice", "sms"):
        for purpose in Purpose:
            assert row.binds(channel, False, purpose)
            assert row.binds(channel, True, purpose)
    assert row.is_in_force(date(1999, 1, 1))
    assert row.holidays is None


def test_a_holiday_on_a_weekend_has_the_hours_of_both() -> None:
    (row,) = parse_rows("region,mon_fri,sat,sun,holidays\nUS-NE,08-21,10-18,none,13-21\n")
    assert row.span(date(2026, 11, 26), True) == (13 * 60, 21 * 60)
    assert row.span(date(2026, 7, 4), True) == (13 * 60, 18 * 60)
    assert row.span(date(2026, 7, 5), True) == CLOSED


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", "line 1", "begin with region,mon_fri,sat,sun"),
        ("# only words\n", "line 1", "begin with"),
        ("region,mon_fri,sat\nGB,8-21,8-21\n", "line 1", "lacks the column 'sun'"),
        ("region,mon_fri,sat,sun,hours\n", "line 1", "unknown column 'hours'"),
        ("region,mon_fri,sat,sun,sun\n", "line 1", "twice"),
        ("region,mon_fri,sat,sun\nGB,8-21,8-21,8-21,8-21\n", "line 2", "5 columns where the header has 4"),
        ("# a\nregion,mon_fri,sat,sun\n\nGB,8-21,8-21\n", "line 4", "sun ''"),
        ("region,mon_fri,sat,sun\nXX,8-21,8-21,8-21\n", "line 2", "region 'XX'"),
        ("region,mon_fri,sat,sun\nUS-ZZ,8-21,8-21,8-21\n", "line 2", "region 'US-ZZ'"),
        ("region,mon_fri,sat,sun\nAU-NSW,8-21,8-21,8-21\n", "line 2", "region 'AU-NSW'"),
        ("region,mon_fri,sat,sun\nGB,21-8,8-21,8-21\n", "line 2", "mon_fri '21-8'"),
        ("region,mon_fri,sat,sun\nGB,8-25,8-21,8-21\n", "line 2", "mon_fri '8-25'"),
        ("region,mon_fri,sat,sun\nGB,8:75-21,8-21,8-21\n", "line 2", "such as 09-20 or 09:30-18:00"),
        ("region,mon_fri,sat,sun\nGB,٨-21,8-21,8-21\n", "line 2", "mon_fri"),
        ("region,mon_fri,sat,sun,channel\nGB,8-21,8-21,8-21,fax\n", "line 2", "both, voice, sms"),
        ("region,mon_fri,sat,sun,mode\nGB,8-21,8-21,8-21,x\n", "line 2", "any, automated"),
        ("region,mon_fri,sat,sun,purpose\nGB,8-21,8-21,8-21,x\n", "line 2", "any, marketing, informational"),
        ("region,mon_fri,sat,sun,from\nGB,8-21,8-21,8-21,18.10.2026\n", "line 2", "such as 2026-10-18"),
        (
            "region,mon_fri,sat,sun,from,until\nGB,8-21,8-21,8-21,2026-10-18,2026-10-18\n",
            "line 2",
            "until is not after from",
        ),
        ("region,mon_fri,sat,sun,holidays\nGB,8-21,8-21,8-21,maybe\n", "line 2", "holidays 'maybe'"),
        ("region,mon_fri,sat,sun,holidays\nAC,8-21,8-21,8-21,none\n", "line 2", "no calendar is known for AC"),
        ("region,mon_fri,sat,sun,holidays\n*,8-21,8-21,8-21,none\n", "line 2", "no calendar"),
        ("region,mon_fri,sat,sun,also_clock\nGB,8-21,8-21,8-21,Mars\n", "line 2", "also_clock 'Mars'"),
        ("region,mon_fri,sat,sun,max_attempts\nGB,8-21,8-21,8-21,3\n", "line 2", "go together"),
        ("region,mon_fri,sat,sun,max_attempts\nGB,8-21,8-21,8-21,-3\n", "line 2", "whole number above 0"),
        ("region,mon_fri,sat,sun\nGB,8-21,8-21,8-21\x00\n", "line 2", "CSV|sun"),
    ],
)
def test_a_faulty_file_names_line_and_remedy(text: str, line: str, words: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        parse_rows(text)
    assert line in raised.value.fields
    assert any(word in str(raised.value.fields[line]) for word in words.split("|"))


def test_all_faulty_lines_are_named_up_to_a_number() -> None:
    lines = ["region,mon_fri,sat,sun", *("XX,1,2,3" for _ in range(30))]
    with pytest.raises(InvalidInput) as raised:
        parse_rows("\n".join(lines))
    assert len(raised.value.fields) == states.MOST_FAULTS
    assert "and 10 more" in raised.value.message
    assert str(raised.value.fields["line 2"]).count("such as") >= 3  # every fault of the line


@pytest.mark.usefixtures("built_in_afterwards")
def test_an_operator_opens_a_country() -> None:
    monday = datetime(2026, 6, 15, 3, 0, tzinfo=UTC)  # 13:00 in Sydney, 9:30 on the Cocos Islands
    assert hours("voice").at(whereabouts(SYDNEY), monday).reason == "no_rule_for_country"
    before = rules().version
    assert use_rows(AUSTRALIA) == 1
    assert rules().version.startswith(f"{before} +")
    window = hours("voice").at(whereabouts(SYDNEY), monday)
    assert window.open
    assert window.closes_at == datetime(2026, 6, 15, 9, 30, tzinfo=UTC)  # 20:00 on Lord Howe Island
    assert (
        not hours("voice").at(whereabouts(SYDNEY), datetime(2028, 4, 25, 3, 0, tzinfo=UTC)).open
    )  # Anzac Day, a Tuesday
    use_rows("")
    assert rules().version == before
    assert not hours("voice").at(whereabouts(SYDNEY), monday).open


@pytest.mark.usefixtures("built_in_afterwards")
def test_an_operators_rows_narrow_what_is_there_and_never_widen_it() -> None:
    evening, noon = datetime(2026, 6, 10, 2, 0, tzinfo=UTC), datetime(2026, 6, 10, 16, 30, tzinfo=UTC)
    use_rows("region,mon_fri,sat,sun\nUS-NY,00-24,00-24,00-24\nUS,09-17,none,none\n")
    new_york = whereabouts("+12125550123")
    assert not hours("voice").at(new_york, evening).open  # 22:00
    assert hours("voice").at(new_york, noon).closes_at == datetime(2026, 6, 10, 21, 0, tzinfo=UTC)


@pytest.mark.usefixtures("built_in_afterwards")
def test_a_country_is_closed_outside_the_dates_of_its_rows() -> None:
    use_rows("region,mon_fri,sat,sun,from\nDE,09-20,09-20,none,2026-07-01\n")
    window = hours("voice").at(whereabouts("+4915112345678"), datetime(2026, 6, 15, 10, 0, tzinfo=UTC))
    assert (window.open, window.reason) == (False, "no_rule_for_country")
    assert window.next_open_at == datetime(2026, 7, 1, 7, 0, tzinfo=UTC)


@pytest.mark.usefixtures("built_in_afterwards")
def test_faulty_rows_change_nothing() -> None:
    before = rules()
    with pytest.raises(InvalidInput):
        use_rows("region\nXX\n")
    assert rules() is before


def test_the_version_names_the_data() -> None:
    """When this fails, a data file has changed: raise the version in `state_rules.csv`, then mend the digest here."""
    data = [each for each in files("engine.rules.data").iterdir() if each.name.endswith((".csv", ".json"))]
    decide = sorted((each for each in data if each.name not in DECIDE_NOTHING), key=lambda each: each.name)
    digest = hashlib.sha256("".join(f"{each.name}\n{each.read_text('utf-8')}" for each in decide).encode()).hexdigest()
    libraries = f"tz{version('tzdata')} hd{version('holidays')} pn{version('phonenumbers')}"
    assert rules().version == f"2026-11-29.2 {libraries}"
    assert digest[:12] == "ee8c5b0ac17e"


@pytest.mark.parametrize(
    ("region", "day", "expected"),
    [
        ("US-LA", date(2026, 2, 17), True),  # Mardi Gras
        ("US-AL", date(2026, 2, 17), True),  # in two counties, of which a number says nothing
        ("US-MS", date(2026, 2, 17), False),
        ("US-LA", date(2026, 11, 1), True),  # All Saints' Day, a Sunday
        ("US-LA", date(2026, 11, 2), True),
        ("US-LA", date(2027, 11, 1), True),  # a Monday
        ("US-LA", date(2027, 11, 2), False),
        ("US-UT", date(2026, 7, 24), True),  # Pioneer Day
        ("US-RI", date(2026, 8, 10), True),  # Victory Day
        ("US-RI", date(2026, 10, 12), True),  # federal
        ("US-PA", date(2026, 7, 3), True),  # observed
        ("US-PA", date(2026, 7, 4), True),  # and actual
        ("US-PA", date(2026, 7, 6), False),
        ("US-NE", date(2026, 12, 25), True),
        ("US", date(2026, 11, 26), True),
        ("AU", date(2026, 4, 25), True),
        ("GB", date(2026, 12, 25), True),
    ],
)
def test_holidays(region: str, day: date, expected: bool) -> None:
    assert is_holiday(region, day) is expected


def test_calendars() -> None:
    assert has_calendar("AU")
    assert not has_calendar("XX")
