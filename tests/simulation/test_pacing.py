"""Over many seeds: nobody is abandoned by progressive pacing, few by predictive pacing, whose agents talk more."""

from random import Random

import pytest

from engine.rules.pacing import HELD_AT, WINDOW_H, Pacing
from tests.simulation.floor import Floor, People

DAYS = 36  # six 30-day windows end on the last days, and the shorter ones before that count as the campaign so far
SHIFT_S = 1200.0
FIRST_H = 10
MORE_TALK = 1.15
PROGRESSIVE = Pacing.PROGRESSIVE


def campaign(seed: int, pacing: Pacing, days: int = DAYS) -> Floor:
    """Three days a week with other people each: answer rates and talk times change from day to day."""
    drawn = Random(seed)
    floor = Floor(seed, drawn.choice((8, 10, 12, 16)), pacing)
    for day in range(days):
        people = People(drawn.uniform(0.1, 0.4), drawn.uniform(0.1, 0.4), drawn.uniform(25, 120))
        if day % 7 in (0, 2, 4):
            floor.run(day * 24 + FIRST_H, SHIFT_S, people)
    return floor


def worst_window(floor: Floor) -> float:
    return max(floor.figure(day * 24 + 23).rate for day in range(DAYS))


def check(seed: int) -> None:
    progressive, predictive = campaign(seed, PROGRESSIVE), campaign(seed, Pacing.PREDICTIVE)
    figure = progressive.figure(WINDOW_H)
    assert (figure.abandoned, progressive.most_up) == (0, progressive.agents), f"seed {seed}"
    assert worst_window(predictive) <= HELD_AT, f"seed {seed}"
    assert predictive.worked_s == progressive.worked_s
    assert predictive.talked_s >= MORE_TALK * progressive.talked_s, f"seed {seed}"


@pytest.mark.parametrize("seed", range(3))
def test_predictive_pacing_keeps_the_law_and_the_agents_busy(seed: int) -> None:
    check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 53))
def test_predictive_pacing_over_fifty_seeds(seed: int) -> None:
    check(seed)


def test_the_same_seed_is_the_same_history() -> None:
    assert campaign(7, Pacing.PREDICTIVE, 3).hours == campaign(7, Pacing.PREDICTIVE, 3).hours
