"""Candidate time zones of a number, and the one place that loads zone rules.

A number names an area code, not a place, so it has a *set* of zones, and a window counts as open only when it is open
in all of them. An empty set means unknown, and unknown is never allowed: the prospect is held as `no_timezone`.
"""

import zoneinfo
from functools import cache
from importlib.metadata import version
from importlib.resources import files

from engine.rules.area_codes import area_codes
from engine.rules.phone import area_code, country_calling


def zones_of(e164: str) -> tuple[str, ...]:
    """Sorted IANA names, `()` when unknown (see `zone_problem`). Only US and Canadian numbers have zones so far."""
    return _zones_by_prefix().get(e164[:5], ()) if len(e164) == 12 else ()


def zone_problem(e164: str) -> str | None:
    """Why a number has no zones, in words; None when it has some."""
    if zones_of(e164):
        return None
    code = area_code(e164)
    if code is None:
        return f"no time zone data for country code +{country_calling(e164) or '?'}; only US and Canadian numbers"
    area = area_codes().get(code)
    if area is None:
        return f"area code {code} is not in service"
    if area.kind != "geographic":
        return f"area code {code} ({area.kind.replace('_', ' ')}) belongs to no place, so its local time is unknown"
    return f"no time zone data for area code {code} ({area.country})"


@cache
def zone(name: str) -> zoneinfo.ZoneInfo:
    """Rules of a zone from PyPI's `tzdata`, whatever the operating system has. Raises KeyError for an unknown name.

    Python prefers the system's copy, and Debian 12's is an hour wrong for Vancouver since 2026-11-02 (COMPLIANCE 4).
    """
    if name not in zone_names():
        raise KeyError(name)
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return zoneinfo.ZoneInfo.from_file(file, key=name)


@cache
def zone_names() -> frozenset[str]:
    """Every zone and alias in PyPI's `tzdata`."""
    return frozenset(files("tzdata").joinpath("zones").read_text("utf-8").split()) - {"Factory"}


@cache
def country_of_zone(name: str) -> str:
    """ISO 3166 code of the country that the zone belongs to, also by an old name; `""` for `UTC` and the like."""
    countries = _countries_of_zones()
    return countries.get(name) or countries.get(_links().get(name, ""), "")


def use_packaged_tzdata() -> str:
    """Make the rest of the process read PyPI's zone rules too; answers their version. The composition root calls it."""
    zoneinfo.reset_tzpath(())
    zoneinfo.ZoneInfo.clear_cache()
    return version("tzdata")


def state_of(e164: str) -> str:
    """State or province of the number's area code, as `US-CA`; `""` when it has none."""
    area = area_codes().get(area_code(e164) or "")
    return f"{area.country}-{area.region}" if area and area.region else ""


@cache
def _countries_of_zones() -> dict[str, str]:
    rows = (line.split("\t") for line in _tzdata("zone.tab") if not line.startswith("#"))
    return {row[2]: row[0] for row in rows}


@cache
def _links() -> dict[str, str]:
    """Old name → new name, as `US/Eastern` → `America/New_York`."""
    links = (line.split() for line in _tzdata("tzdata.zi") if line.startswith("L "))
    return {old: new for _, new, old in links}


def _tzdata(name: str) -> list[str]:
    return files("tzdata").joinpath("zoneinfo", name).read_text("utf-8").splitlines()


@cache
def _zones_by_prefix() -> dict[str, tuple[str, ...]]:
    return {f"+1{area.code}": area.zones for area in area_codes().values() if area.zones}
