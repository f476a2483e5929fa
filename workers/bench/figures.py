"""Samples of alternating rounds, and what is said of them: medians, CPU per job, ratios."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

Figure = float | int | str
Side = Callable[[], "Sample"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of one side."""

    jobs: int
    seconds: float
    cpu_s: Mapping[str, float] = field(default_factory=dict)  # by process group
    extra: Mapping[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        return self.jobs / self.seconds


@dataclass(frozen=True, slots=True)
class Line:
    """One side over all rounds."""

    name: str
    samples: Sequence[Sample]

    @property
    def rate(self) -> float:
        """The median of jobs per second."""
        return median(sample.rate for sample in self.samples)

    def cpu_us(self) -> dict[str, float]:
        """Median CPU microseconds per job, by process group and in total."""
        groups = {name for sample in self.samples for name in sample.cpu_s}
        shares = {
            name: median(1e6 * sample.cpu_s.get(name, 0.0) / sample.jobs for sample in self.samples) for name in groups
        }
        total = median(1e6 * sum(sample.cpu_s.values()) / sample.jobs for sample in self.samples)
        return {**dict(sorted(shares.items())), "total": total} if groups else {}

    def extra(self) -> dict[str, float]:
        names = {name for sample in self.samples for name in sample.extra}
        return {name: median(s.extra[name] for s in self.samples if name in s.extra) for name in sorted(names)}

    def as_json(self) -> dict[str, object]:
        return {
            "per_second": _rounded(self.rate),
            "rounds": [_rounded(sample.rate) for sample in self.samples],
            "cpu_us_per_job": {name: _rounded(value) for name, value in self.cpu_us().items()},
            **{name: _rounded(value) for name, value in self.extra().items()},
        }


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure should be; the benchmark reports it, and never fails for it."""

    figure: str
    bound: float
    is_most: bool = False

    def is_met(self, value: float) -> bool:
        return value <= self.bound if self.is_most else value >= self.bound

    def __str__(self) -> str:
        return f"{'≤' if self.is_most else '≥'} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Result:
    """One benchmark: its lines, the figures drawn from them, and what they were hoped to be."""

    name: str
    job: str  # what is counted
    lines: Sequence[Line]
    figures: Mapping[str, Figure]
    goals: Sequence[Goal] = ()

    def as_json(self) -> dict[str, object]:
        return {
            "job": self.job,
            **{name: _rounded(value) if isinstance(value, float) else value for name, value in self.figures.items()},
            "goals": {goal.figure: str(goal) for goal in self.goals},
            "lines": {line.name: line.as_json() for line in self.lines},
        }


def alternate(sides: Mapping[str, Side], rounds: int, tell: Callable[[str], None]) -> list[Line]:
    """Runs the sides in turn, A B A B …, so that what drifts on the machine meets both."""
    samples: dict[str, list[Sample]] = {name: [] for name in sides}
    for number in range(1, rounds + 1):
        for name, run in sides.items():
            sample = run()
            samples[name].append(sample)
            tell(f"round {number}/{rounds}: {name}: {sample.rate:,.0f}/s")
    return [Line(name, found) for name, found in samples.items()]


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
