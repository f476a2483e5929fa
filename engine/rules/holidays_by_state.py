"""Days on which a row's `holidays` binds: a state's own, the country's, and those that the calendar library lacks.

PyPI `holidays` computes them from the statutes, offline. A holiday that falls on a weekend is closed on its actual and
on its observed day. Sources beyond the library: COMPLIANCE 2, "Holidays".
"""

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from functools import cache

import holidays

_SUNDAY = 7


def is_holiday(region: str, day: date) -> bool:
    """Whether `day` is one in `region`: an ISO 3166 country (`US`) or one of its states (`US-LA`)."""
    return day in _days(region, day.year)


def has_calendar(country: str) -> bool:
    """Whether the holidays of this country are known at all."""
    return country in holidays.list_supported_countries()


@cache
def _days(region: str, year: int) -> frozenset[date]:
    country, _, state = region.partition("-")
    days = set(holidays.country_holidays(country, years=year))
    if state and state in holidays.list_supported_countries()[country]:
        days |= set(holidays.country_holidays(country, subdiv=state, years=year))
    if added := _ADDED.get(region):
        days |= set(_with_observed(added(year)))
    return frozenset(days)


def _with_observed(day: date) -> Iterator[date]:
    yield day
    if day.isoweekday() == _SUNDAY:
        yield day + timedelta(days=1)


def _all_saints(year: int) -> date:
    return date(year, 11, 1)


def _mardi_gras(year: int) -> date:
    return next(day for day, name in holidays.country_holidays("US", subdiv="LA", years=year).items() if name == _GRAS)


_GRAS = "Mardi Gras"
_ADDED: dict[str, Callable[[int], date]] = {
    "US-LA": _all_saints,
    "US-AL": _mardi_gras,  # by law in Mobile and Baldwin counties; a number does not say which county
}
