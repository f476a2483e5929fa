"""How many calls may be up beside the agents there are: never more than free ones, or a few ahead of them.

*Progressive*: each call that may need an agent has one reserved from its intent on, so nobody is abandoned for want of
one. *Predictive*: most calls are not answered by a person, so more are placed than agents are free; now and then two
people answer where one agent is. Whom no agent reaches within two seconds of the greeting is abandoned, and of those
who answer 3 % at most may be, per campaign and 30 days (16 CFR 310.4(b)(4), 47 CFR 64.1200(a)(7)).

Two things hold the figure down. Each decision places only so many calls that the expected number of people left without
an agent fits into the target's share of everybody who answered in these 30 days, those expected now included. And the
stage falls back by what has happened: no further increase at 2.5 %, one call per agent at 3 % until the figure is down
to 2 %. Where nothing is known yet, or not lately, it is progressive.
"""

import math
from collections.abc import Sequence
from enum import IntEnum, StrEnum
from functools import lru_cache
from typing import NamedTuple

DEFAULT_TARGET = 0.015
FROZEN_AT = 0.025
HELD_AT = 0.030
FREE_AGAIN_AT = 0.020
WINDOW_H = 30 * 24
RECENT_H = 2  # answer rate and talk time are those of this hour and the one before it

MOST_AGENTS = 1_000
LEAST_CALLS = 50  # recent ones, before anything is predicted of the next
MOST_AT_ONCE = 1.5  # times the target: what one decision may risk. More is spent in bursts that gain less (simulated)
MOST_UP_PER_AGENT = 5
_SPARE = 2  # people: those who may already be on their way to being abandoned
_TINY = 1e-9


HOUR_SUMS = ("calls", "persons", "abandoned", "connected", "ring_ms", "talk_ms")
"""What is summed up of each hour's calls, in this order wherever it is stored."""


class Pacing(StrEnum):
    PROGRESSIVE = "progressive"
    PREDICTIVE = "predictive"


class Stage(IntEnum):
    """Of a predictive campaign. PostgreSQL stores the codes."""

    LEARNING = 0  # too little is known: progressive
    FREE = 1
    FROZEN = 2  # never more calls up than when it was frozen
    HELD = 3  # progressive, until the figure has come down


class Figure(NamedTuple):
    """Of the last 30 days: people who answered, and those of them whom no agent reached in time."""

    persons: int = 0
    abandoned: int = 0

    @property
    def rate(self) -> float:
        return self.abandoned / self.persons if self.persons else 0.0


class Recent(NamedTuple):
    """Sums of the last `RECENT_H` hours. Times are real seconds."""

    calls: int = 0
    persons: int = 0
    connected: int = 0  # persons whom an agent reached
    ring_s: float = 0.0  # intent to answer, of the persons
    talk_s: float = 0.0  # answer to end, of those connected


class Calls(NamedTuple):
    """Calls of one campaign that hold an agent or may need one: a machine's do not, from its verdict on."""

    ringing: int = 0  # not answered yet, from the intent on
    waiting: int = 0  # answered, no agent on the line yet
    talking: int = 0

    @property
    def up(self) -> int:
        return self.ringing + self.waiting + self.talking


class Forecast(NamedTuple):
    """What is believed of the calls to come. `most_up` binds while the stage is FROZEN."""

    stage: Stage = Stage.LEARNING
    answer_rate: float = 0.0
    ring_s: float = 0.0
    talk_s: float = 0.0
    figure: Figure = Figure()
    most_up: int = 0


def stage_after(stage: Stage, figure: Figure, recent: Recent) -> Stage:
    """The stage that follows from the figures. HELD is left only at `FREE_AGAIN_AT`."""
    rate = figure.rate
    if rate >= HELD_AT or (stage is Stage.HELD and rate > FREE_AGAIN_AT):
        return Stage.HELD
    if recent.calls < LEAST_CALLS or not recent.connected:
        return Stage.LEARNING
    return Stage.FROZEN if rate >= FROZEN_AT else Stage.FREE


def forecast(before: Forecast, figure: Figure, recent: Recent, up: int) -> Forecast:
    """The next forecast. `up`: the calls up now, which a freeze takes as its bound."""
    stage = stage_after(before.stage, figure, recent)
    if stage in (Stage.LEARNING, Stage.HELD):
        return Forecast(stage, figure=figure)
    persons, connected = max(1, recent.persons), max(1, recent.connected)
    most_up = before.most_up if before.stage is Stage.FROZEN else up
    return Forecast(
        stage,
        answer_rate=recent.persons / recent.calls,
        ring_s=recent.ring_s / persons,
        talk_s=recent.talk_s / connected,
        figure=figure,
        most_up=most_up if stage is Stage.FROZEN else 0,
    )


def calls_to_place(pacing: Pacing, capacity: int, calls: Calls, seen: Forecast, target: float = DEFAULT_TARGET) -> int:
    """How many calls may be placed now. `capacity`: agents in all; `target`: the share that may be abandoned.

    Progressive: as many as there are agents without a call, so never are more up than agents. Predictive: at least as
    many, and more while the stage and the expected abandonment allow it.
    """
    safe = max(0, capacity - calls.up)
    if pacing is Pacing.PROGRESSIVE or seen.stage in (Stage.LEARNING, Stage.HELD):
        return safe
    most = capacity * MOST_UP_PER_AGENT - calls.up
    if seen.stage is Stage.FROZEN:
        most = min(most, seen.most_up - calls.up)
    low, high, stride = safe, max(safe, most), 1
    # Expected abandonment only grows with the calls; mostly one more is too many, so the search begins below.
    while low < high:
        middle = min(high, low + stride)
        if _fits(capacity, calls, middle, seen, target):
            low, stride = middle, 2 * stride
        else:
            high, stride = middle - 1, max(1, stride // 4)
    return low


def _fits(capacity: int, calls: Calls, extra: int, seen: Forecast, target: float) -> bool:
    in_flight = calls.ringing + extra
    expected = in_flight * seen.answer_rate
    lost = expected_abandoned(capacity, calls, extra, seen)
    if lost <= _TINY:
        return True
    persons, abandoned = seen.figure.persons + expected, seen.figure.abandoned
    # Of few people two may be more than the law allows: then there is nothing to risk yet.
    can_lose_some = abandoned + _SPARE + lost <= HELD_AT * persons
    return can_lose_some and abandoned + lost <= target * persons and lost <= MOST_AT_ONCE * target * expected


def expected_abandoned(capacity: int, calls: Calls, extra: int, seen: Forecast) -> float:
    """How many people are expected to answer without an agent, of the calls that ring and `extra` more.

    People who answer are binomial over the calls in flight. Agents are those free, less the people who wait, and those
    whose talk ends before the phone is answered: talk is taken as memoryless, so each with the same chance.
    """
    in_flight = calls.ringing + extra
    free = capacity - calls.talking - calls.waiting
    ends = -math.expm1(-seen.ring_s / seen.talk_s) if seen.talk_s > 0 else 1.0
    beyond = _beyond(_binomial(in_flight, seen.answer_rate))
    freed = _binomial(min(calls.talking, capacity), ends)
    return sum(chance * beyond(free + number) for number, chance in enumerate(freed))


@lru_cache(maxsize=64)  # a search for the number of calls asks for the same ends of talks at each step
def _binomial(trials: int, chance: float) -> tuple[float, ...]:
    """The probabilities of 0 … `trials` successes."""
    if chance <= 0 or trials <= 0:
        return (1.0,)
    if chance >= 1:
        return (*[0.0] * trials, 1.0)
    odds = math.log(chance) - math.log1p(-chance)
    log_all = trials * math.log1p(-chance)
    found, log_ways = [], 0.0
    for hits in range(trials + 1):
        found.append(math.exp(log_all + hits * odds + log_ways))
        if hits < trials:
            log_ways += math.log(trials - hits) - math.log(hits + 1)
    return tuple(found)


class _beyond:  # noqa: N801 — reads as the function that it is
    """E[max(0, X − a)] of a distribution over 0, 1, 2, …, for any whole `a`."""

    def __init__(self, chances: Sequence[float]) -> None:
        self._mean = sum(value * chance for value, chance in enumerate(chances))
        above = 0.0  # P(X > a), summed from the top: E[max(0, X − a)] is the sum of P(X > k) over k ≥ a
        excess = [0.0]
        for chance in reversed(chances[1:]):
            above += chance
            excess.append(excess[-1] + above)
        self._excess = excess[::-1]

    def __call__(self, a: int) -> float:
        if a <= 0:
            return self._mean - a
        return self._excess[a] if a < len(self._excess) else 0.0
