"""The report's arithmetic."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_min.cli.chaos import figures
from api_min.cli.chaos.doubts import Known, explain
from api_min.cli.chaos.figures import Late, Sequencing, Span, Step, Violations
from api_min.cli.chaos.judgement import steps_of

PAUSE = Span(100.0, 102.0)  # answered, resumed


@pytest.mark.parametrize(
    ("at", "lag", "stops", "expected"),
    [
        pytest.param(99.9, 0.0, [], Violations(), id="before the answer"),
        pytest.param(100.04, 0.0, [], Violations(), id="on its way while the answer was"),
        pytest.param(100.5, 0.45, [], Violations(), id="the carrier was too busy to read it"),
        pytest.param(100.5, 0.0, [], Violations(unexplained=1), id="begun after the answer"),
        pytest.param(102.5, 0.0, [], Violations(), id="after the resume"),
        pytest.param(101.2, 0.0, [Span(99.0, 101.0)], Violations(frozen=1), id="its process was stopped meanwhile"),
        pytest.param(101.8, 0.0, [Span(99.0, 101.0)], Violations(unexplained=1), id="long after it went on"),
        pytest.param(101.2, 0.0, [Span(100.5, 101.0)], Violations(unexplained=1), id="stopped after the answer only"),
        pytest.param(100.5, 0.0, [Span(99.0, 101.0)], Violations(unexplained=1), id="another one was stopped"),
    ],
)
def test_a_create_after_a_pause_is_a_violation_unless_a_stop_explains_it(
    at: float, lag: float, stops: list[Span], expected: Violations
) -> None:
    assert figures.pause_violations([PAUSE], [at], [lag], stops) == expected


def test_a_stop_makes_one_create_late() -> None:
    """Look and write are one turn of one loop: a process that wrote more than that did not look again."""
    late = [Late(98.0, 100.0, at, 0.0) for at in (105.01, 105.02)]
    assert figures.frozen_by([Span(99.0, 105.0)], late) == [True, False]
    assert figures.frozen_by([Span(99.0, 105.0), Span(99.5, 104.9)], late) == [True, True]
    assert figures.pause_violations([Span(100.0, 110.0)], [105.01, 105.02], [0.0, 0.0], [Span(99.0, 105.0)]) == (
        Violations(unexplained=1, frozen=1)
    )


def test_what_was_allowed_is_the_rates_integral() -> None:
    steps = [Step(10.0, 5.0), Step(20.0, 0.0), Step(22.0, 10.0), Step(30.0, 0.0)]
    assert figures.allowed(steps, Span(0.0, 10.0)) == 0
    assert figures.allowed(steps, Span(18.0, 24.0)) == 30
    assert figures.allowed(steps, Span(0.0, 100.0)) == 130


def test_the_worst_window_is_found_and_those_with_little_allowed_do_not_count() -> None:
    steps = [Step(0.0, 10.0), Step(40.0, 0.0)]
    steady = [n / 10 for n in range(400)]
    assert figures.worst_window(steps, steady, 10.0) == pytest.approx(1.0, abs=0.02)
    with_a_hole = [at for at in steady if not 15 <= at < 20]
    assert figures.worst_window(steps, with_a_hole, 10.0) == pytest.approx(0.5, abs=0.02)
    assert figures.worst_window([], [], 10.0) == 1.0
    paused = [Step(0.0, 10.0), Step(12.0, 0.0), Step(30.0, 10.0), Step(45.0, 0.0)]
    worked = [at for at in steady if at < 12] + [30 + n / 10 for n in range(150)]
    assert figures.worst_window(paused, worked, 10.0) > 0.95


def test_recovery_counts_from_the_blow_to_the_first_question_that_was_asked_after_it() -> None:
    probes = [Span(1.0, 9.0), Span(5.2, 5.4), Span(5.6, 5.7)]
    assert figures.answered_after(5.0, probes) == pytest.approx(0.4)
    assert figures.answered_after(6.0, probes) is None


def test_the_throughput_is_back_when_a_second_has_most_of_its_calls() -> None:
    steps = [Step(0.0, 10.0), Step(60.0, 0.0)]
    calls = [n / 10 for n in range(600) if not 20.0 <= n / 10 < 23.0]
    assert figures.flowing_after(20.0, steps, calls) == pytest.approx(2.7, abs=0.15)
    assert figures.flowing_after(5.0, steps, calls) == 0.0
    assert figures.flowing_after(59.5, steps, calls) is None  # nobody is left to be called
    assert figures.flowing_after(1.0, [], []) is None


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1.0))
def test_a_percentile_is_one_of_the_values_and_most_do_not_exceed_it(values: list[float], share: float) -> None:
    found = figures.percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= math.floor(share * len(values))


def test_percentiles_of_little() -> None:
    assert figures.percentile([], 0.99) == 0.0
    assert figures.percentile([3.0], 0.5) == 3.0
    assert figures.percentile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.0
    assert figures.percentile([1.0, 2.0, 3.0, 4.0], 0.99) == 4.0


def test_gaps_and_repeats_are_counted() -> None:
    seen = Sequencing()
    for number in (1, 2, 3, 3, 6, 7, 2):
        seen.see(number)
    assert (seen.events, seen.gaps, seen.repeats, seen.last) == (7, 2, 2, 7)


def test_what_the_server_said_it_left_out_is_no_gap() -> None:
    seen = Sequencing()
    seen.see(1)
    seen.skip_to(50)
    seen.see(50)
    assert (seen.gaps, seen.repeats) == (0, 0)


@given(st.floats(10, 500), st.floats(0.0, 60.0))
def test_a_series_that_warms_up_and_stays_is_flat(level: float, noise: float) -> None:
    samples = [(float(n), min(level, level * n / 20) + noise * ((n * 7919) % 13 - 6) / 600) for n in range(120)]
    assert figures.trend(samples, slack=1.0).is_flat


@given(st.floats(50, 500), st.floats(0.2, 5.0))
def test_a_series_that_leaks_is_not(level: float, per_hour: float) -> None:
    samples = [(n * 60.0, level + level * per_hour * n / 60) for n in range(120)]
    told = figures.trend(samples, slack=1.0)
    assert not told.is_flat
    assert told.growth == pytest.approx(level * per_hour * 79 / 60, rel=0.05)


def test_one_peak_is_no_trend() -> None:
    samples = [(float(n), 100.0 + (400.0 if n == 110 else 0.0)) for n in range(120)]
    assert figures.trend(samples, slack=1.0).is_flat
    assert figures.trend([], slack=1.0).is_flat
    assert figures.trend([(0.0, 5.0)], slack=1.0).level == 5.0


def test_rates_are_added_up_while_they_last() -> None:
    spans = [(Span(0.0, 10.0), 5.0), (Span(5.0, 20.0), 3.0)]
    assert steps_of(spans) == [Step(0.0, 5.0), Step(5.0, 8.0), Step(10.0, 3.0), Step(20.0, 0.0)]


def test_an_unknown_attempt_is_explained_by_a_carrier_that_does_not_know_either() -> None:
    known = {"a": Known(accepted=True), "b": Known(accepted=True, ended=True), "c": Known()}
    reasons, unexplained = explain(["a", "b", "c", "d"], known)
    assert reasons == {"the carrier never learned how it ended": 1}
    assert [each[0] for each in unexplained] == ["b", "c", "d"]
