"""How long a suppressed number is kept: five years, or what a state that it may belong to asks for beyond that.

The years are `data/suppression_terms.csv`, with their source. Nothing is forgotten before its term is over.
"""

import csv
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from importlib.resources import files

from engine.rules.whereabouts import UNKNOWN, whereabouts

_EVERYWHERE = "*"


class Scope(StrEnum):
    """What a suppressed number is left alone on."""

    ALL = "all"
    VOICE = "voice"
    SMS = "sms"


def least_years() -> int:
    """What holds everywhere: nothing younger need be looked at."""
    return _years()[_EVERYWHERE]


def years(phone: str) -> int:
    """The longest term of all the places that this E.164 number may be of; of a state unknown, the longest of all."""
    table = _years()
    regions = whereabouts(phone).regions
    if not regions or any(region.endswith(f"-{UNKNOWN}") for region in regions):
        return max(table.values())
    return max(table.get(region, table[_EVERYWHERE]) for region in regions)


def may_forget(phone: str, since: datetime, now: datetime) -> bool:
    """Whether the term of a number that was suppressed at `since` is over. Both are aware."""
    return now >= term_end(since, years(phone))


def term_end(since: datetime, term_years: int) -> datetime:
    """The same day so many years later; 29 February ends on 1 March."""
    start = since.astimezone(UTC)
    try:
        return start.replace(year=start.year + term_years)
    except ValueError:
        return start.replace(year=start.year + term_years, month=3, day=1)


@cache
def _years() -> Mapping[str, int]:
    lines = files("engine.rules.data").joinpath("suppression_terms.csv").read_text("utf-8").splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return {row["region"]: int(row["years"]) for row in rows}
