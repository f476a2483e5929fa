"""What an account's carrier allows it: its `limits` setting, read into values.

    {"callsPerSecond": 10, "messagesPerSecond": 20, "concurrentCalls": 200, "tenDlc": {"score": 60}}

An account is one account at its carrier, one 10DLC brand and one registered campaign. Caps of 10DLC are by the brand's
vetting score, or by its kind; `data/ten_dlc.json` has them with their source.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any

from engine.rules.fields import ABSENT, Fields, Problems, shown
from engine.rules.zones import zone

LEAST_PER_SECOND = 0.001  # one in a quarter of an hour; who wants less wants a pause
MOST_PER_SECOND = 10_000.0
MOST_CONCURRENT = 1_000_000

_FIELDS = frozenset({"callsPerSecond", "messagesPerSecond", "concurrentCalls", "tenDlc"})
_TEN_DLC = frozenset({"score", "kind"})
_PACIFIC = "America/Los_Angeles"


@dataclass(frozen=True, slots=True)
class TenDlc:
    """Parts of messages. Whose network a number is on is not known here, so every part counts against both caps."""

    parts_per_minute: int  # AT&T, per registered campaign
    parts_per_day: int  # T-Mobile, per brand; the day ends at midnight Pacific


@dataclass(frozen=True, slots=True)
class AccountLimits:
    """None: not limited here."""

    calls_per_second: float | None = None
    messages_per_second: float | None = None
    concurrent_calls: int | None = None
    ten_dlc: TenDlc | None = None


UNLIMITED = AccountLimits()
# Of an account whose setting cannot be read: a mistake must be slow and seen, not fast.
SLOWEST = AccountLimits(1.0, 1.0, 1, TenDlc(15, 1_000))


def parse_limits(value: object) -> AccountLimits:
    """Raises InvalidInput whose `fields` name every fault (`limits.callsPerSecond`, …)."""
    problems = Problems()
    fields = Fields(value, "limits", problems, _FIELDS)
    limits = AccountLimits(
        calls_per_second=_rate(fields, "callsPerSecond"),
        messages_per_second=_rate(fields, "messagesPerSecond"),
        concurrent_calls=fields.whole("concurrentCalls", 1, MOST_CONCURRENT, "number of calls"),
        ten_dlc=_ten_dlc(fields, problems),
    )
    problems.raise_if_any("limits")
    return limits


def _rate(fields: Fields, key: str) -> float | None:
    value = fields.get(key)
    if value is ABSENT:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and LEAST_PER_SECOND <= value <= MOST_PER_SECOND:
        return float(value)
    fields.fault(key, f"{shown(value)} is not a rate; give a number from {LEAST_PER_SECOND:g} to {MOST_PER_SECOND:g}")
    return None


def _ten_dlc(fields: Fields, problems: Problems) -> TenDlc | None:
    value = fields.get("tenDlc")
    if value is ABSENT:
        return None
    given = Fields(value, fields.path("tenDlc"), problems, _TEN_DLC)
    table, score = _table(), given.whole("score", 0, 100, "vetting score")
    if given.get("kind") is not ABSENT:
        caps = table["kinds"][given.choice("kind", tuple(table["kinds"]))]
        return TenDlc(caps["att_parts_per_minute"], caps["tmobile_parts_per_day"])
    if given.get("score") is ABSENT:
        given.fault("score", f"is required; give the brand's vetting score, or kind: {' or '.join(table['kinds'])}")
    return ten_dlc_of(score or 0)


def ten_dlc_of(score: int) -> TenDlc:
    """The caps of a brand by its vetting score, 0 (not vetted) to 100."""
    table = _table()
    return TenDlc(_row(table["att_parts_per_minute"], score), _row(table["tmobile_parts_per_day"], score))


def pacific_day(now: datetime) -> int:
    """The day, as its ordinal, whose messages count together: it ends at midnight Pacific."""
    return now.astimezone(zone(_PACIFIC)).toordinal()


def next_pacific_midnight(now: datetime) -> datetime:
    local = now.astimezone(zone(_PACIFIC))
    return (local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0) + timedelta(days=1)).astimezone(UTC)


def _row(rows: list[tuple[int, int]], score: int) -> int:
    return next(most for least, most in rows if score >= least)


@cache
def _table() -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((files("engine.rules") / "data" / "ten_dlc.json").read_text())
    return found
