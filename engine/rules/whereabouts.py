"""Where a person may be: every time zone and every state whose law may bind, from the number and an import's columns.

A number names an area code, not a place, and people move and keep their numbers. So zones and regions are *sets*, and
whatever is added can only narrow the hours. Columns of an import add to what the number says: `zip` (or `postal_code`),
`state`, `timezone`. With `location_verified` true, which only the account itself can say, their zones replace those of
the number; its state stays in the set even then, since some laws reach every number of their area codes (COMPLIANCE 2).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import NamedTuple

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberType
from phonenumbers.tzdata import TIMEZONE_DATA

from engine.rules.area_codes import area_codes
from engine.rules.regions import NOWHERE, Located, by_name, by_postal_code, with_neighbours
from engine.rules.zones import country_of_zone, zone_names

UNKNOWN = "?"  # `US-?`: in the country, in a state that could not be read; every state's row binds

_OF_A_PLACE = frozenset(
    {PhoneNumberType.FIXED_LINE, PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE}
)  # all others belong to no place: toll-free, premium, personal, internet
_POSTAL = ("zip", "zipcode", "postalcode")
_LOCATION = frozenset({*_POSTAL, "state", "timezone", "locationverified"})
_TRUE = frozenset({"true", "t", "yes", "y", "1"})
_TERRITORIES = frozenset({"AS", "GU", "MP", "PR", "VI"})  # countries to ISO, under US law
_MILITARY = frozenset({"AA", "AE", "AP"})
_ZONE_WORDS = {
    **dict.fromkeys(("eastern", "et", "est", "edt"), "America/New_York"),
    **dict.fromkeys(("central", "ct", "cst", "cdt"), "America/Chicago"),
    **dict.fromkeys(("mountain", "mt", "mst", "mdt"), "America/Denver"),
    **dict.fromkeys(("pacific", "pt", "pst", "pdt"), "America/Los_Angeles"),
    **dict.fromkeys(("alaska", "akt", "akst", "akdt"), "America/Anchorage"),
    **dict.fromkeys(("hawaii", "hst"), "Pacific/Honolulu"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Candidates, sorted. Equal places are one object wherever they come from a cache: verdicts are remembered by it.

    `zones` empty: the local time is unknown. `regions` are countries (`GB`) or their states (`US-NY`, `US-?`).
    """

    zones: tuple[str, ...]
    regions: tuple[str, ...]

    @property
    def countries(self) -> tuple[str, ...]:
        return tuple(sorted({region[:2] for region in self.regions}))


def whereabouts(e164: str, data: Mapping[str, object] | None = None) -> Place:
    """Candidates of a number and, when given, of its row's further columns (names in any case)."""
    place = _by_prefix().get(e164[:5]) if len(e164) == 12 else None
    if place is None:
        place = _elsewhere(e164)
    if not data:
        return place
    columns = _columns(tuple(data))
    if columns is None:
        return place
    postal_code, state, timezone, verified = map(data.get, columns)
    return _widened(place, _text(postal_code), _text(state), _text(timezone), _text(verified))


@lru_cache(maxsize=65_536)
def place_of(zones: frozenset[str], regions: frozenset[str]) -> Place:
    """The one object for these candidates."""
    return Place(tuple(sorted(zones)), tuple(sorted(regions)))


def is_of_location(name: str) -> bool:
    """Whether an import's column of this name says something of where somebody is."""
    return _plain_name(name) in _LOCATION


class _Columns(NamedTuple):
    """Names of the columns that say where somebody is; empty for those that the import lacks."""

    postal_code: str
    state: str
    timezone: str
    verified: str


@lru_cache(maxsize=4096)
def _columns(names: tuple[str, ...]) -> _Columns | None:
    known = {_plain_name(name): name for name in reversed(names)}
    postal = next((known[name] for name in _POSTAL if name in known), "")
    found = _Columns(postal, known.get("state", ""), known.get("timezone", ""), known.get("locationverified", ""))
    return found if any(found[:3]) else None


def _plain_name(name: str) -> str:
    return name.strip().lower().replace("_", "").replace(" ", "")


def _text(value: object) -> str:
    return value if type(value) is str else "" if value is None else str(value)


@lru_cache(maxsize=65_536)
def _widened(place: Place, postal_code: str, state: str, timezone: str, verified: str) -> Place:
    """The place with what its columns say. One that cannot be read is an unknown, and unknown is never allowed."""
    postal_code, state, timezone, verified = (cell.strip() for cell in (postal_code, state, timezone, verified))
    if not place.zones or not (postal_code or state or timezone):
        return place  # toll-free and the like stay held, whatever the address: nobody owns such a number for long
    zones: set[str] = set()
    regions = set(place.regions)
    has_unknown_zone = is_unreadable = False
    for located in _addresses(postal_code, state):
        if located is None:
            is_unreadable = True
            regions |= {f"{country}-{UNKNOWN}" for country in place.countries}
            continue
        has_unknown_zone |= not located.zones
        zones |= set(located.zones)
        regions |= set(located.regions)
    if timezone:
        name = _zone_name(timezone)
        has_unknown_zone |= not name
        zones |= {name} - {""}
        regions |= _law_of_zone(name) - {region[:2] for region in regions}
    if has_unknown_zone:
        return place_of(frozenset(), frozenset(regions))
    is_verified = verified.lower() in _TRUE and bool(zones) and not is_unreadable
    return place_of(frozenset(zones if is_verified else zones.union(place.zones)), frozenset(regions))


def _law_of_zone(name: str) -> set[str]:
    country = country_of_zone(name)
    return {f"US-{country}" if country in _TERRITORIES else country} - {""}


def _addresses(postal_code: str, state: str) -> list[Located | None]:
    """What the address says, one for each of its parts that adds something; None for one that cannot be read."""
    found = [by_postal_code(postal_code)] if postal_code else []
    if not state:
        return found
    located = NOWHERE if state.upper() in _MILITARY else by_name(state)
    if located and found and found[0] and set(located.regions) & set(found[0].regions):
        return found  # the state that the ZIP is in: it has more zones than the ZIP
    return [*found, located]


@lru_cache(maxsize=4096)
def _zone_name(text: str) -> str:
    if text in zone_names():
        return text
    return _ZONE_WORDS.get(text.lower().removesuffix(" time").removesuffix(" standard").strip(), "")


@cache
def _by_prefix() -> dict[str, Place]:
    """Of North American numbers by `+1` and area code, where these have zones."""
    places = {}
    for area in area_codes().values():
        if area.zones:
            regions = with_neighbours(f"{area.country}-{area.region}")
            places[f"+1{area.code}"] = place_of(frozenset(area.zones), frozenset(regions))
    return places


@lru_cache(maxsize=65_536)
def _elsewhere(e164: str) -> Place:
    """A number without a zone in our own data: by its country, and in any of that country's zones."""
    area = area_codes().get(e164[2:5]) if len(e164) == 12 and e164.startswith("+1") else None
    if area is not None:
        names = TIMEZONE_DATA.get(e164[1:5], ()) if area.kind == "geographic" and area.country else ()
        return place_of(frozenset(names), frozenset({area.country} - {""}))
    try:
        number = phonenumbers.parse(e164)
    except NumberParseException:
        return place_of(frozenset(), frozenset())
    country = phonenumbers.region_code_for_number(number) or ""
    if not country.isalpha() or number.country_code == 1:  # 001: the whole world
        return place_of(frozenset(), frozenset())
    is_of_a_place = phonenumbers.number_type(number) in _OF_A_PLACE
    names = TIMEZONE_DATA.get(str(number.country_code), ()) if is_of_a_place else ()
    return place_of(frozenset(names), frozenset({country}))
