"""The same seed breaks the same things; nothing is hit that another fault still holds."""

from itertools import pairwise

import pytest

from api_min.cli.chaos.controls import CONTROLS, Fence
from api_min.cli.chaos.plan import BACKGROUND, STORMS, Fault, Kind, Pace, draw
from engine.carriers.network.config import Faults
from workers.unfenced import FENCES

CAST = ["api-1", "api-2", "coordinator-1", "coordinator-2", "relay-1", "relay-2", "worker-1", "worker-2"]


def test_the_same_seed_draws_the_same_plan() -> None:
    assert draw(7, 120, CAST) == draw(7, 120, CAST)
    assert draw(7, 120, CAST) != draw(8, 120, CAST)


@pytest.mark.parametrize("seed", range(40))
def test_a_plan_fits_its_time_and_hits_nothing_twice(seed: int) -> None:
    faults = draw(seed, 300, CAST)
    assert [fault.at_s for fault in faults] == sorted(fault.at_s for fault in faults)
    assert all(fault.at_s > 0 and fault.at_s + fault.for_s <= 300 for fault in faults)
    assert {fault.kind for fault in faults} == set(Kind)
    for target in CAST:
        mine = [fault for fault in faults if fault.target == target]
        assert all(first.at_s + first.for_s <= second.at_s for first, second in pairwise(mine))
    for kind in (Kind.REDIS, Kind.POSTGRES, Kind.POOL, Kind.CARRIER):
        mine = [fault for fault in faults if fault.kind is kind]
        assert all(first.at_s + first.for_s <= second.at_s for first, second in pairwise(mine))


@pytest.mark.parametrize("seed", range(10))
def test_stops_outlast_every_lease_and_in_long_runs_a_workers_heartbeat(seed: int) -> None:
    stops = [fault for fault in draw(seed, 3_600, CAST) if fault.kind is Kind.STOP]
    assert min(fault.for_s for fault in stops) > 3.0
    assert max(fault.for_s for fault in stops if fault.target.startswith("worker")) > 30.0


def test_only_the_kinds_that_are_asked_for_are_drawn() -> None:
    faults = draw(1, 60, CAST, Pace(weights={Kind.FLUSH: 1.0}))
    assert len(faults) > 10
    assert {fault.kind for fault in faults} == {Kind.FLUSH}


@pytest.mark.parametrize("every_s", [2.75, 6.0, 20.0])
def test_faults_are_as_far_apart_as_asked(every_s: float) -> None:
    seconds = 20_000.0
    pace = Pace(every_s, weights={Kind.FLUSH: 1.0})  # a flush takes no time
    assert len(draw(1, seconds, CAST, pace)) == pytest.approx(seconds / every_s, rel=0.05)


def test_the_storms_are_faults_of_the_network() -> None:
    for rates in [*STORMS.values(), BACKGROUND]:
        Faults.model_validate(dict(rates))


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (Fault(0, Kind.KILL, "worker-2"), "kill worker"),
        (Fault(0, Kind.CARRIER, "rate limit"), "carrier rate limit"),
        (Fault(0, Kind.FLUSH), "flush"),
    ],
)
def test_faults_are_counted_by_kind_and_group(fault: Fault, name: str) -> None:
    assert fault.name == name


def test_every_control_takes_a_fence_that_there_is_and_names_what_breaks() -> None:
    assert {str(fence) for fence in CONTROLS} == set(FENCES) == {str(fence) for fence in Fence}
    assert all(control.breaks and (control.plan or control.pauses) for control in CONTROLS.values())
