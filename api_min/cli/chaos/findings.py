"""What a run found: figures, and the promises that did not hold."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from api_min.cli.chaos.soak import Watched, growing

RECOVERY_GOAL_S = 5.0


@dataclass(slots=True)
class Recovery:
    p50_s: float
    p99_s: float
    slowest_s: float
    slowest: str  # the fault
    by_fault: Mapping[str, list[float]]  # seconds, rounded


@dataclass(slots=True)
class Findings:
    seed: int
    seconds: float
    prospects: int
    rate: float
    faults: Mapping[str, int]
    creates: int
    completed: bool
    lost: list[str]
    double_contacts: list[str]
    doubtful: int
    resolved: int
    unknown: Mapping[str, int]  # settled as unknown, by explanation
    unexplained: list[str]
    pauses: int
    pause_violations: int
    frozen_creates: int  # begun after a pause by a process that had been stopped
    frozen_late: int  # later than their ticket, likewise
    worst_window: float
    listeners: int
    events: int
    gaps: int
    repeats: int
    truncations: int
    resets: int
    behind: int  # listeners that did not reach the newest event
    recovery: Recovery
    drains: int
    slowest_drain_s: float
    forced_drains: list[str]
    crashes: list[str]
    errors: Mapping[str, int]
    api_answers: Mapping[str, int]
    checks: Mapping[str, list[str]] = field(default_factory=dict)  # problems by checker, `P2 accepted_once`
    soak: Sequence[Watched] = ()  # of a gentle run
    database: Mapping[str, float] = field(default_factory=dict)

    def broken(self) -> list[str]:
        """The promises that did not hold, in words; empty when all did."""
        found = [
            *([] if self.completed else ["P1: the campaigns were not completed in time"]),
            *(f"P1: {each}" for each in self.lost),
            *(f"P2: {each}" for each in self.double_contacts),
            *(f"P2: {each}" for each in self.unexplained),
            *_some("P3: {} creates were begun after a pause was answered", self.pause_violations),
            *_some("P6: {} events were missing in streams", self.gaps),
            *_some("P6: {} events came twice in streams", self.repeats),
            *_some("P6: {} streams were told of another history", self.resets),
            *_some("P6: {} streams never reached the newest event", self.behind),
            *(f"a process ended by itself: {each}" for each in self.crashes),
            *(f"soak: {each}" for each in growing(self.soak)),
            *(f"a drain had to be killed: {each}" for each in self.forced_drains),
        ]
        return found + [f"{name}: {problem}" for name, problems in self.checks.items() for problem in problems]

    def as_json(self) -> dict[str, Any]:
        broken = self.broken()
        return {**asdict(self), "faults_injected": sum(self.faults.values()), "broken": broken, "held": not broken}


def _some(words: str, count: int) -> list[str]:
    return [words.format(count)] if count else []


def promises(broken: Sequence[str]) -> set[str]:
    """The names of the promises among what `Findings.broken` says."""
    return {each[:2] for each in broken if each[:1] == "P" and each[1:2].isdigit()}
