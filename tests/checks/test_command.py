from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from api_min.cli.check import MOST_PROBLEMS, app, render
from engine.checks.report import CHECKS, PROMISES, SHOWN_ELSEWHERE, Result
from engine.errors import InvalidInput


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")


@pytest.mark.usefixtures("environment")
def test_an_empty_database_passes() -> None:
    done = CliRunner().invoke(app, [])
    assert done.exit_code == 0, done.output
    assert done.output.count("PASS") == sum(not check.needs_log for check in CHECKS)
    assert done.output.count("needs --carrier-log") == sum(check.needs_log for check in CHECKS)


@pytest.mark.usefixtures("environment")
def test_a_create_without_an_attempt_fails(tmp_path: Path) -> None:
    log = tmp_path / "creates.jsonl"
    entry = {"type": "create", "at": 1.0, "ref": "x", "accepted": True, "from": "+1", "to": "+2", "channel": "voice"}
    log.write_bytes(orjson.dumps(entry) + b"\n")
    done = CliRunner().invoke(app, ["P2", "--carrier-log", str(log)])
    assert done.exit_code == 1
    assert "FAIL  P2  creates_were_intended" in done.output
    assert "PASS  P2  accepted_once" in done.output
    assert "P7" not in done.output


@pytest.mark.usefixtures("environment")
def test_an_unknown_promise_is_refused() -> None:
    done = CliRunner().invoke(app, ["P9"])
    assert isinstance(done.exception, InvalidInput)


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("promise", ["P3", "P8"])
def test_a_promise_without_a_checker_says_what_shows_it(promise: str) -> None:
    done = CliRunner().invoke(app, [promise])
    assert isinstance(done.exception, InvalidInput)
    assert f"{promise} has no checker of a database" in done.exception.message
    assert "carillon chaos" in done.exception.message


def test_help_names_the_promises_that_have_checkers() -> None:
    help_text = " ".join(CliRunner().invoke(app, ["--help"]).output.split())
    assert "P1 P2 P4 P5 P6 P7" in help_text


def test_every_promise_is_shown_by_something() -> None:
    assert sorted([*PROMISES, *SHOWN_ELSEWHERE]) == [f"P{number}" for number in range(1, 9)]


def test_many_problems_are_cut() -> None:
    lines = render([Result(CHECKS[0], [f"problem {n}" for n in range(MOST_PROBLEMS + 5)])])
    assert len(lines) == 1 + MOST_PROBLEMS + 1
    assert lines[-1].strip() == "… and 5 more"
