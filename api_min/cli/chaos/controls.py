"""Negative controls: for each fence that can be taken away, the faults that let it be missed, and what breaks then.

The fence is taken away by `workers.unfenced`, in the harness's own processes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from api_min.cli.chaos.plan import Fault, Kind


class Fence(StrEnum):
    UNIQUE_INTENT = "unique-intent"
    STATE_GUARD = "state-guard"
    LIMITER_REBUILD = "limiter-rebuild"
    PAUSE_CHECK = "pause-check"


@dataclass(frozen=True, slots=True)
class Control:
    breaks: frozenset[str]  # one of these promises, at least
    plan: tuple[Fault, ...] = ()
    pauses: bool = False


def _every(seconds: float, times: int, *faults: tuple[Kind, str, float]) -> tuple[Fault, ...]:
    """The faults together, `times` times, `seconds` apart."""
    return tuple(
        Fault(seconds * (number + 1), kind, target, for_s) for number in range(times) for kind, target, for_s in faults
    )


CONTROLS: Mapping[Fence, Control] = {
    # A coordinator that takes campaigns over enqueues again what is still queued: everybody's hint comes twice.
    Fence.UNIQUE_INTENT: Control(
        frozenset({"P1", "P2"}), _every(2.5, 4, (Kind.DRAIN, "coordinator-1", 0.0), (Kind.DRAIN, "coordinator-2", 0.0))
    ),
    # The call is over before its create is given up, so the late answer would be written over its end.
    Fence.STATE_GUARD: Control(frozenset({"P1", "P2", "P6"}), _every(1.0, 1, (Kind.CARRIER, "hang", 12.0))),
    # Slots of before the flush are still to be used while new ones are given out for the same second.
    Fence.LIMITER_REBUILD: Control(frozenset({"P4"}), _every(0.35, 30, (Kind.FLUSH, "", 0.0))),
    # What is queued, or waits for its slot in a worker, goes out after the answer.
    Fence.PAUSE_CHECK: Control(frozenset({"P3"}), pauses=True),
}
