"""Folders and environment of the embedded servers' own tests, which start servers of their own."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.embedded.processes import Process, read_record

OWNER = """
import sys, pathlib
from engine.embedded.servers import start_servers
running = start_servers(pathlib.Path(sys.argv[1]), keep=sys.argv[2] == "keep")
print(running.servers.folder, flush=True)
sys.stdin.read()
running.stop()
"""

DEADLINE_S = 20.0


@pytest.fixture(autouse=True)
def no_given_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("DATABASE_URL", "REDIS_URL", "REDIS_QUEUE_URL"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that any account can enter; pytest closes its own."""
    with tempfile.TemporaryDirectory(prefix="carillon-test-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.fixture
def folder(place: Path) -> Path:
    """A data folder that is not there yet."""
    return place / "data"


class Owner:
    """A real process that has started servers on a folder."""

    def __init__(self, folder: Path, *, keep: bool = True, **options: object) -> None:
        self.process = subprocess.Popen(  # type: ignore[call-overload]
            [sys.executable, "-c", OWNER, str(folder), "keep" if keep else "drop"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **options,
        )
        self.folder = Path(self.process.stdout.readline().strip())
        self.servers: list[Process] = read_record(self.folder)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def leave(self) -> int:
        self.process.communicate()
        return int(self.process.returncode)


@pytest.fixture
def owner() -> Iterator[Callable[..., Owner]]:
    """Starts owners; ends them at the end of the test."""
    owners: list[Owner] = []

    def start(folder: Path, **options: object) -> Owner:
        owners.append(Owner(folder, **options))
        return owners[-1]

    yield start
    for each in owners:
        each.kill()
        until(lambda each=each: not any(process.is_alive for process in each.servers))


def until(condition: Callable[[], bool]) -> None:
    """Fails when the condition does not come true."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.01)


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    return until
