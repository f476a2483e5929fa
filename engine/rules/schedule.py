"""The campaign's own schedule (reference 004), apart from the law's hours, which always hold as well."""

from dataclasses import dataclass

from engine.rules.fields import ABSENT, Fields, Problems, shown
from engine.rules.zones import zone_names

ALL_DAYS = frozenset(range(1, 8))

_KNOWN = frozenset({"timezone", "startHour", "endHour", "days"})


@dataclass(frozen=True, slots=True)
class Schedule:
    """Hours `[start_hour, end_hour)` on `days` (1 = Monday … 7 = Sunday) in `timezone`.

    A missing hour leaves its end of the day open. Without a time zone, hours and days are the recipient's.
    """

    timezone: str | None = None
    start_hour: int | None = None
    end_hour: int | None = None
    days: frozenset[int] = ALL_DAYS


ANY_TIME = Schedule()


def parse_schedule(value: object) -> Schedule:
    """`schedule` of a campaign body. Raises InvalidInput that names every faulty field (`schedule.startHour`, …)."""
    problems = Problems()
    schedule = read_schedule(value, problems)
    problems.raise_if_any("schedule")
    return schedule


def read_schedule(value: object, problems: Problems, path: str = "schedule") -> Schedule:
    """As `parse_schedule`, adding faults to `problems` instead."""
    fields = Fields(value, path, problems, _KNOWN)
    start, end = fields.whole("startHour", 0, 23, "hour"), fields.whole("endHour", 0, 23, "hour")
    if end is not None and (start or 0) >= end:
        fields.fault("endHour", f"{end} is not after startHour {start or 0}; give a later hour, or none for midnight")
    return Schedule(_timezone(fields), start, end, _days(fields))


def _timezone(fields: Fields) -> str | None:
    value = fields.get("timezone")
    if value is ABSENT:
        return None
    if isinstance(value, str) and value in zone_names():
        return value
    fields.fault("timezone", f"{shown(value)} is not an IANA time zone; give one such as America/Los_Angeles")
    return None


def _days(fields: Fields) -> frozenset[int]:
    value = fields.get("days")
    if value is ABSENT:
        return ALL_DAYS
    if not isinstance(value, list) or not value:
        fields.fault("days", f"{shown(value)} names no day; give a list such as [1, 2, 3, 4, 5], or omit it for all")
        return ALL_DAYS
    wrong = [day for day in value if not isinstance(day, int) or isinstance(day, bool) or day not in ALL_DAYS]
    if wrong:
        fields.fault("days", f"{shown(wrong[0])} is not a day; give 1 (Monday) to 7 (Sunday)")
        return ALL_DAYS
    return frozenset(value)
