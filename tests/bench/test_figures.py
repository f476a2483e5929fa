"""What is said of the samples, and how it is printed."""

import io

import orjson
import pytest
from rich.console import Console

from workers.bench import report
from workers.bench.figures import Goal, Line, Result, Sample, alternate


def test_the_sides_take_turns_and_each_keeps_its_own_samples() -> None:
    order: list[str] = []

    def side(name: str, seconds: float) -> Sample:
        order.append(name)
        return Sample(100, seconds)

    lines = alternate({"a": lambda: side("a", 1.0), "b": lambda: side("b", 2.0)}, 3, lambda line: None)

    assert order == ["a", "b"] * 3
    assert [(line.name, line.rate, len(line.samples)) for line in lines] == [("a", 100.0, 3), ("b", 50.0, 3)]


def test_the_middle_round_counts_not_the_mean() -> None:
    line = Line("a", [Sample(100, 1.0), Sample(100, 100.0), Sample(100, 2.0)])

    assert line.rate == 50.0


def test_cpu_is_per_job_and_group_and_in_total() -> None:
    samples = [Sample(1_000, 1.0, {"worker": 0.1, "redis": 0.02}), Sample(1_000, 1.0, {"worker": 0.1, "redis": 0.04})]

    assert Line("a", samples).cpu_us() == pytest.approx({"redis": 30.0, "worker": 100.0, "total": 130.0})


def test_a_line_without_cpu_says_nothing_of_it() -> None:
    assert Line("a", [Sample(1, 1.0)]).cpu_us() == {}


@pytest.mark.parametrize(
    ("goal", "value", "met"),
    [(Goal("ratio", 1.0), 1.0, True), (Goal("ratio", 1.0), 0.99, False), (Goal("mb", 150, is_most=True), 151, False)],
)
def test_goals(goal: Goal, value: float, met: bool) -> None:
    assert goal.is_met(value) is met


def _result(name: str) -> Result:
    line = Line("ours", [Sample(100, 1.0, {"worker": 0.01}, {"worker_mb": 120.0})])
    return Result(name, "prospect", [line], {"ratio": 1.23456, "rows": 7}, [Goal("ratio", 1.0)])


def test_json_has_the_machine_each_benchmark_and_the_ratio_on_top() -> None:
    shown = orjson.loads(report.to_json({"fsync": "on"}, [_result("dispatch"), _result("import")]))

    assert shown["machine"] == {"fsync": "on"}
    assert shown["ratio"] == shown["dispatch"]["ratio"] == 1.235
    assert shown["import"]["lines"]["ours"]["cpu_us_per_job"] == {"worker": 100.0, "total": 100.0}
    assert shown["dispatch"]["goals"] == {"ratio": "≥ 1"}


def test_the_table_names_the_verdict() -> None:
    out = io.StringIO()

    report.print_result(Console(file=out, width=160), _result("dispatch"))

    assert "ours" in out.getvalue()
    assert "ratio: 1.23  (goal ≥ 1: met)" in out.getvalue()
