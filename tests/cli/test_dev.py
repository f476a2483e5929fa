"""`carillon dev` with real servers and stand-ins for the processes: whatever ends it, nothing is left."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.embedded.processes import Process, note, read_record

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
DEADLINE_S = 30.0
PROGRAM = """
import sys
from api_min.cli import main
from engine.processes import stack
stack.MODULES.update(dict.fromkeys(stack.MODULES, "stand_in"))
sys.argv[1:] = ["dev", "--port", "0", "--workers", "2", "--folder", sys.argv[1]]
main.main()
"""
NAMES = {"carrier", "agent", "relay", "coordinator", "webhooks", "api", "worker-1", "worker-2"}


class Dev:
    """A running `carillon dev`, read up to its last line of welcome."""

    def __init__(self, folder: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.endswith("_URL")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder)],
            env=environment | {"PYTHONPATH": str(HERE)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines = list(iter(self._line, "Ctrl-C stops everything"))
        self.children = [note(_name(pid), pid) for pid in _below(self.process.pid)]
        self.servers = read_record(folder)

    def said(self, pattern: str) -> str:
        found = re.search(pattern, "\n".join(self.lines))
        assert found, self.lines
        return found[1]

    def wait(self) -> str:
        return self.process.communicate(timeout=DEADLINE_S)[0]

    def left(self) -> list[Process]:
        return [process for process in (*self.children, *self.servers) if process.is_alive]

    def child(self, name: str) -> int:
        return next(process.pid for process in self.children if process.name == name)

    def _line(self) -> str:
        line = self.process.stdout.readline()
        assert line, f"carillon dev ended: {self.lines if hasattr(self, 'lines') else ''}"
        return line.rpartition("| ")[2].strip() if line.startswith("dev ") else line.strip()


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="carillon-test-") as name:
        Path(name).chmod(0o711)
        yield Path(name, "data")


@pytest.fixture
def dev(folder: Path) -> Iterator[Callable[[], Dev]]:
    started: list[Dev] = []

    def start() -> Dev:
        started.append(Dev(folder))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.communicate()
        _until(lambda each=each: not each.left())


def test_it_starts_everything_and_ctrl_c_stops_it(dev: Callable[[], Dev]) -> None:
    first = dev()
    assert {line.partition(" ")[0] for line in first.lines} >= NAMES
    assert {child.name for child in first.children} >= NAMES
    assert len(first.servers) == 2
    key = first.said(r"key: (tk_test_\S+)")
    assert first.said(r"ready: http://127.0.0.1:(\d+) ") != "0"
    first.process.send_signal(signal.SIGINT)
    assert first.wait().endswith("stopped\n")
    assert first.process.returncode == 0
    assert first.left() == []
    again = dev()
    assert again.said(r"key: (tk_test_\S+)") == key


def test_kill_9_leaves_nothing_running(dev: Callable[[], Dev]) -> None:
    killed = dev()
    killed.process.kill()
    killed.wait()
    _until(lambda: not killed.left())


def test_a_process_that_dies_is_reported_and_everything_stops(dev: Callable[[], Dev]) -> None:
    running = dev()
    os.kill(running.child("carrier"), signal.SIGKILL)
    assert running.wait().splitlines()[-1].startswith("carrier was killed by SIGKILL")
    assert running.process.returncode == 1
    assert running.left() == []


def test_a_server_that_dies_is_reported_and_everything_stops(dev: Callable[[], Dev]) -> None:
    running = dev()
    redis = next(process for process in running.servers if process.name == "redis")
    os.kill(redis.pid, signal.SIGKILL)
    assert "the embedded redis ended" in running.wait().splitlines()[-1]
    assert running.process.returncode == 1
    assert running.left() == []


def test_a_second_one_on_the_same_folder_is_refused(dev: Callable[[], Dev], folder: Path) -> None:
    first = dev()
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_URL")}
    second = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)], env=environment, check=False, capture_output=True, text=True
    )
    assert second.returncode == 1
    assert second.stderr.count("\n") == 1
    assert str(first.process.pid) in second.stderr
    assert str(folder) in second.stderr


def _below(pid: int) -> list[int]:
    """All descendants: the processes are children of the one that they are forked from."""
    listed = Path(f"/proc/{pid}/task").glob("*/children")
    found = [int(child) for task in listed for child in task.read_text().split()]
    return [*found, *(each for child in found for each in _below(child))]


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.01)
