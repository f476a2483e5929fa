"""Sliding windows of one number's calls: never more than so many in any hour and in any day.

A number's calls are counted in slots of a sixtieth of their window (a minute, 24 minutes). A window reaches back to the
beginning of the slot that it touches, so it counts at least what it holds and at most a sixtieth more: exact upwards,
and it costs a number two short lists instead of the time of each call. All times are engine time, epoch seconds.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from engine.rules.did_policy import Caps

HOUR_S, DAY_S = 3_600, 86_400
SLOTS = 60


@dataclass(frozen=True, slots=True)
class Usage:
    """Calls by slot number; `last_at` is the newest call's time."""

    hour: Mapping[int, int] = field(default_factory=dict)
    day: Mapping[int, int] = field(default_factory=dict)
    last_at: float = float("-inf")


class Taken(NamedTuple):
    """`granted` calls may be made now. `free_at`: when the next one may, given that they are; `room`: how many then."""

    granted: int
    usage: Usage
    free_at: float
    room: int


NEVER_USED = Usage()


def take(usage: Usage, wanted: int, caps: Caps, now_s: float) -> Taken:
    """Counts as many of `wanted` calls as the caps allow at `now_s`."""
    granted = min(wanted, room(usage, caps, now_s))
    if granted:
        usage = Usage(_counted(usage.hour, HOUR_S, now_s, granted), _counted(usage.day, DAY_S, now_s, granted), now_s)
    at = free_at(usage, caps, now_s)
    return Taken(granted, usage, at, max(1, room(usage, caps, at)))


def room(usage: Usage, caps: Caps, now_s: float) -> int:
    """How many calls may be made at `now_s`; with a gap at most one."""
    if caps.gap_s and now_s < usage.last_at + caps.gap_s:
        return 0
    left = min(
        caps.per_hour - used(usage.hour, HOUR_S, now_s),
        caps.per_day - used(usage.day, DAY_S, now_s),
    )
    return max(0, min(left, 1) if caps.gap_s else left)


def free_at(usage: Usage, caps: Caps, now_s: float) -> float:
    """The first moment from `now_s` on at which one more call may be made."""
    return max(
        now_s,
        usage.last_at + caps.gap_s,
        _below(usage.hour, HOUR_S, caps.per_hour, now_s),
        _below(usage.day, DAY_S, caps.per_day, now_s),
    )


def used(slots: Mapping[int, int], window_s: int, now_s: float) -> int:
    """Calls in the window that ends at `now_s`. A slot ahead of us (another machine's clock) counts as well."""
    first = _first(window_s, now_s)
    return sum(count for slot, count in slots.items() if slot >= first)


def flatten(slots: Mapping[int, int]) -> list[int]:
    """`{29: 2}` as `[29, 2]`: how PostgreSQL keeps it."""
    return [number for slot in sorted(slots) for number in (slot, slots[slot])]


def unflatten(numbers: Sequence[int]) -> dict[int, int]:
    return dict(zip(numbers[::2], numbers[1::2], strict=True))


def _counted(slots: Mapping[int, int], window_s: int, now_s: float, granted: int) -> dict[int, int]:
    first, present = _first(window_s, now_s), math.floor(now_s * SLOTS / window_s)
    kept = {slot: count for slot, count in slots.items() if slot >= first}
    return kept | {present: kept.get(present, 0) + granted}


def _below(slots: Mapping[int, int], window_s: int, most: int, now_s: float) -> float:
    """When the window first holds fewer than `most`, if nothing is added."""
    first = _first(window_s, now_s)
    kept: Iterable[tuple[int, int]] = sorted(item for item in slots.items() if item[0] >= first)
    held = sum(count for _, count in kept)
    at = now_s
    for slot, count in kept:
        if held < most:
            break
        held -= count
        at = (slot + 1) * window_s / SLOTS + window_s
    return at


def _first(window_s: int, now_s: float) -> int:
    return math.floor((now_s - window_s) * SLOTS / window_s)
