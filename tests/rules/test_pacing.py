"""Pacing beside live agents: the stages as a table, the arithmetic against the slow and obvious sum."""

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.rules.pacing import (
    LEAST_CALLS,
    MOST_UP_PER_AGENT,
    Calls,
    Figure,
    Forecast,
    Pacing,
    Recent,
    Stage,
    calls_to_place,
    expected_abandoned,
    forecast,
    stage_after,
)

S = Stage
BUSY = Recent(calls=200, persons=60, ring_s=600, talk_s=3_000, connected=50)
QUIET = Recent(calls=LEAST_CALLS - 1, persons=20, ring_s=200, talk_s=1_000, connected=20)
GOOD = Forecast(Stage.FREE, answer_rate=0.2, ring_s=10, talk_s=60, figure=Figure(5_000, 20))

calls = st.builds(Calls, st.integers(0, 30), st.integers(0, 5), st.integers(0, 20))
seen = st.builds(
    Forecast,
    st.sampled_from(Stage),
    st.floats(0, 1),
    st.floats(0, 30),
    st.floats(0, 300),
    st.builds(Figure, st.integers(0, 10_000), st.integers(0, 100)),
    st.integers(0, 100),
)


def figure(rate: float) -> Figure:
    return Figure(1_000, round(1_000 * rate))


@pytest.mark.parametrize(
    ("stage", "rate", "recent", "expected"),
    [
        (S.FREE, 0.0, Recent(), S.LEARNING),
        (S.FREE, 0.0, QUIET, S.LEARNING),
        (S.LEARNING, 0.0, BUSY, S.FREE),
        (S.LEARNING, 0.0, BUSY._replace(connected=0), S.LEARNING),  # nobody has talked: no talk time to go by
        (S.FREE, 0.024, BUSY, S.FREE),
        (S.FREE, 0.025, BUSY, S.FROZEN),
        (S.FROZEN, 0.024, BUSY, S.FREE),
        (S.FREE, 0.030, BUSY, S.HELD),
        (S.FROZEN, 0.030, BUSY, S.HELD),
        (S.HELD, 0.029, BUSY, S.HELD),
        (S.HELD, 0.021, BUSY, S.HELD),
        (S.HELD, 0.021, QUIET, S.HELD),  # a quiet hour forgets nothing
        (S.HELD, 0.020, BUSY, S.FREE),
        (S.HELD, 0.020, QUIET, S.LEARNING),
        (S.LEARNING, 0.030, QUIET, S.HELD),
    ],
)
def test_stages(stage: Stage, rate: float, recent: Recent, expected: Stage) -> None:
    assert stage_after(stage, figure(rate), recent) is expected


def test_a_forecast_holds_the_means_of_the_recent_calls() -> None:
    found = forecast(Forecast(), figure(0.01), BUSY, up=9)
    assert found == Forecast(S.FREE, 0.3, 10.0, 60.0, figure(0.01))


def test_a_freeze_keeps_the_calls_that_were_up_at_its_beginning() -> None:
    frozen = forecast(GOOD, figure(0.026), BUSY, up=9)
    assert (frozen.stage, frozen.most_up) == (S.FROZEN, 9)
    assert forecast(frozen, figure(0.027), BUSY, up=4).most_up == 9
    assert forecast(frozen, figure(0.010), BUSY, up=4).most_up == 0


@pytest.mark.parametrize(
    ("capacity", "up", "expected"),
    [
        (5, Calls(), 5),
        (5, Calls(ringing=3), 2),
        (5, Calls(ringing=2, waiting=1, talking=1), 1),
        (5, Calls(talking=5), 0),
        (5, Calls(ringing=4, talking=5), 0),  # the capacity was lowered meanwhile
    ],
)
def test_progressive_never_has_more_calls_up_than_agents(capacity: int, up: Calls, expected: int) -> None:
    assert calls_to_place(Pacing.PROGRESSIVE, capacity, up, GOOD) == expected


def test_predictive_calls_ahead() -> None:
    placed = calls_to_place(Pacing.PREDICTIVE, 10, Calls(talking=8), GOOD)
    assert 2 < placed <= 10 * MOST_UP_PER_AGENT
    assert calls_to_place(Pacing.PREDICTIVE, 10, Calls(ringing=placed, talking=8), GOOD) == 0


@pytest.mark.parametrize("stage", [S.LEARNING, S.HELD])
def test_without_knowledge_or_over_the_limit_it_is_progressive(stage: Stage) -> None:
    held = GOOD._replace(stage=stage)
    assert calls_to_place(Pacing.PREDICTIVE, 10, Calls(talking=8), held) == 2


def test_frozen_adds_no_call_beyond_the_level_of_the_freeze() -> None:
    frozen = GOOD._replace(stage=S.FROZEN, most_up=12)
    assert calls_to_place(Pacing.PREDICTIVE, 10, Calls(ringing=2, talking=8), frozen) == 2
    assert calls_to_place(Pacing.PREDICTIVE, 10, Calls(ringing=4, talking=8), frozen) == 0


def test_nothing_is_risked_while_one_person_more_could_break_the_law() -> None:
    young = GOOD._replace(figure=Figure(persons=30, abandoned=0))
    assert calls_to_place(Pacing.PREDICTIVE, 10, Calls(talking=8), young) == 2


@given(st.integers(1, 30), calls, seen, st.floats(0.001, 0.025))
def test_predictive_is_never_slower_and_never_without_bound(
    capacity: int, up: Calls, guess: Forecast, target: float
) -> None:
    safe = calls_to_place(Pacing.PROGRESSIVE, capacity, up, guess)
    placed = calls_to_place(Pacing.PREDICTIVE, capacity, up, guess, target)
    assert safe == max(0, capacity - up.up) <= placed <= max(safe, capacity * MOST_UP_PER_AGENT - up.up)


@given(st.integers(1, 20), calls, seen)
def test_what_more_risk_allows_is_never_less(capacity: int, up: Calls, guess: Forecast) -> None:
    careful = calls_to_place(Pacing.PREDICTIVE, capacity, up, guess, 0.005)
    assert careful <= calls_to_place(Pacing.PREDICTIVE, capacity, up, guess, 0.02)


@given(
    st.integers(1, 6), st.integers(0, 5), st.integers(0, 4), st.floats(0.01, 0.99), st.floats(1, 30), st.floats(1, 99)
)
def test_expected_abandonment_is_that_of_every_case(
    capacity: int, ringing: int, talking: int, rate: float, ring_s: float, talk_s: float
) -> None:
    guess = Forecast(Stage.FREE, rate, ring_s, talk_s)
    ends = 1 - math.exp(-ring_s / talk_s)
    slow = sum(
        chance(ringing, answered, rate)
        * chance(min(talking, capacity), freed, ends)
        * max(0, answered - (capacity - talking + freed))
        for answered, freed in product(range(ringing + 1), range(min(talking, capacity) + 1))
    )
    up = Calls(ringing=ringing, talking=talking)
    assert expected_abandoned(capacity, up, 0, guess) == pytest.approx(slow, abs=1e-9)


def chance(trials: int, hits: int, each: float) -> float:
    return math.comb(trials, hits) * each**hits * (1 - each) ** (trials - hits)


def test_hundreds_of_agents_are_counted_in_a_few_milliseconds_without_overflow() -> None:
    guess = Forecast(Stage.FREE, 0.05, 10, 60, Figure(100_000, 100))
    placed = calls_to_place(Pacing.PREDICTIVE, 1_000, Calls(ringing=3_000, talking=900), guess)
    assert 0 <= placed <= 5_000
