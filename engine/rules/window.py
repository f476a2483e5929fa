"""When a number may be contacted: the law's hours in each of its candidate zones, and the campaign's schedule.

Hours are wall-clock hours, half-open, judged by asking each zone what its clocks show: no arithmetic in days of 24 h,
so both daylight-saving edges come out right. What is open changes only where some zone's clocks reach a whole hour of
one of the limits, or jump. These instants are the *edges*; between two of them a verdict cannot change, and it is
remembered for exactly that long.

Sources: 47 CFR 64.1200(c)(1) for 08–21; the reference's 7–19 for SMS, cut by that floor to 08–19; for Canada the CRTC's
weekdays 09:00–21:30 (whole hours: 09–21) and weekends 10–18. See COMPLIANCE 1 and 2.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo

from engine.rules.area_codes import canadian_zones
from engine.rules.schedule import Schedule
from engine.rules.zones import zone

HORIZON = timedelta(days=15)

_Week = tuple[tuple[int, int], ...]  # (first hour, hour after the last) of Monday … Sunday; (0, 0) is a closed day

_LEGAL: dict[str, _Week] = {"voice": ((8, 21),) * 7, "sms": ((8, 19),) * 7}
_LEGAL_CANADA: dict[str, _Week] = {
    "voice": ((9, 21),) * 5 + ((10, 18),) * 2,
    "sms": ((9, 19),) * 5 + ((10, 18),) * 2,
}
_QUARTER = timedelta(minutes=15)
_DAY = timedelta(days=1)


class WindowReason(StrEnum):
    OPEN = "open"
    NO_TIMEZONE = "no_timezone"  # zones unknown: held, never allowed
    LEGAL_HOURS = "legal_hours"
    SCHEDULE = "schedule"


@dataclass(frozen=True, slots=True)
class Window:
    """The verdict at one instant. Times are UTC. `closes_at` is set when open; `next_open_at` when closed, and None
    then means not within the next 15 days."""

    open: bool
    closes_at: datetime | None
    next_open_at: datetime | None
    reason: WindowReason


@dataclass(frozen=True, slots=True)
class _Limit:
    """Open while the clocks of `zone` show an hour of that weekday's span."""

    zone: ZoneInfo
    week: _Week
    reason: WindowReason

    def holds(self, now: datetime) -> bool:
        local = now.astimezone(self.zone)
        first, after = self.week[local.weekday()]
        return first <= local.hour < after

    def edges(self, day: date) -> Iterator[datetime]:
        """Every instant of that local day at which `holds` may change, and perhaps others."""
        for hour in {0, *self.week[day.weekday()]} - {24}:
            for fold in (0, 1):
                yield datetime.combine(day, time(hour, fold=fold), self.zone).astimezone(UTC)
        yield from self._jump(day)

    def _jump(self, day: date) -> Iterator[datetime]:
        """The instant of that local day's clock change: on it, clocks may skip into or fall back out of the span."""
        early = datetime.combine(day, time(), self.zone).astimezone(UTC) - _QUARTER
        late = datetime.combine(day + _DAY, time(), self.zone).astimezone(UTC)
        before = early.astimezone(self.zone).utcoffset()
        if before == late.astimezone(self.zone).utcoffset():
            return
        while late - early > _QUARTER:
            middle = early + (late - early) // (2 * _QUARTER) * _QUARTER
            if middle.astimezone(self.zone).utcoffset() == before:
                early = middle
            else:
                late = middle
        yield late


def verdict(channel: str, zones: tuple[str, ...], schedule: Schedule, now: datetime) -> Window:
    """Whether a number with these candidate zones may be contacted now, until when, or from when on.

    `channel` is `voice` or `sms` (another raises KeyError); `now` is aware. Remembered until the verdict's next edge.
    """
    return _case(channel, zones, schedule).at(now)


def is_open(channel: str, zones: tuple[str, ...], schedule: Schedule, now: datetime) -> bool:
    """`verdict(…).open`: the check of the hot path."""
    return _case(channel, zones, schedule).at(now).open


class _Case:
    """One combination of channel, zones and schedule, with its last verdict and the span in which that holds."""

    __slots__ = ("_last", "_limits")

    def __init__(self, channel: str, zones: tuple[str, ...], schedule: Schedule) -> None:
        self._limits = _limits(channel, zones, schedule)
        self._last: tuple[datetime, datetime, Window] | None = None

    def at(self, now: datetime) -> Window:
        last = self._last
        if last is None or not last[0] <= now < last[1]:
            last = self._last = self._decide(now.astimezone(UTC))
        return last[2]

    def _decide(self, now: datetime) -> tuple[datetime, datetime, Window]:
        if not self._limits:
            return now, now + HORIZON, Window(False, None, None, WindowReason.NO_TIMEZONE)
        failed = next((limit for limit in self._limits if not limit.holds(now)), None)
        change = _first_change(self._limits, now, opening=failed is not None)
        if failed is None:
            return now, change or now, Window(True, change, None, WindowReason.OPEN)
        # Never within the horizon: look again in an hour, by when the horizon has moved on.
        return now, change or now + timedelta(hours=1), Window(False, None, change, failed.reason)


@lru_cache(maxsize=65_536)
def _case(channel: str, zones: tuple[str, ...], schedule: Schedule) -> _Case:
    return _Case(channel, zones, schedule)


def _first_change(limits: tuple[_Limit, ...], now: datetime, opening: bool) -> datetime | None:
    """The first instant after `now`, within the horizon, at which all limits hold (or, to close, one does not)."""
    today = now.date()
    for ahead in range(HORIZON.days + 2):
        # Local dates run up to a day before and after the UTC date: three of them cover this UTC day's edges.
        days = [today + timedelta(days=ahead + near) for near in (-1, 0, 1)]
        edges = {edge for limit in limits for day in days for edge in limit.edges(day)}
        for edge in sorted(edge for edge in edges if edge.date() == days[1] and now < edge <= now + HORIZON):
            if all(limit.holds(edge) for limit in limits) is opening:
                return edge
    return None


def _limits(channel: str, zones: tuple[str, ...], schedule: Schedule) -> tuple[_Limit, ...]:
    """Every limit that must hold; none at all when the zones are unknown."""
    if not zones:
        return ()
    first = schedule.start_hour or 0
    after = 24 if schedule.end_hour is None else schedule.end_hour
    own_week = tuple((first, after) if day in schedule.days else (0, 0) for day in range(1, 8))
    own_zones = (schedule.timezone,) if schedule.timezone else zones
    legal = [
        _Limit(zone(name), (_LEGAL_CANADA if name in canadian_zones() else _LEGAL)[channel], WindowReason.LEGAL_HOURS)
        for name in zones
    ]
    return (*legal, *(_Limit(zone(name), own_week, WindowReason.SCHEDULE) for name in own_zones))
