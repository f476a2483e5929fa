"""Candidates of a number and of an import's columns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.rules.area_codes import area_codes
from engine.rules.regions import by_name, by_postal_code, region_codes, zones_of_region
from engine.rules.whereabouts import Place, whereabouts
from engine.rules.zones import country_of_zone, zone_names

NY, CHI, DEN, LA, PHX = (f"America/{city}" for city in ("New_York", "Chicago", "Denver", "Los_Angeles", "Phoenix"))
NEW_YORKER = "+12125550123"


@pytest.mark.parametrize(
    ("data", "zones", "regions"),
    [
        (None, (NY,), ("US-NY",)),
        ({}, (NY,), ("US-NY",)),
        ({"first name": "Ann", "city": "Reno"}, (NY,), ("US-NY",)),  # columns that say nothing of the place
        ({"zip": "", "state": " ", "timezone": ""}, (NY,), ("US-NY",)),
        # Added to what the number says, never instead of it.
        ({"zip": "90210"}, (LA, NY), ("US-CA", "US-NY")),
        ({"ZIP Code": "90210-1234"}, (LA, NY), ("US-CA", "US-NY")),
        ({"postal_code": "902101234"}, (LA, NY), ("US-CA", "US-NY")),
        ({"zip": 2139}, (NY,), ("US-MA", "US-NY")),  # a spreadsheet drops leading zeros
        ({"zip": "501"}, (NY,), ("US-NY",)),
        ({"State": "tx"}, (CHI, DEN, NY), ("US-NY", "US-TX")),
        ({"state": "New  Mexico"}, (DEN, NY), ("US-NM", "US-NY")),
        ({"state": "US-NM"}, (DEN, NY), ("US-NM", "US-NY")),
        ({"state": "D.C."}, (NY,), ("US-DC", "US-NY")),
        ({"zip": "79901", "state": "TX"}, (DEN, NY), ("US-NY", "US-TX")),  # the ZIP is more exact than its state
        ({"zip": "90210", "state": "NV"}, (DEN, LA, NY), ("US-CA", "US-NV", "US-NY")),
        ({"timezone": "America/Denver"}, (DEN, NY), ("US-NY",)),
        ({"Time Zone": "Mountain Time"}, (DEN, NY), ("US-NY",)),
        ({"timezone": "pst"}, (LA, NY), ("US-NY",)),
        ({"timezone": "US/Pacific"}, (NY, "US/Pacific"), ("US-NY",)),
        ({"timezone": "Europe/London"}, (NY, "Europe/London"), ("GB", "US-NY")),  # whose law is not known: closed
        ({"timezone": "America/Toronto"}, (NY, "America/Toronto"), ("CA", "US-NY")),
        ({"timezone": "Pacific/Guam"}, (NY, "Pacific/Guam"), ("US-GU", "US-NY")),
        ({"zip": "M5V 3L9"}, None, ("CA-ON", "US-NY")),
        ({"zip": "00601"}, (NY, "America/Puerto_Rico"), ("US-NY", "US-PR")),
        # Verified by the account: the place is there, and the number's state keeps its say.
        ({"zip": "90210", "location_verified": "TRUE"}, (LA,), ("US-CA", "US-NY")),
        ({"timezone": "America/Denver", "Location Verified": 1}, (DEN,), ("US-NY",)),
        ({"state": "HI", "location_verified": "y"}, ("Pacific/Honolulu",), ("US-HI", "US-NY")),
        ({"zip": "90210", "location_verified": "no"}, (LA, NY), ("US-CA", "US-NY")),
        ({"location_verified": "yes"}, (NY,), ("US-NY",)),
        # What cannot be read is unknown, and unknown is never allowed more than anything that it might be.
        ({"zip": "9021O"}, (NY,), ("US-?", "US-NY")),
        ({"zip": "99999"}, (NY,), ("US-?", "US-NY")),
        ({"state": "Calif"}, (NY,), ("US-?", "US-NY")),
        ({"state": "Calif", "zip": "90210", "location_verified": "yes"}, (LA, NY), ("US-?", "US-CA", "US-NY")),
        ({"timezone": "the usual"}, (), ("US-NY",)),
        ({"zip": "09001"}, (), ("US-NY",)),  # a soldier abroad
        ({"state": "AE", "zip": "90210", "location_verified": "yes"}, (), ("US-CA", "US-NY")),
    ],
)
def test_columns(data: dict[str, object] | None, zones: tuple[str, ...] | None, regions: tuple[str, ...]) -> None:
    place = whereabouts(NEW_YORKER, data)
    assert zones is None or place.zones == zones
    assert place.regions == regions


@pytest.mark.parametrize(
    ("phone", "zones", "regions"),
    [
        ("+18005550123", (), ()),
        ("+19005550123", (), ()),
        ("+15005550123", (), ()),
        ("+16005550123", (), ("CA",)),
        ("+12735550123", (), ()),  # not in service
        ("+19025550123", ("America/Halifax",), ("CA-NS", "CA-PE")),  # one code, two provinces
        ("+18765550123", ("America/Jamaica",), ("JM",)),
        ("+4915112345678", ("Europe/Berlin",), ("DE",)),
        ("+448001111111", (), ("GB",)),  # toll-free
        ("+61412345678", None, ("AU",)),
        ("+883510001234", (), ()),  # of no country
        ("+999", (), ()),
        ("", (), ()),
        ("nonsense", (), ()),
    ],
)
def test_numbers(phone: str, zones: tuple[str, ...] | None, regions: tuple[str, ...]) -> None:
    place = whereabouts(phone)
    assert zones is None or place.zones == zones
    assert place.regions == regions


def test_a_mobile_number_abroad_may_be_anywhere_in_its_country() -> None:
    assert {"Australia/Sydney", "Australia/Perth", "Indian/Christmas"} <= set(whereabouts("+61412345678").zones)


def test_a_toll_free_number_stays_unknown_whatever_its_address() -> None:
    assert whereabouts("+18005550123", {"zip": "90210", "location_verified": "yes"}).zones == ()


def test_equal_candidates_are_one_object() -> None:
    """Verdicts are remembered by it."""
    assert whereabouts("+12125550123") is whereabouts("+16465550199")
    assert whereabouts(NEW_YORKER, {"zip": "90210"}) is whereabouts("+17185550123", {"Zip": " 90211 "})


cells = st.sampled_from(
    ["", "90210", "2139", "79901", "M5V 3L9", "TX", "ontario", "Calif", "09001", "America/Denver", "est", "mars", "AE"]
) | st.text(max_size=12)


@given(
    st.sampled_from(sorted(area_codes())),
    st.fixed_dictionaries({"zip": cells, "state": cells, "timezone": cells}),
)
def test_unverified_columns_only_ever_add(code: str, data: dict[str, str]) -> None:
    bare, told = whereabouts(f"+1{code}5550123"), whereabouts(f"+1{code}5550123", data)
    assert set(bare.regions) <= set(told.regions)
    assert not told.zones or set(bare.zones) <= set(told.zones)
    assert_sound(told)


@given(st.text(max_size=20), st.dictionaries(st.text(max_size=8), st.text(max_size=8) | st.none() | st.integers()))
def test_any_input_gives_candidates(phone: str, data: dict[str, object]) -> None:
    assert_sound(whereabouts(phone, data))


def assert_sound(place: Place) -> None:
    assert list(place.zones) == sorted(place.zones)
    assert set(place.zones) <= zone_names()
    assert list(place.regions) == sorted(place.regions)


def test_every_state_has_zones_and_a_name() -> None:
    assert len(region_codes()) == 50 + 1 + 5 + 13
    for region in region_codes():
        assert zones_of_region(region), region
        assert by_name(region) == by_name(region[3:]), region
    assert {f"{area.country}-{area.region}" for area in area_codes().values() if area.region} <= region_codes()


@pytest.mark.parametrize(
    ("code", "region", "zones"),
    [
        ("10001", "US-NY", (NY,)),
        ("32501", "US-FL", (CHI,)),  # Pensacola
        ("79901", "US-TX", (DEN,)),  # El Paso
        ("86001", "US-AZ", (PHX,)),  # Flagstaff
        ("86503", "US-AZ", (DEN, PHX)),  # Chinle: both, for the package does not say who keeps daylight time
        ("86040", "US-AZ", (DEN, PHX)),  # Page, which the package has on the Nation's clock
        ("89883", "US-NV", (DEN, LA)),  # West Wendover, on Utah's clock
        ("73946", "US-OK", (CHI, DEN)),  # Kenton
        ("99546", "US-AK", ("America/Adak",)),
        ("96799", "US-AS", ("Pacific/Pago_Pago",)),
    ],
)
def test_postal_codes_on_borders(code: str, region: str, zones: tuple[str, ...]) -> None:
    assert by_postal_code(code) == ((region,), zones)


@pytest.mark.parametrize("code", ["", "-", "1", "12", "00000", "123456", "M", "D1A 1A1", "MMM", "٣٣٣٣٣"])
def test_no_postal_codes(code: str) -> None:
    assert by_postal_code(code) is None


@pytest.mark.parametrize(
    ("name", "country"),
    [
        (NY, "US"),
        ("US/Eastern", "US"),
        ("America/Toronto", "CA"),
        ("America/Montreal", "CA"),
        (PHX, "US"),
        ("UTC", ""),
        ("", ""),
        ("Mars/Base", ""),
    ],
)
def test_country_of_zone(name: str, country: str) -> None:
    assert country_of_zone(name) == country
