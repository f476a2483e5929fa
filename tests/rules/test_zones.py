import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import pytest

from engine.rules.zones import state_of, use_packaged_tzdata, zone, zone_names, zone_problem, zones_of

NY, CHI, DEN, LA, PHX = (f"America/{city}" for city in ("New_York", "Chicago", "Denver", "Los_Angeles", "Phoenix"))


@pytest.mark.parametrize(
    ("code", "must", "must_not"),
    [
        ("928", {PHX, DEN}, {NY}),  # Navajo Nation
        ("219", {CHI, NY}, set()),  # Gary and the east of it
        ("850", {CHI, NY}, set()),
        ("448", {CHI, NY}, set()),  # 850's overlay
        ("915", {CHI, DEN}, set()),
        ("931", {CHI, NY}, set()),
        ("364", {CHI, NY}, set()),
        ("458", {LA, DEN}, set()),
        ("986", {LA, DEN}, set()),
        ("689", {NY}, {CHI}),  # Orlando, wrong in phonenumbers
        ("907", {"America/Anchorage", "America/Adak"}, {"Pacific/Honolulu"}),
        ("775", {LA, DEN}, set()),
        ("808", {"Pacific/Honolulu"}, set()),
        ("787", {"America/Puerto_Rico"}, set()),
        ("671", {"Pacific/Guam"}, set()),
        ("670", {"Pacific/Saipan"}, set()),
        ("684", {"Pacific/Pago_Pago"}, set()),
        ("303", {DEN}, {CHI}),  # one wrong ZIP code in Oklahoma
        ("415", {LA}, {DEN, CHI, NY}),
        ("483", {CHI, NY}, set()),  # opened 2026: zones come through its overlay 334
        ("604", {"America/Vancouver", "America/Edmonton"}, set()),
        ("306", {"America/Regina"}, set()),
        ("709", {"America/St_Johns", "America/Goose_Bay"}, set()),
    ],
)
def test_zones_of_an_area_code(code: str, must: set[str], must_not: set[str]) -> None:
    zones = zones_of(f"+1{code}5550123")
    assert must <= set(zones)
    assert not must_not & set(zones)
    assert list(zones) == sorted(zones)
    assert zone_problem(f"+1{code}5550123") is None


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("+18005550123", "toll free"),
        ("+19005550123", "premium"),
        ("+15005550123", "personal"),
        ("+18765550123", "JM"),
        ("+442079460018", "+44"),
        ("+12735550123", "not in service"),
        ("+1415555012", "+1"),
        ("", "+?"),
    ],
)
def test_unknown_zones_say_why(number: str, words: str) -> None:
    assert zones_of(number) == ()
    assert words in (zone_problem(number) or "")


def test_rules_of_a_zone_come_from_the_package() -> None:
    # tzdata 2026.6: British Columbia keeps UTC-7 from 2026-11-01 on; an older system copy says UTC-8.
    assert datetime(2026, 12, 1, tzinfo=zone("America/Vancouver")).utcoffset() == timedelta(hours=-7)
    assert len(zone_names()) > 590
    for bad in ("Mars/Base", "../etc/passwd", "", "Factory"):
        with pytest.raises(KeyError):
            zone(bad)


@pytest.fixture
def tzpath_restored() -> Iterator[None]:
    before = zoneinfo.TZPATH
    yield
    zoneinfo.reset_tzpath(before)
    zoneinfo.ZoneInfo.clear_cache()


@pytest.mark.usefixtures("tzpath_restored")
def test_the_whole_process_can_be_made_to_read_the_package() -> None:
    assert use_packaged_tzdata() == version("tzdata")
    assert zoneinfo.TZPATH == ()
    december = datetime(2026, 12, 1, tzinfo=UTC)
    assert december.astimezone(zoneinfo.ZoneInfo("America/Vancouver")).utcoffset() == timedelta(hours=-7)


def test_state_of() -> None:
    assert state_of("+14155550123") == "US-CA"
    assert state_of("+14165550123") == "CA-ON"
    assert state_of("+18005550123") == state_of("+442079460018") == ""
