"""An established business relationship: why somebody on a registry may be called all the same.

It lasts for 18 months from a purchase and for 3 from an inquiry (47 CFR 64.1200(f)(5)), and is an exception to the
national registry, never to the account's own list: the person's request to be left alone ends it. Only a purchase or an
inquiry after they let the account contact them again begins another. A state's rows may shorten it (`ebr_12mo`:
Pennsylvania), for the national registry too. Its own list has the exception, for purchases only, where each row that
tells of the list has such a flag: no further row can open what the built-in ones have not.

The account says it in an import's columns, `last_purchase_at` and `last_inquiry_at`: dates, in UTC unless they have an
offset. What cannot be read, or lies ahead, is no relationship.
"""

import re
from calendar import monthrange
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from engine.rules.consent_columns import given_at
from engine.rules.registry import NATIONAL, OWN_LIST
from engine.rules.states import Row

PURCHASE, INQUIRY = "last_purchase_at", "last_inquiry_at"
PURCHASE_MONTHS, INQUIRY_MONTHS = 18, 3
LONGEST = timedelta(days=PURCHASE_MONTHS * 31)
_FLAG = re.compile(r"ebr_(\d{1,2})mo")


class Relationship(NamedTuple):
    """Aware times; None: there was none."""

    purchase_at: datetime | None = None
    inquiry_at: datetime | None = None


STRANGER = Relationship()


def read(data: Mapping[str, object] | None, now: datetime) -> Relationship:
    """What a prospect's columns say, names in any case."""
    if not data or not (columns := _columns(tuple(data))):
        return STRANGER
    cells = {name: str(data.get(column) or "").strip() for name, column in columns.items()}
    return Relationship(given_at(cells.get(PURCHASE, ""), now), given_at(cells.get(INQUIRY, ""), now))


def excuses(
    relation: Relationship, ended_at: datetime | None, registry: str, rows: Iterable[Row], now: datetime
) -> str:
    """Why `registry` does not bind, as `purchase 2026-01-05`; empty when it does.

    `ended_at`: until then the person wished to be left alone. `rows`: of every state that may bind.
    """
    months = _months(registry, tuple(rows))
    if _lasts(relation.purchase_at, months, ended_at, now):
        return f"purchase {relation.purchase_at:%Y-%m-%d}"
    if registry == NATIONAL and _lasts(relation.inquiry_at, min(INQUIRY_MONTHS, months), ended_at, now):
        return f"inquiry {relation.inquiry_at:%Y-%m-%d}"
    return ""


def _months(registry: str, rows: Sequence[Row]) -> int:
    """How long it lasts after a purchase; 0 where the registry has no such exception."""
    if registry != NATIONAL:
        own = [row for row in rows if row.region == registry and OWN_LIST in row.flags]
        if not own or not all(map(_term, own)):
            return 0
    return min([PURCHASE_MONTHS, *filter(None, map(_term, rows))])


def _term(row: Row) -> int:
    """What the row's flag says; 0 without one."""
    return min((int(match[1]) for flag in row.flags if (match := _FLAG.fullmatch(flag))), default=0)


def _lasts(since: datetime | None, months: int, ended_at: datetime | None, now: datetime) -> bool:
    return since is not None and (ended_at is None or since > ended_at) and now < _months_after(since, months)


def _months_after(moment: datetime, months: int) -> datetime:
    """The same day so many months later, or the last one of a month that is too short for it."""
    start = moment.astimezone(UTC)
    years, month = divmod(start.month - 1 + months, 12)
    year, month = start.year + years, month + 1
    return start.replace(year=year, month=month, day=min(start.day, monthrange(year, month)[1]))


@lru_cache(maxsize=1024)
def _columns(names: tuple[str, ...]) -> dict[str, str]:
    """The names as the file has them, by ours."""
    known = {name.strip().lower().replace(" ", "_"): name for name in reversed(names)}
    return {name: known[name] for name in (PURCHASE, INQUIRY) if name in known}
