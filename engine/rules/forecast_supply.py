"""What lets a simulated campaign contact so many people and no more: one class per kind of limit, all of one shape.

`room(t, dt)` is how many contacts the limit lets begin in `[t, t + dt)`; `take` counts those that do; `free_at(t)` is
when the next one may, `t` itself when it may now. Times are engine seconds since the epoch, rates are per engine
second. Where the engine's own limit is a pure rule (`did_caps`), that rule is asked, once for all numbers of a kind.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import heapify, heappop, heappush
from typing import NamedTuple, Protocol

from engine.rules import did_caps
from engine.rules.account_limits import next_pacific_midnight
from engine.rules.did_caps import Usage
from engine.rules.did_policy import Caps

NEVER = float("inf")
_ALMOST = 1e-6


class Begun(NamedTuple):
    """Contacts that begin together at `at_s`, and how many of them meet each fate."""

    at_s: float
    people: int
    by_fate: Sequence[int]


class Limit(Protocol):
    name: str

    def room(self, t: float, dt: float) -> int: ...

    def take(self, begun: Begun) -> None: ...

    def free_at(self, t: float) -> float: ...


class Rate:
    """Evenly spaced contacts, as send slots are."""

    def __init__(self, name: str, per_s: float, next_at: float = float("-inf")) -> None:
        self.name, self._per_s, self._next_at = name, per_s, next_at

    def room(self, t: float, dt: float) -> int:
        return max(0, math.ceil((t + dt - max(self._next_at, t)) * self._per_s - _ALMOST))

    def take(self, begun: Begun) -> None:
        self._next_at = max(self._next_at, begun.at_s) + begun.people / self._per_s

    def free_at(self, t: float) -> float:
        return max(t, self._next_at)


class Ceiling:
    """Contacts at one time. A contact of the nth fate holds its place for `holds_s[n]`.

    A step may be longer than a contact: then places are taken several times in it.
    """

    def __init__(self, name: str, most: float, holds_s: Sequence[float], mean_s: float, up: int, t: float) -> None:
        self.name, self._most, self._holds_s, self._mean_s = name, most, holds_s, max(mean_s, _ALMOST)
        self._ends: list[tuple[float, int]] = [(t + mean_s * (number + 0.5) / up, 1) for number in range(up)]
        self._up = up
        heapify(self._ends)

    def room(self, t: float, dt: float) -> int:
        while self._ends and self._ends[0][0] <= t:
            self._up -= heappop(self._ends)[1]
        if dt >= self._mean_s:
            return int(self._most * dt / self._mean_s)
        return max(0, int(self._most - self._up + self._up * dt / self._mean_s))

    def take(self, begun: Begun) -> None:
        for people, hold_s in zip(begun.by_fate, self._holds_s, strict=True):
            if people:
                heappush(self._ends, (begun.at_s + hold_s, people))
                self._up += people

    def free_at(self, t: float) -> float:
        return t if self._up < self._most or not self._ends else max(t, self._ends[0][0])


@dataclass(slots=True)
class VoiceNumbers:
    """Numbers of one kind: `each_per_s` calls, and caps that grow with the number's age."""

    count: int
    each_per_s: float
    usage: Usage = did_caps.NEVER_USED  # of all of them together
    caps_at: Callable[[float], Caps] | None = None  # of one number; None: its calls are not capped
    next_at: float = float("-inf")

    def room(self, t: float, dt: float) -> int:
        per_s = self.count * self.each_per_s
        paced = max(0, math.ceil((t + dt - max(self.next_at, t)) * per_s - _ALMOST))
        if self.caps_at is None or not paced:
            return paced
        return min(paced, did_caps.room(self.usage, self._all(t), t))

    def take(self, at_s: float, people: int) -> None:
        self.next_at = max(self.next_at, at_s) + people / (self.count * self.each_per_s)
        if self.caps_at is not None:
            self.usage = did_caps.take(self.usage, people, self._all(at_s), at_s).usage

    def free_at(self, t: float) -> float:
        capped = did_caps.free_at(self.usage, self._all(t), t) if self.caps_at is not None else t
        return max(t, self.next_at, capped)

    def _all(self, t: float) -> Caps:
        """The caps of all of them together; their gaps are in `each_per_s`."""
        assert self.caps_at is not None
        one = self.caps_at(t)
        return Caps(one.per_hour * self.count, one.per_day * self.count, 0)


class Voices:
    """All numbers that the campaign may call from."""

    name = "numbers"

    def __init__(self, kinds: Sequence[VoiceNumbers]) -> None:
        self._kinds = kinds
        self._rooms = [0] * len(kinds)  # as they were last asked

    def room(self, t: float, dt: float) -> int:
        self._rooms = [kind.room(t, dt) for kind in self._kinds]
        return sum(self._rooms)

    def take(self, begun: Begun) -> None:
        given = seen = 0
        for kind, room in zip(self._kinds, self._rooms, strict=True):
            seen += room
            upto = begun.people * seen // max(1, sum(self._rooms))
            if upto > given:
                kind.take(begun.at_s, upto - given)
            given = upto

    def free_at(self, t: float) -> float:
        return min((kind.free_at(t) for kind in self._kinds), default=NEVER)


class Texters:
    """Numbers that rest after each text of a campaign."""

    name = "numbers"

    def __init__(self, free_at_s: Sequence[float], cycle_s: float) -> None:
        self._free = [(at, 1) for at in free_at_s]
        self._cycle_s = cycle_s
        heapify(self._free)

    def room(self, t: float, dt: float) -> int:  # noqa: ARG002 - who is free at its begin; the steps are short
        return sum(count for at, count in self._free if at <= t)

    def take(self, begun: Begun) -> None:
        left = begun.people
        while left:
            at, count = heappop(self._free)
            used = min(left, count)
            left -= used
            if count > used:
                heappush(self._free, (at, count - used))
            heappush(self._free, (begun.at_s + self._cycle_s, used))

    def free_at(self, t: float) -> float:
        return max(t, self._free[0][0]) if self._free else NEVER


class PartsPerDay:
    """A brand's message parts of a day, which ends at midnight Pacific."""

    name = "ten_dlc"

    def __init__(self, per_day: int, used: int, parts: int, t: float) -> None:
        self._per_day, self._used, self._parts = per_day, used, parts
        self._ends = _midnight(t)

    def room(self, t: float, dt: float) -> int:  # noqa: ARG002
        if t >= self._ends:
            self._used, self._ends = 0, _midnight(t)
        return max(0, self._per_day - self._used) // self._parts

    def take(self, begun: Begun) -> None:
        self._used += begun.people * self._parts

    def free_at(self, t: float) -> float:
        return t if self._used + self._parts <= self._per_day else max(t, self._ends)


def _midnight(t: float) -> float:
    return next_pacific_midnight(datetime.fromtimestamp(t, UTC)).timestamp()
