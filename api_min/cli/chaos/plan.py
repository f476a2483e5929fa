"""What goes wrong when: drawn from a seed, so that a run that found something can be run again.

The plan is the same for the same seed, length and cast; what the machine makes of it is not.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    KILL = "kill"  # SIGKILL of a process, which is started again
    STOP = "stop"  # SIGSTOP past its leases, then SIGCONT
    DRAIN = "drain"  # SIGTERM, then started again
    FLUSH = "flush"  # FLUSHALL
    REDIS = "redis restart"
    POSTGRES = "postgres restart"  # immediate: no session is told, recovery from the log
    POOL = "full pool"  # every connection that PostgreSQL has is taken
    CARRIER = "carrier"  # one of `STORMS`, for a while


@dataclass(frozen=True, slots=True)
class Fault:
    """Begins `at_s` after the start, and what it does lasts `for_s` (of a restart: how long the server stays away)."""

    at_s: float
    kind: Kind
    target: str = ""  # a process, or a storm
    for_s: float = 0.0

    @property
    def name(self) -> str:
        """What the report counts it under: `kill worker`, `carrier hang`, `flush`."""
        return f"{self.kind} {self.target.rpartition('-')[0] or self.target}".rstrip()


EVERY_S = 2.75


@dataclass(frozen=True, slots=True)
class Pace:
    """How dense the faults are. Durations are ranges in seconds."""

    every_s: float = EVERY_S  # from the end of one fault to the next, on average
    overlap: float = 0.25  # how often the next one does not wait for that end
    stop_s: tuple[float, float] = (3.5, 6.0)  # leases are 3 s
    away_s: tuple[float, float] = (0.0, 1.5)
    pool_s: tuple[float, float] = (1.0, 3.0)
    storm_s: tuple[float, float] = (2.0, 4.0)
    weights: Mapping[Kind, float] = field(default_factory=lambda: dict(WEIGHTS))

    @property
    def gap_s(self) -> tuple[float, float]:
        """The least and the most between the end of one fault and the next: 1.5 and 4 s, unless asked otherwise."""
        return self.every_s * 6 / 11, self.every_s * 16 / 11


WEIGHTS: Mapping[Kind, float] = {
    Kind.KILL: 5,
    Kind.STOP: 3,
    Kind.DRAIN: 3,
    Kind.FLUSH: 2,
    Kind.REDIS: 1.5,
    Kind.POSTGRES: 1.5,
    Kind.POOL: 1.5,
    Kind.CARRIER: 4,
}
STORMS: Mapping[str, Mapping[str, float]] = {
    "rate limit": {"rate_limit": 0.2},
    "error": {"error_after_accept": 0.5, "command_error": 0.5},
    "drop": {"drop_before_accept": 0.3, "drop_after_accept": 0.3},
    "hang": {"hang_after_accept": 0.3},
    "redirect": {"redirect": 0.3},
    "callbacks": {"callback_double": 0.6, "callback_late": 0.5, "callback_disorder": 0.5, "callback_lost": 0.2},
}
"""Rates of the simulated network's faults, in use while the storm lasts."""

BACKGROUND: Mapping[str, float] = {"callback_double": 0.05, "callback_late": 0.05, "callback_disorder": 0.1}
"""In use at all times."""

# Dramatiq gives a worker up for dead after 30 s without a heartbeat: in a long run some are stopped for longer.
_PAST_HEARTBEAT_S, _LONG_RUN_S = 35.0, 240.0
_LONG_STOPS = 0.1
_TARGETED = (Kind.KILL, Kind.STOP, Kind.DRAIN)


def draw(seed: int, seconds: float, cast: Sequence[str], pace: Pace | None = None) -> list[Fault]:
    """The faults of a run of `seconds`, in order of time; `cast` are the processes that may be hit.

    Every kind comes once, in random order, before any comes twice; so a short run is no accident of the dice.
    """
    pace = pace or Pace()
    rng = random.Random(f"chaos {seed}")
    kinds = _kinds(rng, pace.weights)
    faults: list[Fault] = []
    at_s = rng.uniform(*pace.gap_s)
    while at_s < seconds:
        fault = _fault(rng, next(kinds), at_s, cast, pace, seconds)
        if fault.at_s + fault.for_s > seconds:
            break
        faults.append(fault)
        wait_s = rng.uniform(*pace.gap_s)
        at_s += wait_s if rng.random() < pace.overlap else fault.for_s + wait_s
    return _without_doubles(faults)


def _kinds(rng: random.Random, weights: Mapping[Kind, float]) -> Iterator[Kind]:
    first = [kind for kind in Kind if weights.get(kind)]
    rng.shuffle(first)
    yield from first
    while True:
        yield rng.choices(list(weights), list(weights.values()))[0]


def _fault(rng: random.Random, kind: Kind, at_s: float, cast: Sequence[str], pace: Pace, seconds: float) -> Fault:
    target, for_s = "", 0.0
    if kind in _TARGETED:
        target = rng.choice(cast)
    if kind is Kind.STOP:
        for_s = rng.uniform(*pace.stop_s)
        if seconds >= _LONG_RUN_S and target.startswith("worker") and rng.random() < _LONG_STOPS:
            for_s = _PAST_HEARTBEAT_S
    elif kind in (Kind.REDIS, Kind.POSTGRES):
        for_s = rng.uniform(*pace.away_s)
    elif kind is Kind.POOL:
        for_s = rng.uniform(*pace.pool_s)
    elif kind is Kind.CARRIER:
        target, for_s = rng.choice(list(STORMS)), rng.uniform(*pace.storm_s)
    return Fault(at_s, kind, target, for_s)


def _without_doubles(faults: Sequence[Fault]) -> list[Fault]:
    """Drops a fault that hits what another one still holds: a stopped process cannot be drained."""
    busy: dict[str, float] = {}
    kept = []
    for fault in faults:
        holds = fault.target if fault.kind in _TARGETED else str(fault.kind)
        if busy.get(holds, 0.0) > fault.at_s:
            continue
        busy[holds] = fault.at_s + fault.for_s
        kept.append(fault)
    return kept
