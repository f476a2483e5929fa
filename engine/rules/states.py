"""The law's hours as rows: by country and state, channel, kind of campaign and date. All rows that match bind together.

Read once from `data/state_rules.csv`. An operator may add rows of the same form (`use_rows`): they open countries that
the file does not name, and can only narrow what it has. A country without a row in force is closed.
"""

import csv
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.metadata import version as installed
from importlib.resources import files
from typing import Any, TypeVar

from engine.errors import InvalidInput
from engine.rules.holidays_by_state import has_calendar
from engine.rules.phone import is_region
from engine.rules.purpose import Purpose
from engine.rules.regions import region_codes
from engine.rules.zones import zone_names

EVERYWHERE = "*"
DAY_MINUTES = 24 * 60
MOST_FAULTS = 20  # named in one answer
MOST_PERIOD_H = 168  # of attempts: contacts are kept for so long

T = TypeVar("T")
Span = tuple[int, int]  # first open and first closed minute of a day; equal when the day is closed
CLOSED: Span = (0, 0)
ALL_DAY: Span = (0, DAY_MINUTES)

_NEEDED = ("region", "mon_fri", "sat", "sun")
_FIELDS = (
    *_NEEDED,
    *("channel", "mode", "purpose", "from", "until", "holidays", "also_clock"),
    *("max_attempts", "period_h", "flags", "confidence", "note", "source"),
)
_CHANNELS = {"both": frozenset({"voice", "sms"}), "voice": frozenset({"voice"}), "sms": frozenset({"sms"})}
_MODES = {"any": False, "automated": True}
_PURPOSES: Mapping[str, frozenset[Purpose]] = {
    "any": frozenset(Purpose),
    "marketing": frozenset({Purpose.MARKETING}),
    "informational": frozenset({Purpose.INFORMATIONAL}),
}


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """`mode` automated: an AI or prerecorded voice, and campaign texts. Dates are local; `until` is the first without
    the row. `holidays` None: as any other day. `also_clock` names a zone whose clock must show these hours as well."""

    region: str  # `*`, an ISO 3166 country, or one of its states as `US-NY`
    channels: frozenset[str]
    is_automated_only: bool
    purposes: frozenset[Purpose]
    since: date
    until: date
    mon_fri: Span
    sat: Span
    sun: Span
    holidays: Span | None
    also_clock: str = ""
    max_attempts: int | None = None  # per person in a rolling `period_h`
    period_h: int | None = None
    flags: tuple[str, ...] = ()
    confidence: str = ""
    note: str = ""
    source: str = ""

    @property
    def country(self) -> str:
        return self.region[:2]

    def binds(self, channel: str, is_automated: bool, purpose: Purpose) -> bool:
        return channel in self.channels and purpose in self.purposes and (is_automated or not self.is_automated_only)

    def is_in_force(self, day: date) -> bool:
        return self.since <= day < self.until

    def span(self, day: date, is_holiday: bool) -> Span:
        weekday = day.isoweekday()
        span = self.mon_fri if weekday <= 5 else self.sat if weekday == 6 else self.sun
        return meet(span, self.holidays) if is_holiday and self.holidays is not None else span


@dataclass(frozen=True, slots=True)
class RuleSet:
    """`version` is what a decision records: of the data files, and of the libraries that say which zone (`tz`), which
    holiday (`hd`) and which country and zones of a number (`pn`)."""

    rows: Mapping[str, tuple[Row, ...]]  # by region
    version: str


def meet(one: Span, other: Span) -> Span:
    """The minutes that both hold; `CLOSED` when there are none."""
    first, after = max(one[0], other[0]), min(one[1], other[1])
    return (first, after) if first < after else CLOSED


def rules() -> RuleSet:
    """The rows in use in this process."""
    return _in_use[0] if _in_use else _built_in()


def use_rows(text: str) -> int:
    """Adds an operator's rows from now on, instead of those added before; answers how many. Empty text: none.

    The composition root calls it once, before anything is judged. Raises InvalidInput as `parse_rows` does.
    """
    added = parse_rows(text) if text else ()
    _in_use.clear()
    if added:
        built_in = _built_in()
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        rows = [*(row for some in built_in.rows.values() for row in some), *added]
        _in_use.append(RuleSet(_by_region(rows), f"{built_in.version} +{digest}"))
    return len(added)


def parse_rows(text: str) -> tuple[Row, ...]:
    """The rows of a CSV file; lines that begin with `#` are comments. Raises InvalidInput naming each faulty line."""
    faults: dict[str, str] = {}
    lines = ("" if line.startswith("#") else line for line in text.removeprefix("\ufeff").splitlines())
    reader = csv.reader(lines)
    rows: list[Row] = []
    try:
        _read(reader, rows, faults)
    except csv.Error as error:
        faults[f"line {reader.line_num}"] = f"is not valid CSV: {error}"
    if faults:
        some = dict(list(faults.items())[:MOST_FAULTS])
        more = f" (and {len(faults) - len(some)} more)" if len(faults) > len(some) else ""
        raise InvalidInput("the rules file: " + "; ".join(f"{at}: {why}" for at, why in some.items()) + more, some)
    return tuple(rows)


_in_use: list[RuleSet] = []


@cache
def _built_in() -> RuleSet:
    text = files("engine.rules.data").joinpath("state_rules.csv").read_text("utf-8")
    released = text.partition("\n")[0].removeprefix("# version ").partition(":")[0]
    libraries = {"tz": "tzdata", "hd": "holidays", "pn": "phonenumbers"}
    version = " ".join([released, *(f"{short}{installed(name)}" for short, name in libraries.items())])
    return RuleSet(_by_region(parse_rows(text)), version)


def _by_region(rows: Iterable[Row]) -> Mapping[str, tuple[Row, ...]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.region, []).append(row)
    return {region: tuple(some) for region, some in found.items()}


def _read(reader: Any, rows: list[Row], faults: dict[str, str]) -> None:
    header: list[str] = []
    for cells in reader:
        line = f"line {reader.line_num}"
        if not any(cell.strip() for cell in cells):
            continue
        if not header:
            header = [cell.strip().lower() for cell in cells]
            if fault := _header_fault(header):
                faults[line] = fault
                return
        elif len(cells) > len(header):
            faults[line] = (
                f"has {len(cells)} columns where the header has {len(header)}; put text with commas in quotes"
            )
        elif row := _read_row(dict(zip(header, (cell.strip() for cell in cells), strict=False)), line, faults):
            rows.append(row)
    if not header:
        faults["line 1"] = f"is no header; begin with {','.join(_NEEDED)}"


def _header_fault(header: list[str]) -> str:
    unknown, missing = [name for name in header if name not in _FIELDS], [n for n in _NEEDED if n not in header]
    if unknown:
        return f"unknown column '{unknown[0][:40]}'; the columns are {', '.join(_FIELDS)}"
    if missing:
        return f"lacks the column '{missing[0]}'; needed are {', '.join(_NEEDED)}"
    return "names a column twice" if len(set(header)) < len(header) else ""


class _Cells:
    """One line's cells by column, collecting its faults."""

    def __init__(self, cells: Mapping[str, str]) -> None:
        self._cells = cells
        self.faults: list[str] = []

    def text(self, name: str) -> str:
        return self._cells.get(name, "")

    def fault(self, name: str, remedy: str) -> None:
        self.faults.append(f"{name} '{self.text(name)[:40]}' {remedy}")

    def choice(self, name: str, choices: Mapping[str, T]) -> T:
        """The value's meaning; the first choice's when the cell is empty."""
        value = self.text(name)
        if value and value not in choices:
            self.fault(name, f"is not one of {', '.join(choices)}")
        return choices.get(value, next(iter(choices.values())))

    def span(self, name: str) -> Span:
        span = _span(self.text(name))
        if span is None:
            self.fault(name, "is neither hours such as 09-20 or 09:30-18:00, nor none")
        return span or CLOSED

    def day(self, name: str, default: date) -> date:
        if not self.text(name):
            return default
        try:
            return date.fromisoformat(self.text(name))
        except ValueError:
            self.fault(name, "is not a date such as 2026-10-18")
            return default

    def whole(self, name: str) -> int | None:
        value = self.text(name)
        if value and not (value.isascii() and value.isdecimal() and 0 < int(value) < 10_000):
            self.fault(name, "is not a whole number above 0")
            return None
        return int(value) if value else None


def _read_row(values: Mapping[str, str], line: str, faults: dict[str, str]) -> Row | None:
    cells = _Cells(values)
    row = Row(
        region=cells.text("region"),
        channels=cells.choice("channel", _CHANNELS),
        is_automated_only=cells.choice("mode", _MODES),
        purposes=cells.choice("purpose", _PURPOSES),
        since=cells.day("from", date.min),
        until=cells.day("until", date.max),
        mon_fri=cells.span("mon_fri"),
        sat=cells.span("sat"),
        sun=cells.span("sun"),
        holidays=None if cells.text("holidays") in ("", "ok") else cells.span("holidays"),
        also_clock=cells.text("also_clock"),
        max_attempts=cells.whole("max_attempts"),
        period_h=cells.whole("period_h"),
        flags=tuple(filter(None, cells.text("flags").split(";"))),
        confidence=cells.text("confidence"),
        note=cells.text("note"),
        source=cells.text("source"),
    )
    cells.faults += _faults(row)
    if cells.faults:
        faults[line] = ", ".join(cells.faults)
        return None
    return row


def _faults(row: Row) -> Iterator[str]:
    """What is wrong with the row as a whole."""
    if not _is_known(row.region):
        yield f"region '{row.region[:40]}' is no country such as GB, nor a US or Canadian region such as US-NY"
    elif row.holidays is not None and not (row.region != EVERYWHERE and has_calendar(row.country)):
        yield f"holidays: no calendar is known for {row.region}; leave the cell empty"
    if row.also_clock and row.also_clock not in zone_names():
        yield f"also_clock '{row.also_clock[:40]}' is not an IANA time zone such as America/New_York"
    if row.since >= row.until:
        yield "until is not after from"
    if (row.max_attempts is None) != (row.period_h is None):
        yield "max_attempts and period_h go together"
    if row.period_h is not None and row.period_h > MOST_PERIOD_H:
        yield f"period_h {row.period_h} is longer than contacts are counted; give at most {MOST_PERIOD_H}"


def _is_known(region: str) -> bool:
    country, _, state = region.partition("-")
    return region == EVERYWHERE or (is_region(country) if not state else region in region_codes())


def _span(text: str) -> Span | None:
    if text == "none":
        return CLOSED
    first, dash, after = text.partition("-")
    begins, ends = _minute(first), _minute(after)
    return (begins, ends) if dash and begins is not None and ends is not None and begins < ends else None


def _minute(text: str) -> int | None:
    """`9`, `09` or `09:30`, up to `24`."""
    hour, colon, minute = text.partition(":")
    parts = [hour, minute] if colon else [hour]
    if not all(part.isascii() and part.isdecimal() and len(part) <= 2 for part in parts):
        return None
    minutes = int(hour) * 60 + int(minute or 0)
    return minutes if int(minute or 0) < 60 and minutes <= DAY_MINUTES else None
