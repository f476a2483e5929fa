"""The arithmetic of the report: pure functions of what was seen."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

# A create that was on its way to the carrier when the answer was on its way to us. The carrier's own lag is known.
ARRIVAL_S = 0.05
# Within this after SIGCONT a process that was stopped between its last look at the clock and the write has written.
THAW_S = 0.5
_HALF = 0.5
BACK = 0.7  # of what is allowed within a second: then the throughput is back
_SECOND, _STRIDE_S = 1.0, 0.1


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of real time, in epoch seconds."""

    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Violations:
    """Creates begun after a pause was answered, and those of them that a stop of the process explains."""

    unexplained: int = 0
    frozen: int = 0


def pause_violations(
    pauses: Iterable[Span], arrivals: Sequence[float], lags: Sequence[float], stops: Iterable[Span]
) -> Violations:
    """Of one campaign: `pauses` from the answer to the next resume's request; `arrivals` ascend, each up to its lag
    after it came."""
    late = [
        Late(float("-inf"), pause.begin, at, lag)
        for pause in pauses
        for at, lag in _within(arrivals, lags, pause)
        if at - lag > pause.begin + ARRIVAL_S
    ]
    frozen = sum(frozen_by(stops, late))
    return Violations(len(late) - frozen, frozen)


@dataclass(frozen=True, slots=True)
class Late:
    """A create that was allowed from `since` until `good_until`, and came at `at`, or up to `lag` before."""

    since: float
    good_until: float
    at: float
    lag: float


def frozen_by(stops: Iterable[Span], creates: Iterable[Late]) -> list[bool]:
    """Of which a process may have looked while it was allowed, stood still, and written as soon as it went on.

    Look and write are one turn of one loop, so a stop makes one late: of more than one the others are unexplained.
    """
    unused, found = list(stops), []
    for late in creates:
        stop = next((each for each in unused if _explains(each, late)), None)
        found.append(stop is not None)
        if stop is not None:
            unused.remove(stop)
    return found


def _explains(stop: Span, late: Late) -> bool:
    return late.since <= stop.begin <= late.good_until and stop.end <= late.at <= stop.end + THAW_S + late.lag


def _within(arrivals: Sequence[float], lags: Sequence[float], span: Span) -> list[tuple[float, float]]:
    first, last = bisect_right(arrivals, span.begin), bisect_left(arrivals, span.end)
    return list(zip(arrivals[first:last], lags[first:last], strict=True))


@dataclass(frozen=True, slots=True)
class Step:
    """From `at` on, the campaigns with work may place `rate` creates a second together."""

    at: float
    rate: float


def allowed(steps: Sequence[Step], span: Span) -> float:
    """How many creates the rates allowed within the span."""
    total = 0.0
    for step, following in pairwise([*steps, Step(float("inf"), 0.0)]):
        begin, end = max(step.at, span.begin), min(following.at, span.end)
        total += step.rate * max(0.0, end - begin)
    return total


def worst_window(steps: Sequence[Step], arrivals: Sequence[float], window_s: float, stride_s: float = 0.5) -> float:
    """The smallest achieved / allowed of any window with half of the full rate or more; 1.0 without one."""
    if not steps:
        return 1.0
    worst, at = 1.0, steps[0].at
    full = max(step.rate for step in steps)
    while at + window_s <= steps[-1].at:
        may = allowed(steps, Span(at, at + window_s))
        if may >= _HALF * full * window_s:
            worst = min(worst, _count(arrivals, at, at + window_s) / may)
        at += stride_s
    return worst


def _count(arrivals: Sequence[float], begin: float, end: float) -> int:
    return bisect_left(arrivals, end) - bisect_left(arrivals, begin)


def answered_after(moment: float, probes: Sequence[Span]) -> float | None:
    """Seconds until the first answer to a question that was asked after `moment`; None without one."""
    ends = [probe.end for probe in probes if probe.begin >= moment]
    return min(ends) - moment if ends else None


def flowing_after(moment: float, steps: Sequence[Step], arrivals: Sequence[float]) -> float | None:
    """Seconds until the begin of the first second with `BACK` of the allowed calls; None when it is not seen again."""
    full = max((step.rate for step in steps), default=0.0)
    at = moment
    while steps and at + _SECOND <= steps[-1].at:
        may = allowed(steps, Span(at, at + _SECOND))
        if may >= _HALF * full * _SECOND and _count(arrivals, at, at + _SECOND) >= BACK * may:
            return at - moment
        at += _STRIDE_S
    return None


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed; 0.0 of none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


@dataclass(slots=True)
class Sequencing:
    """What one streaming client saw of ids that should count up by one."""

    last: int = 0
    events: int = 0
    gaps: int = 0
    repeats: int = 0

    def see(self, number: int) -> None:
        self.events += 1
        if number <= self.last:
            self.repeats += 1
            return
        self.gaps += number - self.last - 1
        self.last = number

    def skip_to(self, oldest: int) -> None:
        """The server said that what lies before `oldest` is left out."""
        self.last = max(self.last, oldest - 1)


@dataclass(frozen=True, slots=True)
class Trend:
    """How a series of samples behaved once it was warm."""

    level: float
    growth: float  # over the warm part, by its slope
    is_flat: bool


def trend(samples: Sequence[tuple[float, float]], slack: float, share: float = 0.1, warm_up: float = 1 / 3) -> Trend:
    """`samples` are (seconds, value), ascending; the first `warm_up` of the time is left out.

    The slope is the median of the slopes between samples of the first and of the second half (after Theil and Sen), so
    one peak does not bend it. Flat: it grows by less than `share` of its level, or by less than `slack`.
    """
    if len(samples) < 2:
        return Trend(samples[0][1] if samples else 0.0, 0.0, True)
    begin, end = samples[0][0], samples[-1][0]
    warm = [each for each in samples if each[0] >= begin + warm_up * (end - begin)]
    half = len(warm) // 2
    slopes = [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for earlier in warm[:half]
        for later in warm[half:]
        if later[0] > earlier[0]
    ]
    level = median(value for _, value in warm)
    growth = median(slopes) * (warm[-1][0] - warm[0][0]) if slopes else 0.0
    return Trend(level, growth, growth <= max(slack, share * level))
