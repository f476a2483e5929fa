"""The harness on real processes: a short seeded run holds every promise, and a missing fence is caught."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import orjson
import pytest

from api_min.cli.chaos.ending import Ending
from api_min.cli.chaos.faults import Injector
from api_min.cli.chaos.plan import Fault, Kind
from api_min.cli.chaos.stage import Diary, Stage, running_stage
from engine.embedded.servers import start_servers
from engine.errors import Misconfigured
from engine.processes.stack import start_network
from engine.processes.supervisor import Supervisor

pytestmark = pytest.mark.slow

_NAMES = ("DATABASE_URL", "REDIS_URL", "REDIS_QUEUE_URL")
_PATIENCE_S = 400.0


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _NAMES}


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "api_min.cli.main", "chaos", *arguments]


def chaos(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        _command(*arguments), env=_environment(), capture_output=True, text=True, timeout=_PATIENCE_S, check=False
    )


def test_a_short_run_breaks_much_and_no_promise() -> None:
    done = chaos("--minutes", "0.3", "--prospects", "200", "--seed", "5", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = orjson.loads(done.stdout)
    assert found["held"]
    assert found["faults_injected"] >= 3
    assert found["creates"] >= 200
    assert found["pauses"] >= 3
    assert found["events"] > 1_000
    assert (found["gaps"], found["repeats"], found["double_contacts"]) == (0, 0, [])


def test_a_run_that_is_ended_early_is_judged() -> None:
    with subprocess.Popen(
        _command("--minutes", "9", "--prospects", "9000", "--seed", "3", "--json"),
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stderr is not None
        while " people, " not in run.stderr.readline():
            assert run.poll() is None
        run.send_signal(signal.SIGINT)
        told, _ = run.communicate(timeout=_PATIENCE_S)
    assert run.returncode == 0, told
    found = orjson.loads(told)
    assert (found["held"], found["completed"], found["lost"]) == (True, True, [])
    assert found["seconds"] < 9 * 60
    assert 5_000 <= found["prospects"] <= 9_000  # six in ten are handed over before the start


def test_a_missing_fence_is_caught() -> None:
    done = chaos("--minutes", "0.25", "--prospects", "300", "--seed", "1", "--without", "unique-intent", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "caught: " in done.stderr
    found = orjson.loads(done.stdout)
    assert found["double_contacts"]
    assert not found["held"]


def test_an_unfenced_worker_starts_for_nobody_but_the_harness() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "workers.unfenced", "unique-intent"], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "under `carillon chaos` only" in done.stderr


def test_servers_of_others_are_not_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://somebody@db.example/production")
    with pytest.raises(Misconfigured, match="unset DATABASE_URL"), running_stage(tmp_path, 1):
        pass


async def test_a_server_that_is_not_back_yet_is_not_ended_again(tmp_path: Path) -> None:
    plan = [Fault(at_s, kind, for_s=0.3) for at_s in (0.0, 0.1) for kind in (Kind.REDIS, Kind.POSTGRES)]
    with start_servers(tmp_path / "data", keep=False) as running, Supervisor({}, lambda *_: None) as supervisor:
        network = start_network(supervisor, running.servers.folder, {})
        stage = Stage(running, supervisor, network, "", [], Diary(), tmp_path / "log")
        async with aiohttp.ClientSession() as session:
            injector = Injector(stage, session, Ending())
            await injector.run(plan)

        assert [blow.fault.at_s for blow in injector.blows] == [0.0, 0.0]
        assert running.dead() == []
