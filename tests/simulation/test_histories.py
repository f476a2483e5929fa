"""Thousands of seeded histories in memory: every promise holds in each, and a seed is one history."""

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import product

import pytest

from engine.rules.telephony import Channel
from engine.simulation.memory import MemorySteps
from engine.simulation.port import CARRIER, DOCUMENT_CARRIER, Person
from engine.simulation.runner import report, shortest
from engine.simulation.script import ONE_OFF_STEPS, OTHER_STEPS, WORKER_STEPS, write
from engine.simulation.world import History, play

GROUP = 100
SEEDS = 2_000


async def _play(seed: int) -> History:
    return await play(write(seed), MemorySteps)


async def _assert_all_hold(seeds: Sequence[int]) -> None:
    for seed in seeds:
        history = await _play(seed)
        if history.problems:
            pytest.fail(f"seed {seed}\n" + "\n".join(report(await shortest(history))))


@pytest.fixture(scope="module")
def first_hundred() -> list[History]:
    async def all_of_them() -> list[History]:
        return [await _play(seed) for seed in range(GROUP)]

    return asyncio.run(all_of_them())


def test_every_promise_holds_in_the_first_hundred_histories(first_hundred: list[History]) -> None:
    assert {history.script.seed: history.problems for history in first_hundred if history.problems} == {}


@pytest.mark.slow
@pytest.mark.parametrize("first", range(GROUP, SEEDS, GROUP))
async def test_every_promise_holds_in_two_thousand_histories(first: int) -> None:
    await _assert_all_hold(range(first, first + GROUP))


async def test_a_seed_is_one_history() -> None:
    assert (await _play(7)).digest == (await _play(7)).digest
    assert (await _play(7)).digest != (await _play(8)).digest


@pytest.mark.slow
def test_a_seed_is_the_same_history_in_every_process() -> None:
    code = (
        "import asyncio; from engine.simulation.memory import MemorySteps; from engine.simulation.script import write;"
        "from engine.simulation.world import play;"
        "print([asyncio.run(play(write(seed), MemorySteps)).digest for seed in (3, 5, 11)])"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("0", "1")
    }
    assert len(told) == 1
    assert b"[" in told.pop()


def test_histories_are_full_of_what_they_are_for(first_hundred: list[History]) -> None:
    """In a hundred of them every kind of fault strikes, and nearly every step is one at which some process died."""
    lines = [line for history in first_hundred for line in history.lines]
    text = "".join(lines)
    assert len({fault.kind for history in first_hundred for fault in history.script.faults}) > 25
    signs = (
        "killed after", "stopped for", "queue.lost", "queue.twice", "queue.late", "callback.lost", "callback.twice",
        "callback.very_late", "clock.real 3600", "clock.real -20", "clock.engine", "flush", ": unknown", ": absent",
        "paused {1", "refused: {", "still_unknown", "handoff", "play", "hangup", "too_many_calls", "outside_window",
        "missing_value", "suppressed", "puts off", "slot_missed", "sender_not_ready", "not_live", "out_of_date",
    )  # fmt: skip
    assert [sign for sign in signs if sign not in text] == []
    killed = {line.split(" killed after ")[1].split(" ")[0] for line in lines if " killed after " in line}
    assert len({*WORKER_STEPS, *OTHER_STEPS["api"], *OTHER_STEPS["relay"], *ONE_OFF_STEPS} - killed) <= 2


def test_histories_are_full_of_one_off_contacts(first_hundred: list[History]) -> None:
    made: Counter[tuple[Channel, str]] = Counter()
    kept: list[Person] = []
    for history in first_hundred:
        homes = {home.id for home in history.end.directs}
        made.update((line.channel, line.carrier) for line in history.accepted if line.campaign_id in homes)
        kept += [person for person in history.end.people if person.campaign_id in homes]
    assert min(made[pair] for pair in product(Channel, (CARRIER, DOCUMENT_CARRIER))) >= 6
    text = "".join(line for history in first_hundred for line in history.lines)
    repeats = text.count(" queue_text ") + text.count(" create_call ") - len(kept)
    assert repeats >= 60
    assert sum(person.reason == "suppressed" for person in kept) >= 8
    assert sum(not history.script.one_offs for history in first_hundred) >= 25
    assert [each for each in ("queue.lost wake", "queue.twice wake", "queue.late wake") if each not in text] == []
