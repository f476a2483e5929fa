"""`carillon simulate`: what it prints, and what it exits with."""

import subprocess
import sys

import pytest

from api_min.cli import simulate
from tests.simulation.test_fences import NoUniqueIntent


def test_seeds_that_hold() -> None:
    command = [sys.executable, "-m", "api_min.cli.main", "simulate", "--seeds", "3", "--seed", "5"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "3 histories hold, seeds 5 to 7" in done.stdout
    assert done.stderr == ""


async def test_a_seed_that_fails_is_named_with_its_shortest_script(capsys: pytest.CaptureFixture[str]) -> None:
    told = await simulate.run(50, 0, False, NoUniqueIntent)
    assert told is not None
    assert told[0].startswith("seed ")
    text = "\n".join(told)
    for what in ("breaks a promise", "P2 accepted_once", "The shortest script found", "contact (", "commit_intents"):
        assert what in text


@pytest.mark.slow
async def test_on_postgres_both_agree(capsys: pytest.CaptureFixture[str]) -> None:
    assert await simulate.run(1, 6, True) is None
    assert "1 histories hold" in capsys.readouterr().out
