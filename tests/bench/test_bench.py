"""Each benchmark, small, from the command line: it runs through, its books balance, and it says what it found."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.embedded.servers import Servers
from workers.bench import lifecycle

pytestmark = pytest.mark.slow

PATIENCE_S = 400.0  # of a machine that is shared; what hangs says so itself, sooner or later


def _bench(what: str, size: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "api_min.cli.main", "bench", what, "--json", "--rounds", "1", "--size", str(size)],
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_dispatch() -> None:
    found = _bench("dispatch", 400)

    assert found["machine"]["fsync"] == found["machine"]["synchronous_commit"] == "on"
    assert found["ratio"] == found["dispatch"]["ratio"] > 0
    assert set(found["dispatch"]["lines"]["1 campaign"]["cpu_us_per_job"]) >= {
        "worker",
        "coordinator",
        "relay",
        "total",
    }


def test_import() -> None:
    assert _bench("import", 1_000)["import"]["ratio"] > 0


def test_stats() -> None:
    found = _bench("stats", 2_000)["stats"]

    assert found["ratio"] > 0
    assert found["tick_ratio"] > 0


def test_lifecycle(servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [2_000 * more for more in lifecycle.GROWS] == [10_000, 100_000, 1_000_000]
    monkeypatch.setattr(lifecycle, "GROWS", (5, 500))

    result = lifecycle.run(servers, 50, 1, print, profiles=tmp_path)

    assert [line.name for line in result.lines] == ["of 250", "of 25,000"]
    assert "%" in str(result.figures["worker-1 spends most in"])
    found = {name: float(figure) for name, figure in result.figures.items() if not isinstance(figure, str)}
    assert found["per_second_per_core"] > 0
    assert found["share_of_worker"] > 0
    assert found["growth"] > 0
    assert 0 < found["open_loop_p50_ms"] <= found["open_loop_p99_ms"] < 10_000


def test_stream() -> None:
    found = _bench("stream", 50)["stream"]

    assert found["lines"]["carillon"]["per_second"] > 0
    assert found["lines"]["carillon"]["missing"] == found["paced_missing"] == 0
    assert found["paced_p99_ms"] >= found["paced_p50_ms"] > 0
    assert found["resumes"] == 10
    assert found["resumes_missing"] == found["resumes_repeated"] == found["replay_missing"] == 0
    assert found["commit_to_client_missing"] == 0
    assert found["of_nchan"] == "not installed" or found["of_nchan"] > 0
