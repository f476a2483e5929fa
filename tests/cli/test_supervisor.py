"""The supervisor, with real child processes."""

import io
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.embedded.processes import started_at
from engine.errors import Unavailable
from engine.processes.supervisor import Supervisor, TerminalLog

HERE = Path(__file__).parent
DEADLINE_S = 20.0


@pytest.fixture
def lines() -> "queue.Queue[tuple[str, str]]":
    return queue.Queue()


@pytest.fixture(params=["executed", "forked"])
def supervisor(request: pytest.FixtureRequest, lines: "queue.Queue[tuple[str, str]]") -> Iterator[Supervisor]:
    forks = ["stand_in"] if request.param == "forked" else []
    with Supervisor({"PYTHONPATH": str(HERE)}, lambda name, line: lines.put((name, line)), forks=forks) as each:
        yield each


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def start(supervisor: Supervisor, name: str, mode: str = "normal", **options: int) -> None:
    supervisor.start(name, "stand_in", args=[mode], **options)


def test_a_child_is_logged_and_reports_what_it_chose(supervisor: Supervisor, lines: queue.Queue) -> None:
    child = supervisor.start("api", "stand_in", {"GREETING": "hello"}, ["normal", "with", "arguments"])
    facts = {"port": 1234, "pid": child.pid, "url": "ws://127.0.0.1:1234/media"}
    assert supervisor.wait_ready("api", DEADLINE_S) == facts
    assert supervisor.wait_ready("api") == facts
    assert lines.get(timeout=DEADLINE_S) == ("api", "started with arguments hello")


def test_a_child_that_ends_before_it_is_ready_is_explained(supervisor: Supervisor) -> None:
    start(supervisor, "api", "early")
    with pytest.raises(Unavailable, match="before it was ready, api ended with code 1: no database"):
        supervisor.wait_ready("api", DEADLINE_S)


def test_a_child_that_never_gets_ready_is_not_waited_for_longer_than_asked(supervisor: Supervisor) -> None:
    start(supervisor, "api", "mute")
    with pytest.raises(Unavailable, match="api was not ready within"):
        supervisor.wait_ready("api", timeout_s=0.05)


def test_a_death_that_nobody_asked_for_is_noticed(supervisor: Supervisor) -> None:
    start(supervisor, "relay")
    supervisor.wait_ready("relay", DEADLINE_S)
    start(supervisor, "worker", "dies")
    dead = supervisor.wait_for_death(DEADLINE_S)
    assert dead is supervisor.child("worker")
    assert dead.obituary() == "worker ended with code 3: last words"
    os.kill(supervisor.child("relay").pid, signal.SIGKILL)
    assert supervisor.wait_for_death(DEADLINE_S).obituary() == "relay was killed by SIGKILL: started"


def test_what_several_tasks_died_of_is_told(supervisor: Supervisor) -> None:
    start(supervisor, "relay", "group")
    assert supervisor.wait_for_death(DEADLINE_S).obituary() == "relay ended with code 1: RuntimeError: the reason"


def test_an_end_that_was_asked_for_is_no_death(supervisor: Supervisor) -> None:
    for name in ("a", "b"):
        start(supervisor, name)
        supervisor.wait_ready(name, DEADLINE_S)
    supervisor.kill("a")
    supervisor.stop("b")
    assert supervisor.running() == []
    assert supervisor.child("a").process.returncode == -signal.SIGKILL
    assert supervisor.child("b").process.returncode == -signal.SIGTERM
    assert supervisor.wait_for_death(0) is None


def test_a_stubborn_child_is_killed_in_the_end(supervisor: Supervisor) -> None:
    start(supervisor, "worker", "stubborn")
    supervisor.wait_ready("worker", DEADLINE_S)
    supervisor.stop("worker", timeout_s=0.1)
    assert supervisor.child("worker").process.returncode == -signal.SIGKILL


def test_an_ended_child_is_started_again_as_it_was(supervisor: Supervisor) -> None:
    start(supervisor, "worker")
    first = supervisor.wait_ready("worker", DEADLINE_S)
    with pytest.raises(ValueError, match="running already"):
        supervisor.restart("worker")
    supervisor.kill("worker")
    supervisor.restart("worker")
    assert supervisor.wait_ready("worker", DEADLINE_S)["pid"] != first["pid"]


def test_many_who_start_one_child_again_start_one(supervisor: Supervisor) -> None:
    """Whoever kills a child that another one drains: both hear of its end, and both start it again."""
    start(supervisor, "worker")
    supervisor.wait_ready("worker", DEADLINE_S)
    supervisor.kill("worker")
    together = threading.Barrier(8)

    def restart(_: int) -> int:
        together.wait(DEADLINE_S)
        try:
            return supervisor.restart("worker").pid
        except ValueError:
            return 0

    with ThreadPoolExecutor(8) as pool:
        started = [pid for pid in pool.map(restart, range(8)) if pid]
    assert started == [supervisor.child("worker").pid]


def test_a_group_is_scaled_up_and_down(supervisor: Supervisor) -> None:
    def scale(count: int) -> list[str]:
        return [child.name for child in supervisor.scale("worker", count, "stand_in", args=["normal"])]

    assert scale(2) == ["worker-1", "worker-2"]
    supervisor.wait_ready("worker-1", DEADLINE_S)
    assert scale(3) == ["worker-3"]
    assert scale(1) == []
    assert [child.name for child in supervisor.running("worker")] == ["worker-1"]
    supervisor.kill("worker-1")
    assert scale(2) == ["worker-1", "worker-2"]
    assert supervisor.wait_for_death(0) is None


def test_the_lowest_layer_is_stopped_last(supervisor: Supervisor, lines: queue.Queue) -> None:
    for name, layer in (("carrier", 0), ("worker", 1), ("relay", 1)):
        start(supervisor, name, "order", layer=layer)
        supervisor.wait_ready(name, DEADLINE_S)
    supervisor.stop_all()
    left = [name for name, line in _drain(lines) if line == "left"]
    assert left[-1] == "carrier"
    assert sorted(left) == ["carrier", "relay", "worker"]


def test_a_grandchild_that_holds_the_output_does_not_hold_up_the_end(
    supervisor: Supervisor, lines: queue.Queue
) -> None:
    start(supervisor, "worker", "parent")
    supervisor.wait_ready("worker", DEADLINE_S)
    grandchild = int(lines.get(timeout=DEADLINE_S)[1].split()[1])
    supervisor.stop("worker", timeout_s=DEADLINE_S)
    assert not supervisor.child("worker").is_running
    assert started_at(grandchild) is not None
    os.kill(grandchild, signal.SIGKILL)


def test_nothing_that_a_dead_child_said_is_lost_to_a_slow_reader(lines: queue.Queue) -> None:
    """However late the supervisor's threads get their turn: they read what is in the pipe, and do not count seconds."""
    may_read = threading.Event()

    def log(name: str, line: str) -> None:
        may_read.wait(DEADLINE_S)
        lines.put((name, line))

    with Supervisor({"PYTHONPATH": str(HERE)}, log) as supervisor:
        start(supervisor, "worker", "dies")
        child = supervisor.child("worker")
        supervisor.wait_ready("worker", DEADLINE_S)
        child.process.wait(DEADLINE_S)
        assert not child.ended.wait(1.5)  # the reader is still at the first line
        may_read.set()
        assert supervisor.wait_for_death(DEADLINE_S) is child
    assert _drain(lines) == [("worker", "started"), ("worker", "last words")]
    assert child.obituary() == "worker ended with code 3: last words"


def test_without_whom_they_are_forked_from_nobody_is_started_and_nobody_left(lines: queue.Queue) -> None:
    environment = {"PYTHONPATH": str(HERE)}
    with Supervisor(environment, lambda name, line: lines.put((name, line)), forks=["stand_in"]) as supervisor:
        start(supervisor, "worker")
        supervisor.wait_ready("worker", DEADLINE_S)
        child = supervisor.child("worker")
        os.kill(parent_of(child.pid), signal.SIGKILL)
        assert supervisor.wait_for_death(DEADLINE_S) is child
        _until(lambda: started_at(child.pid) is None)
        with pytest.raises(Unavailable, match="relay cannot be started"):
            start(supervisor, "relay")


def test_what_cannot_be_imported_is_not_started() -> None:
    with Supervisor({}, forks=["no_such_module"]) as supervisor, pytest.raises(Unavailable, match="api cannot be"):
        supervisor.start("api", "no_such_module")


def test_ctrl_c_reaches_the_supervisor_alone(supervisor: Supervisor) -> None:
    start(supervisor, "worker")
    supervisor.wait_ready("worker", DEADLINE_S)
    assert os.getsid(supervisor.child("worker").pid) != os.getsid(0)


@pytest.mark.parametrize("forks", [[], ["stand_in"]], ids=["executed", "forked"])
def test_children_end_after_the_supervisor_was_killed(forks: list[str]) -> None:
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, str(HERE / "supervise.py"), *forks],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    ) as process:
        pids = [int(word) for word in process.stdout.readline().split()]
        process.kill()
    assert len(pids) == 2
    _until(lambda: all(started_at(pid) is None for pid in pids))


def test_a_terminal_gets_prefixes_and_colours() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    log = TerminalLog(terminal, width=6)
    for name in ("api", "relay", "api"):
        log(name, "said")
    assert terminal.getvalue().splitlines() == [
        "\x1b[36mapi   |\x1b[0m said",
        "\x1b[32mrelay |\x1b[0m said",
        "\x1b[36mapi   |\x1b[0m said",
    ]


def test_a_file_gets_prefixes_without_colours() -> None:
    file = io.StringIO()
    TerminalLog(file, width=6)("api", "said")
    assert file.getvalue() == "api   | said\n"


def test_a_child_may_be_killed_while_another_thread_waits_for_it(supervisor: Supervisor) -> None:
    start(supervisor, "worker", "mute")
    failures: list[str] = []

    def wait() -> None:
        try:
            supervisor.wait_ready("worker", DEADLINE_S)
        except Unavailable as error:
            failures.append(error.message)

    waiting = threading.Thread(target=wait)
    waiting.start()
    supervisor.kill("worker")
    waiting.join(DEADLINE_S)
    assert len(failures) == 1
    assert "killed by SIGKILL" in failures[0]


def _drain(lines: queue.Queue) -> list[tuple[str, str]]:
    return [lines.get_nowait() for _ in range(lines.qsize())]


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.01)
