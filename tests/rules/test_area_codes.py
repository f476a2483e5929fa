import pytest

from engine.rules.area_codes import area_codes
from engine.rules.data import build_area_codes
from engine.rules.zones import zone_names


def test_every_state_and_territory_has_codes() -> None:
    regions = {area.region for area in area_codes().values() if area.country == "US" and area.kind == "geographic"}
    assert len(regions) == 50 + 6  # the states, DC and five territories


def test_geographic_codes_of_the_us_and_canada_have_real_zones() -> None:
    for area in area_codes().values():
        if area.kind == "geographic" and area.country in ("US", "CA"):
            assert area.zones, area.code
            assert set(area.zones) <= zone_names(), area.code
            assert list(area.zones) == sorted(set(area.zones))
        else:
            assert area.zones == (), area.code


@pytest.mark.parametrize("code", ["800", "833", "888", "900", "500", "700", "710"])
def test_codes_of_no_place(code: str) -> None:
    assert area_codes()[code].kind != "geographic"


@pytest.mark.parametrize("code", ["465", "471", "483", "679", "457", "748", "942"])
def test_newer_codes_are_in_service(code: str) -> None:
    assert code in area_codes()


@pytest.mark.parametrize("code", ["273", "565", "761", "411", "911", "555", "000"])
def test_codes_not_in_service(code: str) -> None:
    assert code not in area_codes()


def test_overlays_share_their_zones() -> None:
    for row in build_area_codes.nanpa_rows():
        for overlay in row["codes"].split():
            codes = overlay.split("/")
            if len(codes) == 2:
                assert area_codes()[codes[0]].zones == area_codes()[codes[1]].zones


def test_the_committed_file_is_what_the_generator_makes() -> None:
    built = {
        code: (country, region, kind, tuple(sorted(zones)))
        for code, (country, region, kind, zones) in build_area_codes.build().items()
    }
    assert {area.code: (area.country, area.region, area.kind, area.zones) for area in area_codes().values()} == built
