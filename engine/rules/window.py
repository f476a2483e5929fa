"""When a person may be contacted: the law's hours and the campaign's, open on every clock that may be the person's.

Hours are wall-clock time, half-open, judged on the clock of each candidate zone and by its days: a row of any
candidate state binds in all of them. No arithmetic in days of 24 h, so both daylight-saving edges come out right.

A clock's open times are *spells*: for each local date the minutes that all its rows leave, turned into UTC by the
offsets that hold on that date, and joined where they touch. Where the spells of all clocks meet, the window is open. So
the end of an open window, and the next opening, are found by walking spells, and between these two instants a verdict
cannot change: it is remembered for exactly that long.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import cache, lru_cache
from zoneinfo import ZoneInfo

from engine.rules import states
from engine.rules.holidays_by_state import is_holiday
from engine.rules.purpose import Purpose
from engine.rules.schedule import ANY_TIME, Schedule
from engine.rules.states import ALL_DAY, CLOSED, EVERYWHERE, Row, RuleSet, Span, meet, rules
from engine.rules.whereabouts import UNKNOWN, Place
from engine.rules.zones import zone

HORIZON = timedelta(days=30)

_DAY = timedelta(days=1)
_WIDEST = timedelta(hours=16)  # no zone is, or was since 1900, further from UTC
_MOST_REMEMBERED = 65_536  # places per campaign kind


class WindowReason(StrEnum):
    OPEN = "open"
    NO_TIMEZONE = "no_timezone"  # zones unknown: held, never allowed
    NO_RULE = "no_rule_for_country"  # no row says when: held likewise
    LEGAL_HOURS = "legal_hours"
    SCHEDULE = "schedule"


@dataclass(frozen=True, slots=True)
class Window:
    """The verdict at one instant. Times are UTC. `closes_at` is set when open, unless that is not within 30 days;
    `next_open_at` when closed, and None then means not within 30 days. `rule` names the region whose row closes it; it
    and `reason` are of when the verdict was reached, which may be earlier in the same closed stretch."""

    open: bool
    closes_at: datetime | None
    next_open_at: datetime | None
    reason: WindowReason
    rule: str = ""


class Hours:
    """The hours of one kind of campaign, at any place. Get it from `hours`; `at` is the check of the hot path."""

    __slots__ = ("_channel", "_is_automated", "_purpose", "_remembered", "_schedule")

    def __init__(self, channel: str, purpose: Purpose, is_automated: bool, schedule: Schedule) -> None:
        self._channel, self._purpose, self._is_automated, self._schedule = channel, purpose, is_automated, schedule
        self._remembered: dict[Place, tuple[datetime, datetime, Window]] = {}

    def at(self, place: Place, now: datetime) -> Window:
        """Whether a person at this place may be contacted now, until when, or from when on. `now` is aware."""
        last = self._remembered.get(place)
        if last is None or not last[0] <= now < last[1]:
            last = self._decide(place, now.astimezone(UTC))
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[place] = last
        return last[2]

    def next_chance(self, place: Place, at: datetime, takes: timedelta = timedelta()) -> datetime | None:
        """The first instant from `at` on when the window is open and stays so for longer than `takes`; None when there
        is none within 30 days."""
        last = at + HORIZON
        while at <= last:
            window = self.at(place, at)
            if not window.open:
                if window.next_open_at is None:
                    return None
                at = window.next_open_at
            elif window.closes_at is None or window.closes_at > at + takes:
                return at
            else:
                at = window.closes_at
        return None

    def holds(self, place: Place, now: datetime) -> bool:
        """`at(…).open`, said the plain way and remembering nothing: what tests and checks compare it with."""
        clocks = self._clocks(place)
        return bool(clocks) and all(clock.holds(now) for clock in clocks)

    def _decide(self, place: Place, now: datetime) -> tuple[datetime, datetime, Window]:
        """The verdict, from now until when it stands. One that never changes is looked at again in an hour."""
        later = now + timedelta(hours=1)
        clocks = self._clocks(place)
        if not clocks:
            reason = WindowReason.NO_RULE if place.zones or self._lawless(place) else WindowReason.NO_TIMEZONE
            return now, later, Window(False, None, None, reason, ",".join(self._lawless(place)))
        failed = next((clock for clock in clocks if not clock.holds(now)), None)
        if failed is None:
            closes_at = _closing(clocks, now)
            return now, closes_at or later, Window(True, closes_at, None, WindowReason.OPEN)
        opens_at = _opening(clocks, now)
        reason, rule = failed.reason, failed.binding(now)
        if reason is WindowReason.LEGAL_HOURS and not rule:
            reason = WindowReason.NO_RULE  # no row of the country is in force on that day
        return now, opens_at or later, Window(False, None, opens_at, reason, rule)

    def _clocks(self, place: Place) -> tuple["_Clock", ...]:
        """Everything that must hold; empty when nothing can: the zone is unknown, or a country has no row."""
        if not place.zones or self._lawless(place):
            return ()
        return _clocks(place, self._rows(place), place.countries, self._schedule)

    def _lawless(self, place: Place) -> tuple[str, ...]:
        """Countries that no row opens for this channel and kind."""
        known = rules()
        return tuple(
            country
            for country in place.countries
            if not any(self._channel in row.channels and self._opens(row) for row in known.rows.get(country, ()))
        )

    def _opens(self, row: Row) -> bool:
        is_lifted = self._purpose is Purpose.EMERGENCY
        return is_lifted or row.binds(self._channel, self._is_automated, self._purpose)

    def _rows(self, place: Place) -> tuple[Row, ...]:
        return binding_rows(place, self._channel, self._purpose, self._is_automated)


@lru_cache(maxsize=4096)
def hours(
    channel: str,
    purpose: Purpose = Purpose.MARKETING,
    is_automated: bool = True,
    schedule: Schedule = ANY_TIME,
    ahead_s: float = 0,  # noqa: ARG001 - part of what the cache goes by
) -> Hours:
    """The hours of a kind of campaign. `channel` is `voice` or `sms`; for another every place is closed.

    `is_automated`: an AI or prerecorded voice, or a text that a campaign sends. Who asks for times `ahead_s` in the
    future says so: one place has one remembered verdict, and now and then would drive each other out.
    """
    return Hours(channel, purpose, is_automated, schedule)


@lru_cache(maxsize=_MOST_REMEMBERED)
def binding_rows(place: Place, channel: str, purpose: Purpose, is_automated: bool) -> tuple[Row, ...]:
    """The law's rows that bind such a contact at this place, those of no present date among them; none in an emergency,
    whose calls the law exempts from its hours."""
    if purpose is Purpose.EMERGENCY:
        return ()
    known = rules()
    some = (row for region in _regions(place, known) for row in known.rows.get(region, ()))
    return tuple(row for row in some if row.binds(channel, is_automated, purpose))


def use_rows(text: str) -> int:
    """Adds an operator's rows for this process, before anything is judged, as `engine.rules.states.use_rows` does."""
    added = states.use_rows(text)
    hours.cache_clear()
    binding_rows.cache_clear()
    return added


class _Clock(ABC):
    """One zone's clock, and the rows (or the schedule) whose minutes it must show."""

    def __init__(self, name: str, reason: WindowReason) -> None:
        self.zone, self.name, self.reason = zone(name), name, reason

    @abstractmethod
    def span(self, day: date) -> Span:
        """The minutes of that local date that are open."""

    def binding(self, now: datetime) -> str:  # noqa: ARG002 - a schedule has no region
        """The region whose row closes it now."""
        return ""

    def holds(self, now: datetime) -> bool:
        local = now.astimezone(self.zone)
        first, after = self.span(local.date())
        return first <= local.hour * 60 + local.minute < after

    def spells(self, now: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Open times that end after `now` and begin before the horizon: ascending, apart from one another, in UTC."""
        held: tuple[datetime, datetime] | None = None
        day, last = (now - _DAY).astimezone(self.zone).date(), (now + HORIZON + _DAY).astimezone(self.zone).date()
        while day <= last:
            for begins, ends in _instants(self.zone, self.name, day, self.span(day)):
                if held is not None and begins == held[1]:
                    held = held[0], ends
                    continue
                if held is not None and held[1] > now:
                    yield held
                held = begins, ends
            day += _DAY
        if held is not None and held[1] > now:
            yield held


class _Legal(_Clock):
    """Rows of the law on one clock; in each country at least one must be in force."""

    def __init__(self, name: str, rows: tuple[Row, ...], countries: tuple[str, ...]) -> None:
        super().__init__(name, WindowReason.LEGAL_HOURS)
        self._rows, self._countries = rows, countries

    def span(self, day: date) -> Span:
        span = ALL_DAY
        in_force: set[str] = set()
        for row in self._rows:
            if row.is_in_force(day):
                in_force.add(row.region)
                span = meet(span, _span(row, day))
        return span if in_force.issuperset(self._countries) else CLOSED

    def binding(self, now: datetime) -> str:
        local = now.astimezone(self.zone)
        minute = local.hour * 60 + local.minute
        day = local.date()
        spans = ((row.region, _span(row, day)) for row in self._rows if row.is_in_force(day))
        return next((region for region, (first, after) in spans if not first <= minute < after), "")


class _Own(_Clock):
    """The campaign's schedule."""

    def __init__(self, name: str, schedule: Schedule) -> None:
        super().__init__(name, WindowReason.SCHEDULE)
        self._days = schedule.days
        last = 24 if schedule.end_hour is None else schedule.end_hour
        self._span = (schedule.start_hour or 0) * 60, last * 60

    def span(self, day: date) -> Span:
        return self._span if day.isoweekday() in self._days else CLOSED


@lru_cache(maxsize=65_536)
def _clocks(place: Place, rows: tuple[Row, ...], countries: tuple[str, ...], schedule: Schedule) -> tuple[_Clock, ...]:
    legal: list[_Clock] = []
    if rows:
        legal += [_Legal(name, rows, countries) for name in place.zones]
        others = {row.also_clock for row in rows} - {"", *place.zones}
        legal += [_Legal(name, tuple(row for row in rows if row.also_clock == name), ()) for name in sorted(others)]
    own = [_Own(name, schedule) for name in ((schedule.timezone,) if schedule.timezone else place.zones)]
    return (*legal, *own)


def _regions(place: Place, known: RuleSet) -> Iterator[str]:
    """Every region whose rows may bind, the countries of the place first."""
    yield from (EVERYWHERE, *place.countries)
    for region in place.regions:
        if region.endswith(f"-{UNKNOWN}"):
            yield from (each for each in known.rows if each.startswith(region[:3]) and each not in place.regions)
        elif len(region) > 2:
            yield region


@lru_cache(maxsize=16_384)
def _span(row: Row, day: date) -> Span:
    return row.span(day, row.holidays is not None and is_holiday(row.region, day))


def _closing(clocks: Iterable[_Clock], now: datetime) -> datetime | None:
    """The end of the window that is open now; None when it is beyond the horizon."""
    ends = min(next(clock.spells(now))[1] for clock in clocks)
    return ends if ends <= now + HORIZON else None


def _opening(clocks: Iterable[_Clock], now: datetime) -> datetime | None:
    """The first instant at or after `now`, within the horizon, that lies in a spell of every clock."""
    walks = [(spells, next(spells, None)) for spells in (clock.spells(now) for clock in clocks)]
    candidate, agreed = now, 0
    while agreed < len(walks):
        spells, spell = walks[agreed]
        while spell is not None and spell[1] <= candidate:
            spell = next(spells, None)
        if spell is None or spell[0] > now + HORIZON:
            return None
        walks[agreed] = spells, spell
        if spell[0] > candidate:
            candidate, agreed = spell[0], 0  # this clock opens later: the others are asked again
        else:
            agreed += 1
    return candidate


def _instants(zone: ZoneInfo, name: str, day: date, span: Span) -> Iterator[tuple[datetime, datetime]]:
    """The instants at which the zone shows a minute of that span on that date; several parts around a clock change."""
    first, after = span
    if first >= after:
        return
    midnight = datetime.combine(day, time(), UTC)  # the clock's own time, only written as if it were UTC
    begins, ends = midnight + timedelta(minutes=first), midnight + timedelta(minutes=after)
    since = midnight - _WIDEST
    for until, offset in _offsets(zone, name, since, ends + _WIDEST):
        part = max(since, begins - offset), min(until, ends - offset)
        if part[0] < part[1]:
            yield part
        since = until


def _offsets(zone: ZoneInfo, name: str, since: datetime, until: datetime) -> Iterator[tuple[datetime, timedelta]]:
    """The offsets between two instants, each with the instant at which it ends."""
    for year in range(since.year, until.year + 1):
        for at, before in _changes(name, year):
            if since < at < until:
                yield at, before
    yield until, (until - timedelta.resolution).astimezone(zone).utcoffset() or timedelta()


@cache
def _changes(name: str, year: int) -> tuple[tuple[datetime, timedelta], ...]:
    """Every instant of a UTC year at which the zone's clock jumps, with the offset until then."""
    place = zone(name)

    def offset(at: datetime) -> timedelta:
        return at.astimezone(place).utcoffset() or timedelta()

    found = []
    day, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    while day < end:
        early, late = day, day + _DAY
        before = offset(early)
        if before != offset(late):
            while late - early > timedelta(seconds=1):
                middle = early + (late - early) // timedelta(seconds=2) * timedelta(seconds=1)
                early, late = (middle, late) if offset(middle) == before else (early, middle)
            found.append((late, before))
        day += _DAY
    return tuple(found)
