"""How often a person may be contacted: marketing contacts of one account in a sliding period, over all its campaigns
and channels, answered or not.

Several caps bind together: the account's, the campaign's, and those of every state whose law may reach the person. A
contact counts from its instant until, not including, the instant one period later. A state's cap counts every contact,
also those of a channel or kind that its law leaves alone: too few is no offence.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from engine.errors import InvalidInput
from engine.rules.duration import parse_duration
from engine.rules.fields import ABSENT, Fields, Problems
from engine.rules.states import MOST_PERIOD_H, Row

MOST_CONTACTS = 100
LONGEST_PERIOD_S = MOST_PERIOD_H * 3600
_SHORTEST_PERIOD_S = 60
_FIELDS = frozenset({"max", "per"})


class Cap(NamedTuple):
    most: int
    period_s: int
    rule: str = "account"  # whose it is: `account`, `campaign`, or a region such as `US-ME`


DEFAULT_CAP = Cap(3, 86_400)  # COMPLIANCE 2: what the strictest states have in 24 h, kept everywhere


class Full(NamedTuple):
    """No room until `free_at`, by the cap that frees last."""

    free_at: datetime
    cap: Cap


def full(contacts: Sequence[datetime], caps: Iterable[Cap], now: datetime) -> Full | None:
    """Whether one more contact now would exceed a cap, given the earlier ones in any order; None: it would not."""
    latest_first = sorted(contacts, reverse=True)
    found: Full | None = None
    for cap in caps:
        if len(latest_first) < cap.most:
            continue
        frees_at = latest_first[cap.most - 1] + timedelta(seconds=cap.period_s)
        if frees_at > now and (found is None or frees_at > found.free_at):
            found = Full(frees_at, cap)
    return found


def caps_of_rows(rows: Iterable[Row], now: datetime) -> list[Cap]:
    """The caps among the law's rows that bind; `now` is aware, and a row's dates are taken in UTC."""
    today = now.date()
    return [
        Cap(row.max_attempts, row.period_h * 3600, row.region)
        for row in rows
        if row.max_attempts is not None and row.period_h is not None and row.is_in_force(today)
    ]


def read_cap(fields: Fields, problems: Problems, rule: str, key: str = "frequencyCap") -> Cap | None:
    """`{"max": 2, "per": "24h"}` at `key`; None when it is absent or at fault."""
    value = fields.get(key)
    if value is ABSENT:
        return None
    given = Fields(value, fields.path(key), problems, _FIELDS)
    most = given.whole("max", 1, MOST_CONTACTS, "number of contacts")
    if given.get("max") is ABSENT:
        given.fault("max", f"is required; give how many contacts a person may get, from 1 to {MOST_CONTACTS}")
    period_s = _read_period(given)
    return None if most is None or period_s is None else Cap(most, period_s, rule)


def parse_cap(value: object, rule: str) -> Cap | None:
    """A cap as stored; None for none. Raises InvalidInput."""
    problems = Problems()
    fields = Fields({"frequencyCap": value}, "", problems, frozenset({"frequencyCap"}))
    cap = read_cap(fields, problems, rule)
    problems.raise_if_any("frequencyCap")
    return cap


def _read_period(fields: Fields) -> int | None:
    value = fields.get("per")
    if value is ABSENT:
        return DEFAULT_CAP.period_s
    path = fields.path("per")
    try:
        period_s = parse_duration(value, path)
    except InvalidInput as error:
        fields.fault("per", str(error.fields[path]))
        return None
    if not _SHORTEST_PERIOD_S <= period_s <= LONGEST_PERIOD_S:
        fields.fault("per", "is out of range; give 1m to 7d")
        return None
    return period_s
