"""What counts as broken, and what each control takes away."""

import subprocess
import sys
from dataclasses import replace

import pytest

from api_min.cli.chaos.figures import Trend
from api_min.cli.chaos.findings import Findings, Recovery, promises
from api_min.cli.chaos.soak import Watched
from workers.unfenced import FENCES

GOOD = Findings(
    seed=1,
    seconds=60.0,
    prospects=100,
    rate=5.0,
    faults={"flush": 2, "kill worker": 1},
    creates=120,
    completed=True,
    lost=[],
    double_contacts=[],
    doubtful=3,
    resolved=3,
    unknown={},
    unexplained=[],
    pauses=4,
    pause_violations=0,
    frozen_creates=1,
    frozen_late=1,
    worst_window=0.2,
    listeners=4,
    events=1_000,
    gaps=0,
    repeats=0,
    truncations=0,
    resets=0,
    behind=0,
    recovery=Recovery(1.0, 2.0, 2.0, "flush", {"flush": [1.0, 2.0]}),
    drains=0,
    slowest_drain_s=0.0,
    forced_drains=[],
    crashes=[],
    errors={"batch.failed": 2},
    api_answers={"200": 10, "503": 1},
)


def test_a_good_run_broke_nothing() -> None:
    assert GOOD.broken() == []
    told = GOOD.as_json()
    assert (told["held"], told["faults_injected"]) == (True, 3)


@pytest.mark.parametrize(
    ("change", "promise"),
    [
        ({"completed": False}, "P1"),
        ({"lost": ["camp_1: 3 of 4"]}, "P1"),
        ({"double_contacts": ["a: contacted 2 times"]}, "P2"),
        ({"unexplained": ["a: still doubtful"]}, "P2"),
        ({"pause_violations": 1}, "P3"),
        ({"checks": {"P4 call_rate": ["too many"]}}, "P4"),
        ({"gaps": 1}, "P6"),
        ({"repeats": 1}, "P6"),
        ({"resets": 1}, "P6"),
        ({"behind": 1}, "P6"),
    ],
)
def test_each_finding_breaks_its_promise(change: dict[str, object], promise: str) -> None:
    found = replace(GOOD, **change)
    assert promises(found.broken()) == {promise}
    assert not found.as_json()["held"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"crashes": ["relay-1 ended with code 1"]}, "ended by itself"),
        ({"forced_drains": ["worker-1"]}, "had to be killed"),
        (
            {"soak": [Watched("worker-1 memory_mb", Trend(100.0, 30.0, is_flat=False))]},
            "worker-1 memory_mb grew by 30.0",
        ),
    ],
)
def test_what_is_no_promise_fails_the_run_too(change: dict[str, object], words: str) -> None:
    (problem,) = replace(GOOD, **change).broken()
    assert words in problem
    assert promises([problem]) == set()


def test_a_flat_series_is_no_finding() -> None:
    assert replace(GOOD, soak=[Watched("redis", Trend(10.0, 0.1, is_flat=True))]).broken() == []


@pytest.mark.parametrize("fence", sorted(FENCES))
def test_every_fence_is_still_where_the_harness_takes_it_away(fence: str) -> None:
    code = f"from workers.unfenced import FENCES; FENCES[{fence!r}]()"
    subprocess.run([sys.executable, "-c", code], check=True)
