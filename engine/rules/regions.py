"""States and provinces: their names, their time zones, and what a postal code says of them."""

import csv
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from engine.rules.area_codes import area_codes

# An area code that several provinces share is listed under the first; the others are as likely.
_SHARED = {"CA-NS": ("CA-PE",), "CA-NT": ("CA-NU", "CA-YT")}
_PROVINCES_BY_POSTAL_LETTER = {
    "A": "CA-NL",
    "B": "CA-NS",
    "C": "CA-PE",
    "E": "CA-NB",
    "R": "CA-MB",
    "S": "CA-SK",
    "T": "CA-AB",
    "V": "CA-BC",
    "X": "CA-NT",
    "Y": "CA-YT",
    **dict.fromkeys("GHJ", "CA-QC"),
    **dict.fromkeys("KLMNP", "CA-ON"),
}


class Located(NamedTuple):
    """What is known of an address: `regions` and `zones` may each be empty, for "somewhere, nobody knows where"."""

    regions: tuple[str, ...]
    zones: tuple[str, ...]


NOWHERE = Located((), ())


@cache
def region_codes() -> frozenset[str]:
    """`US-NY`, `CA-ON`, …: every state, territory and province."""
    return frozenset(row["code"] for row in _read("regions.csv"))


def with_neighbours(region: str) -> tuple[str, ...]:
    """The region and those that share its area codes."""
    return (region, *_SHARED.get(region, ()))


def by_name(text: str) -> Located | None:
    """A state or province by code (`ny`, `US-NY`) or English name; None when it is neither."""
    region = _names().get(" ".join(text.replace(".", "").lower().split()))
    return Located((region,), zones_of_region(region)) if region else None


def by_postal_code(text: str) -> Located | None:
    """Of a ZIP (also ZIP+4, or without the leading zeros that spreadsheets drop) or a Canadian code; None when it is
    none. A military ZIP is `NOWHERE`: its people are abroad."""
    code = text.replace(" ", "").upper()
    if code[:1].isalpha():
        region = _PROVINCES_BY_POSTAL_LETTER.get(code[0]) if len(code) >= 3 and code[1].isdecimal() else None
        return Located(with_neighbours(region), zones_of_region(region)) if region else None
    digits = code.partition("-")[0].partition(".")[0]
    if not (digits.isascii() and digits.isdecimal()):
        return None
    if len(digits) == 9:  # ZIP+4 without its dash
        digits = digits[:5]
    return _zip(digits.zfill(5)) if 3 <= len(digits) <= 5 else None


@cache
def zones_of_region(region: str) -> tuple[str, ...]:
    """Every zone of the region: of its ZIP codes, or where it has none, of its area codes, which spill over borders."""
    by_region = _zones_by_region()
    zones = by_region.get(region) or next((by_region[first] for first, more in _SHARED.items() if region in more), ())
    return tuple(sorted(zones))


def _zip(code: str) -> Located | None:
    starts, rows = _zips()
    place = bisect_right(starts, code) - 1
    if place < 0 or code > rows[place][0]:
        return None
    return rows[place][1]


@cache
def _zips() -> tuple[list[str], list[tuple[str, Located]]]:
    """First ZIP codes, ascending, and for each the last one with what they share."""
    rows = list(_read("zip_codes.csv"))
    located = [Located((row["region"],) if row["region"] else (), tuple(row["zones"].split())) for row in rows]
    return [row["first"] for row in rows], [(row["last"], each) for row, each in zip(rows, located, strict=True)]


@cache
def _names() -> Mapping[str, str]:
    names: dict[str, str] = {}
    for row in _read("regions.csv"):
        code = row["code"]
        for name in (code, code[3:], row["name"].replace(".", "")):
            names[name.lower()] = code
    return names


@cache
def _zones_by_region() -> Mapping[str, set[str]]:
    by_zip: dict[str, set[str]] = {}
    for _, located in _zips()[1]:
        for region in located.regions:
            by_zip.setdefault(region, set()).update(located.zones)
    by_area: dict[str, set[str]] = {}
    for area in area_codes().values():
        if area.region and area.zones:
            by_area.setdefault(f"{area.country}-{area.region}", set()).update(area.zones)
    return by_area | by_zip


def _read(name: str) -> Iterator[dict[str, str]]:
    lines = files("engine.rules.data").joinpath(name).read_text("utf-8").splitlines()
    yield from csv.DictReader(line for line in lines if not line.startswith("#"))
