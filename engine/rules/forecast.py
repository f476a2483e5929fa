"""When a campaign will end and what holds it back: the rest of it, run on a virtual clock by the engine's own rules.

People are taken by the cohort, time in steps of about a thousandth of the whole: short enough that neither a window nor
a retry is missed by more, and a million people take no longer than a thousand. Outcomes fall as they have fallen so
far, spread evenly instead of at random, so that the same campaign always gets the same forecast.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from typing import NamedTuple

from engine.rules.forecast_demand import RETRIES, Cohort, Waiting, alike, rounded, spread
from engine.rules.forecast_supply import NEVER, Begun, Limit
from engine.rules.retry import RetryRule, next_attempt
from engine.rules.window import Hours

ENDING = "contacts_under_way"
UNKNOWN = "unknown"  # the outcome of texts that are never reported on
STEPS = 1_000  # in the time that the campaign would take at its pace, and in each later tenfold of it
SHORTEST_STEP_S, LONGEST_STEP_S = 0.05, 600.0
LONGEST_WAIT_S = 86_400.0
HORIZON = timedelta(days=730)
MOST_STEPS = 200_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Fate(NamedTuple):
    """What becomes of a share of the attempts. `lasts_s`: from intent to end, all equally likely, ascending.

    `agent_s`: for how long, in the mean, it holds an agent or may need one.
    """

    outcome: str  # as the retry rule names it
    is_retryable: bool
    share: float
    lasts_s: Sequence[float]
    agent_s: float = 0.0

    @property
    def mean_s(self) -> float:
        return sum(self.lasts_s) / len(self.lasts_s)


@dataclass(frozen=True, slots=True)
class Setup:
    """The campaign as it stands. Engine seconds; `limits` are used up by the run.

    Of `under_way`, who is due later than now has been silent for long: a text that ends then, as `unknown`.
    """

    now_s: float
    hours: Hours
    takes_s: float
    retry: RetryRule
    fates: Sequence[Fate]
    limits: Sequence[Limit]
    cohorts: Sequence[Cohort]
    under_way: Sequence[Cohort] = ()
    pace_per_s: float = 1.0  # at best
    longest_step_s: float = LONGEST_STEP_S


class Point(NamedTuple):
    at_s: float
    contacts: int
    done: int


@dataclass(slots=True)
class Course:
    """How it goes. `finish_s` is None when nobody can say: beyond two years, or somebody is never contacted.

    `holding`: seconds for which each limit was what nothing could begin for, or no more.
    """

    finish_s: float | None = None
    last_contact_s: float | None = None
    contacts: int = 0
    done: int = 0
    held: int = 0
    left: int = 0
    holding: dict[str, float] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)

    def at_even_distances(self, most: int) -> list[Point]:
        """Up to so many points, the first and the last among them; between two steps nothing is known to happen."""
        first, last = self.points[0], self.points[-1]
        found, index = [first], 0
        for number in range(1, most - 1):
            at_s = first.at_s + (last.at_s - first.at_s) * number / (most - 1)
            while index + 1 < len(self.points) and self.points[index + 1].at_s <= at_s:
                index += 1
            found.append(self.points[index]._replace(at_s=at_s))
        return [*found, last]

    @property
    def held_back_by(self) -> str | None:
        """What held it back for longest."""
        return max(self.holding, key=lambda cause: self.holding[cause]) if self.holding else None


def forecast(setup: Setup) -> Course:
    """Runs the campaign to its end."""
    return _Run(setup).run()


_Kind = tuple[int, int]  # kind of place, attempt
_After = tuple[_Kind, float] | None  # who is tried again, and in how many seconds; None: they are done


class _Run:
    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._t = setup.now_s
        self._course = Course()
        places = list(dict.fromkeys([each.place for each in (*setup.cohorts, *setup.under_way)]))
        timelines, kind_of = alike(places, setup.hours, setup.takes_s, setup.now_s)
        people = sum(each.people for each in setup.cohorts)
        self._step_s = min(max(people / setup.pace_per_s / STEPS, SHORTEST_STEP_S), setup.longest_step_s)
        self._waiting = Waiting(timelines, self._step_s)
        self._ends: dict[float, Counter[_After]] = {}
        self._times: list[float] = []
        self._under_way = 0
        self._owed: dict[int, list[float]] = {}
        self._turns = [0] * len(setup.fates)
        for each in setup.cohorts:
            self._waiting.add((kind_of[each.place], each.attempt), each.due_s, each.people, self._t, RETRIES)
        for each in setup.under_way:
            if each.due_s > self._t:
                self._end_silent(each, kind_of[each.place])
                continue
            counts = self._fates_of(each.attempt, each.people)
            self._begin(self._t, (kind_of[each.place], each.attempt), counts, part=0.5)

    def run(self) -> Course:
        course, until = self._course, self._setup.now_s + HORIZON.total_seconds()
        for _ in range(MOST_STEPS):
            self._end_until(self._t)
            self._waiting.wake(self._t)
            course.points.append(Point(self._t, course.contacts, course.done))
            if self._t > until or not (self._waiting.people or self._under_way):
                break
            self._step()
        course.held, course.left = self._waiting.held, self._waiting.people + self._under_way
        if not course.left:
            course.finish_s = self._t
        return course

    def _step(self) -> None:
        if not self._waiting.due:
            self._wait_until(*self._next_event())
            return
        dt = self._length()
        rooms = [limit.room(self._t, dt) for limit in self._setup.limits]
        if not (room := min(rooms)):
            at, tightest = self._tightest(rooms)
            self._wait_until(min(max(at, self._t + dt / 10), self._t + LONGEST_WAIT_S), tightest)
            return
        people = min(self._waiting.due, room)
        used_s = dt * people / room
        self._contact(people, used_s)
        self._wait_until(self._t + max(used_s, dt / 10), self._tightest(rooms)[1])

    def _contact(self, people: int, used_s: float) -> None:
        """Begins with so many, spread over the next `used_s`."""
        totals = [0] * len(self._setup.fates)
        for kind, some in self._waiting.take(people).items():
            counts = self._fates_of(kind[1], some)
            totals = [sum(pair) for pair in zip(totals, counts, strict=True)]
            self._begin(self._t + used_s / 2, kind, counts)
        for limit in self._setup.limits:
            limit.take(Begun(self._t, people, totals))
        self._course.contacts += people
        self._course.last_contact_s = self._t + used_s

    def _begin(self, at: float, kind: _Kind, by_fate: Sequence[int], part: float = 1.0) -> None:
        """Contacts under way, their ends spread over the times of their fates; `part` of these is still to come."""
        for number, people in enumerate(by_fate):
            fate = self._setup.fates[number]
            after = self._after(fate, kind)
            turn, self._turns[number] = self._turns[number], self._turns[number] + people
            for index, last_s in enumerate(fate.lasts_s):
                some = _count_in_turn(people, (index - turn) % len(fate.lasts_s), len(fate.lasts_s))
                if some:
                    self._end_at(rounded(at + last_s * part, self._step_s / 4), after, some)
        self._under_way += sum(by_fate)

    def _end_silent(self, cohort: Cohort, place: int) -> None:
        fate = Fate(UNKNOWN, False, 1.0, ())
        self._end_at(cohort.due_s, self._after(fate, (place, cohort.attempt)), cohort.people)
        self._under_way += cohort.people

    def _end_at(self, end_s: float, after: _After, people: int) -> None:
        if end_s not in self._ends:
            self._ends[end_s] = Counter()
            heappush(self._times, end_s)
        self._ends[end_s][after] += people

    def _end_until(self, t: float) -> None:
        while self._times and self._times[0] <= t:
            end_s = heappop(self._times)
            for after, people in self._ends.pop(end_s).items():
                self._under_way -= people
                if after is None:
                    self._course.done += people
                else:
                    self._waiting.add(after[0], end_s + after[1], people, t, RETRIES)

    def _after(self, fate: Fate, kind: _Kind) -> _After:
        at = next_attempt(self._setup.retry, fate.outcome, kind[1], _EPOCH, fate.is_retryable)
        return None if at is None else ((kind[0], kind[1] + 1), (at - _EPOCH).total_seconds())

    def _fates_of(self, attempt: int, people: int) -> list[int]:
        fates = self._setup.fates
        owed = self._owed.setdefault(attempt, [0.0] * len(fates))
        return spread((fate.share for fate in fates), people, owed)

    def _length(self) -> float:
        """The step grows with the time that has passed: what comes late need not be known to the second."""
        dt = min(max(self._step_s, (self._t - self._setup.now_s) / STEPS), self._setup.longest_step_s)
        return max(min(dt, self._waiting.closes(self._t) - self._t), self._step_s / 100)

    def _tightest(self, rooms: Sequence[int]) -> tuple[float, str]:
        """The limit with the least room, of several the one whose next contact waits for longest, and until when."""
        free_at = [limit.free_at(self._t) for limit in self._setup.limits]
        number = min(range(len(rooms)), key=lambda each: (rooms[each], -free_at[each]))
        return free_at[number], self._setup.limits[number].name

    def _next_event(self) -> tuple[float, str]:
        """When something happens next while nobody is due, and what is waited for."""
        due, cause = self._waiting.next_at()
        end = self._times[0] if self._times else NEVER
        return min(due, end), ENDING if due == NEVER else cause

    def _wait_until(self, t: float, cause: str) -> None:
        self._course.holding[cause] = self._course.holding.get(cause, 0.0) + t - self._t
        self._t = t


def _count_in_turn(people: int, offset: int, turns: int) -> int:
    """Of `people` who take turns, how many get the one that is `offset` from the first."""
    return max(0, (people - offset - 1) // turns + 1)
