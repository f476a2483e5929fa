"""The people of a simulated campaign: cohorts of those whose windows open and close alike, never one by one.

Who waits is due at a time and in hours that close and open; all of it is counted in whole people, so that none is lost
to rounding.
"""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from typing import NamedTuple

from engine.rules.whereabouts import Place
from engine.rules.window import Hours

ALIKE_FOR = timedelta(days=8)  # places whose hours are the same so long, a weekend included, are taken together
_MANY, _SHORTER = 400, timedelta(days=2)
WINDOW, RETRIES = "window", "retries"


class Cohort(NamedTuple):
    """People at one kind of place who wait for the same attempt, due at `due_s` (engine time, epoch seconds)."""

    place: Place
    attempt: int
    due_s: float
    people: int


class Timeline:
    """When one kind of place is open, found with the window's own rule as far as anybody asks."""

    def __init__(self, hours: Hours, place: Place, takes_s: float, now_s: float) -> None:
        self._hours, self._place, self._takes = hours, place, timedelta(seconds=takes_s)
        self._opens: list[float] = []
        self._closes: list[float] = []  # by then the last contact has begun
        self._known_to, self._is_over = now_s, False

    def chance(self, t: float) -> float | None:
        """The first moment from `t` on at which a contact may begin; None: none within 30 days."""
        while not self._is_over and (not self._closes or self._closes[-1] <= t):
            self._learn()
        index = bisect_right(self._closes, t)
        return max(t, self._opens[index]) if index < len(self._opens) else None

    def closes(self, t: float) -> float:
        """Until when the window that is open at `t` lets contacts begin."""
        index = bisect_right(self._closes, t)
        return self._closes[index] if index < len(self._closes) else float("inf")

    def stretches(self, until_s: float) -> tuple[tuple[float, float], ...]:
        """What is open until then: the signature by which places are alike."""
        while not self._is_over and (not self._opens or self._opens[-1] < until_s):
            self._learn()
        pairs = zip(self._opens, self._closes, strict=True)
        return tuple(pair for pair in pairs if pair[0] < until_s)

    def _learn(self) -> None:
        opens = self._hours.next_chance(self._place, datetime.fromtimestamp(self._known_to, UTC), self._takes)
        if opens is None:
            self._is_over = True
            return
        closes_at = self._hours.at(self._place, opens).closes_at
        self._opens.append(opens.timestamp())
        if closes_at is None:
            self._closes.append(float("inf"))
            self._is_over = True
        else:
            self._closes.append((closes_at - self._takes).timestamp())
            self._known_to = closes_at.timestamp()


def alike(
    places: Sequence[Place], hours: Hours, takes_s: float, now_s: float
) -> tuple[list[Timeline], dict[Place, int]]:
    """The kinds of places, and which kind each place is."""
    span = ALIKE_FOR if len(places) <= _MANY else _SHORTER
    until_s = now_s + span.total_seconds()
    kinds: dict[tuple[tuple[float, float], ...], int] = {}
    timelines: list[Timeline] = []
    kind_of: dict[Place, int] = {}
    for place in places:
        timeline = Timeline(hours, place, takes_s, now_s)
        kind = kinds.setdefault(timeline.stretches(until_s), len(timelines))
        if kind == len(timelines):
            timelines.append(timeline)
        kind_of[place] = kind
    return timelines, kind_of


_Kind = tuple[int, int]  # kind of place, attempt


class Waiting:
    """Who waits: those due may begin now, as long as their window is open; those of later wait for a time."""

    def __init__(self, timelines: Sequence[Timeline], grain_s: float) -> None:
        """Due times that lie closer together than `grain_s` are one."""
        self.held = 0  # in no window that opens within 30 days
        self.due = 0
        self.people = 0  # of all but those held
        self._timelines, self._grain_s = timelines, grain_s
        self._cohorts: dict[float, dict[_Kind, int]] = {}
        self._order: list[float] = []
        self._of_kind: Counter[int] = Counter()  # of those due, by kind of place
        self._later: dict[float, Counter[tuple[_Kind, str]]] = {}
        self._times: list[float] = []

    def add(self, kind: _Kind, due_s: float, people: int, t: float, cause: str) -> None:
        """People who fall due at `due_s`, and then wait for their window."""
        at = max(due_s, t)
        chance = self._timelines[kind[0]].chance(at)
        if chance is None:
            self.held += people
            return
        self.people += people
        if chance <= t:
            self._put(kind, due_s, people)
            return
        if chance == at:
            chance = rounded(at, self._grain_s)
        else:
            cause = WINDOW
        if chance not in self._later:
            self._later[chance] = Counter()
            heappush(self._times, chance)
        self._later[chance][kind, cause] += people

    def wake(self, t: float) -> None:
        """Lets those whose time has come fall due, and puts off those whose window has closed."""
        for closed in [each for each in self._of_kind if self._timelines[each].chance(t) != t]:
            self._put_off(closed, t)
        while self._times and self._times[0] <= t:
            due_s = heappop(self._times)
            for (kind, cause), people in self._later.pop(due_s).items():
                self.people -= people
                self.add(kind, due_s, people, t, cause)

    def next_at(self) -> tuple[float, str]:
        """When somebody falls due next, and what most of these have waited for."""
        if not self._times:
            return float("inf"), RETRIES
        causes: Counter[str] = Counter()
        for (_, cause), people in self._later[self._times[0]].items():
            causes[cause] += people
        return self._times[0], causes.most_common(1)[0][0]

    def closes(self, t: float) -> float:
        """When the first window of those due closes."""
        return min((self._timelines[kind].closes(t) for kind in self._of_kind), default=float("inf"))

    def take(self, most: int) -> Mapping[_Kind, int]:
        """So many of those who are due, the longest due first; among equals in proportion."""
        taken: Counter[_Kind] = Counter()
        while most and self._order:
            due_s = self._order[0]
            cohorts = self._cohorts[due_s]
            total = sum(cohorts.values())
            some = dict(cohorts) if total <= most else _in_proportion(cohorts, most, total)
            for kind, people in some.items():
                taken[kind] += people
                self._remove(cohorts, kind, people)
            if not cohorts:
                heappop(self._order)
                del self._cohorts[due_s]
            most -= sum(some.values())
        self.people -= sum(taken.values())
        return taken

    def _put(self, kind: _Kind, due_s: float, people: int) -> None:
        if due_s not in self._cohorts:
            self._cohorts[due_s] = {}
            heappush(self._order, due_s)
        cohorts = self._cohorts[due_s]
        cohorts[kind] = cohorts.get(kind, 0) + people
        self.due += people
        self._of_kind[kind[0]] += people

    def _remove(self, cohorts: dict[_Kind, int], kind: _Kind, people: int) -> None:
        cohorts[kind] -= people
        self.due -= people
        self._of_kind[kind[0]] -= people
        if not cohorts[kind]:
            del cohorts[kind]
        if not self._of_kind[kind[0]]:
            del self._of_kind[kind[0]]

    def _put_off(self, place: int, t: float) -> None:
        moved: Counter[_Kind] = Counter()
        for cohorts in self._cohorts.values():
            for kind in [each for each in cohorts if each[0] == place]:
                moved[kind] += cohorts[kind]
                self._remove(cohorts, kind, cohorts[kind])
        self._cohorts = {due_s: cohorts for due_s, cohorts in self._cohorts.items() if cohorts}
        self._order = sorted(self._cohorts)
        for kind, people in moved.items():
            self.people -= people
            self.add(kind, t, people, t, WINDOW)


def rounded(at: float, grain_s: float) -> float:
    """The next whole `grain_s`."""
    return math.ceil(at / grain_s) * grain_s


def _in_proportion(cohorts: Mapping[_Kind, int], most: int, total: int) -> dict[_Kind, int]:
    """`most` of `total` people, spread over the cohorts; the sums are rounded as they run, so they come out exactly."""
    taken: dict[_Kind, int] = {}
    seen = given = 0
    for kind, people in cohorts.items():
        seen += people
        upto = seen * most // total
        if upto > given:
            taken[kind] = upto - given
        given = upto
    return taken


def spread(shares: Iterable[float], people: int, owed: list[float]) -> list[int]:
    """Whole people by share; what rounding leaves over is `owed` to the next time."""
    found = []
    for number, share in enumerate(shares):
        owed[number] += share * people
        found.append(max(0, int(owed[number])))
    missing = people - sum(found)
    order = sorted(range(len(found)), key=lambda number: found[number] - owed[number])
    for number in order[: max(0, missing)]:
        found[number] += 1
    for number in reversed(order):  # more than there are: those owed least give back
        while missing < 0 and found[number]:
            found[number] -= 1
            missing += 1
    for number, count in enumerate(found):
        owed[number] -= count
    return found
