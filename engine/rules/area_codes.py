"""Area codes of the North American Numbering Plan that are in service: country, region, kind, candidate time zones.

Read once, on first use, from `data/area_codes.csv` (its first line names sources and versions; `build_area_codes.py`
beside it makes it). A code that is absent is not in service.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class AreaCode:
    """`region` is a US state or territory or a Canadian province (`""` elsewhere); `zones` are sorted IANA names,
    empty outside the US and Canada and for codes that belong to no place (toll-free, premium, personal)."""

    code: str
    country: str
    region: str
    kind: str
    zones: tuple[str, ...]


@cache
def area_codes() -> Mapping[str, AreaCode]:
    """Every code in service, by its three digits."""
    return {
        row["code"]: AreaCode(row["code"], row["country"], row["region"], row["kind"], tuple(row["zones"].split()))
        for row in csv.DictReader(_lines()[1:])
    }


@cache
def _lines() -> list[str]:
    return files("engine.rules.data").joinpath("area_codes.csv").read_text("utf-8").splitlines()
