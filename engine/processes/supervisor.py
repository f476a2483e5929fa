"""Child processes of one terminal command: started, watched, logged with a prefix, scaled, and ended together.

Everything here blocks and may be called from any thread; from a coroutine use `asyncio.to_thread`.
"""

import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Self

from engine.embedded.lifeline import LIFELINE_FD, READY_FD
from engine.errors import Unavailable
from engine.processes.zygote import Forked, Order, Zygote

Process = subprocess.Popen[bytes] | Forked
Log = Callable[[str, str], None]
"""Receives a child's name and one line of its output, from that child's thread."""

STOP_TIMEOUT_S = 15.0  # a worker drains: an open ticket is 2 s, the carrier's answer to it 5 s
_LAST_LINES = 50
_MOST_LEFT = 1 << 20  # bytes: more than any pipe holds
_COLOURS = (36, 32, 33, 35, 34, 96, 92, 93, 95, 94)


@dataclass(frozen=True, slots=True)
class Command:
    """`python -m module args` with `env` on top of the supervisor's environment. Layer 0 is stopped last."""

    module: str
    env: Mapping[str, str] = field(default_factory=dict)
    args: Sequence[str] = ()
    layer: int = 1


class Child:
    """A started process. `ended` is set once it is gone and its output has been logged."""

    def __init__(self, name: str, command: Command, process: Process) -> None:
        self.name = name
        self.command = command
        self.process = process
        self.is_expected_to_end = False
        self.last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self.facts: dict[str, object] | None = None  # what it told `lifeline.report_ready`
        self.is_ready_or_ended = threading.Event()
        self.ended = threading.Event()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return not self.ended.is_set()

    def obituary(self) -> str:
        """One line: how it ended and the last thing it said."""
        code = self.process.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code and code < 0 else f"ended with code {code}"
        said = [line.strip(" |+-") for line in self.last_lines]  # a group of exceptions ends in a drawn line
        words = next((line for line in reversed(said) if line), "")
        return f"{self.name} {how}" + (f": {words}" if words else "")


class Supervisor:
    """Starts and ends named children. They end with it: at the end of the `with` block, and after its `kill -9`."""

    def __init__(self, environment: Mapping[str, str], log: Log | None = None, *, forks: Collection[str] = ()) -> None:
        """`forks`: modules whose processes are forked from one that has imported them (`engine.processes.zygote`)."""
        self.environment = dict(environment)
        self._log = log or TerminalLog(sys.stdout)
        self._children: dict[str, Child] = {}
        self._deaths: queue.Queue[Child] = queue.Queue()
        self._turn = threading.Lock()  # a name has one bearer, whoever starts it
        self._lifeline, self._held_end = os.pipe()
        self._forks = tuple(forks)
        self._zygote = Zygote(self._forks, {**os.environ, **self.environment}) if forks else None

    def start(
        self, name: str, module: str, env: Mapping[str, str] | None = None, args: Sequence[str] = (), *, layer: int = 1
    ) -> Child:
        """Starts `python -m module *args`. The name is free again when its last bearer has ended."""
        return self._spawn(name, Command(module, dict(env or {}), tuple(args), layer))

    def restart(self, name: str) -> Child:
        """Starts an ended child again, as it was started before."""
        return self._spawn(name, self._children[name].command)

    def child(self, name: str) -> Child:
        return self._children[name]

    def running(self, group: str = "") -> list[Child]:
        """Children that run; with `group`, those named `group-1`, `group-2`, … in that order."""
        found = [child for child in self._children.values() if child.is_running]
        if not group:
            return found
        members = [child for child in found if child.name.rpartition("-")[0] == group]
        return sorted(members, key=lambda child: int(child.name.rpartition("-")[2]))

    def scale(
        self,
        group: str,
        count: int,
        module: str,
        env: Mapping[str, str] | None = None,
        args: Sequence[str] = (),
        *,
        layer: int = 1,
        timeout_s: float = STOP_TIMEOUT_S,
    ) -> list[Child]:
        """Makes `group-1` … `group-count` run, starting the missing and stopping the others; answers the new ones."""
        members = {child.name: child for child in self.running(group)}
        wanted = [f"{group}-{number}" for number in range(1, count + 1)]
        self._stop_together([child for name, child in members.items() if name not in wanted], timeout_s)
        return [self.start(name, module, env, args, layer=layer) for name in wanted if name not in members]

    def wait_ready(self, name: str, timeout_s: float = 30.0) -> dict[str, object]:
        """What the child told `lifeline.report_ready`. Raises Unavailable if it ends, or says nothing in time."""
        child = self._children[name]
        in_time = child.is_ready_or_ended.wait(timeout_s)
        if child.facts is not None:
            return child.facts
        if in_time:
            raise Unavailable(f"before it was ready, {child.obituary()}")
        raise Unavailable(f"{name} was not ready within {timeout_s:g} s; its last words: {list(child.last_lines)[-1:]}")

    def kill(self, name: str) -> None:
        """SIGKILL; returns when the child is gone."""
        child = self._children[name]
        child.is_expected_to_end = True
        child.process.kill()
        child.ended.wait()

    def stop(self, name: str, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """SIGTERM, then SIGKILL after `timeout_s`; returns when the child is gone."""
        self._stop_together([self._children[name]], timeout_s)

    def stop_all(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Stops the highest layer first: what drains still needs those below it."""
        for layer in sorted({child.command.layer for child in self.running()}, reverse=True):
            self._stop_together([child for child in self.running() if child.command.layer == layer], timeout_s)

    def wait_for_death(self, timeout_s: float | None = None) -> Child | None:
        """The next child that ended without being asked to; None if none did in time."""
        with suppress(queue.Empty):
            return self._deaths.get(timeout=timeout_s)
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_all()
        if self._zygote is not None:
            self._zygote.close()
        os.close(self._held_end)
        os.close(self._lifeline)

    def _spawn(self, name: str, command: Command) -> Child:
        with self._turn:
            previous = self._children.get(name)
            if previous is not None and previous.is_running:
                raise ValueError(f"{name} is running already")
            process, ready = self._begin(name, command)
            child = self._children[name] = Child(name, command, process)
        threading.Thread(target=self._attend, args=(child, ready), name=f"attend-{name}", daemon=True).start()
        return child

    def _begin(self, name: str, command: Command) -> tuple[Process, int]:
        """The process, and the pipe in which it tells that it is ready."""
        ready, told = os.pipe()
        try:
            if self._zygote is not None and command.module in self._forks:
                process: Process = self._fork(self._zygote, name, command, told)
            else:
                process = self._execute(command, told)
        except BaseException:
            os.close(ready)
            raise
        finally:
            os.close(told)
        return process, ready

    def _execute(self, command: Command, told: int) -> subprocess.Popen[bytes]:
        pipes = {LIFELINE_FD: str(self._lifeline), READY_FD: str(told), "PYTHONUNBUFFERED": "1"}
        return subprocess.Popen(
            [sys.executable, "-m", command.module, *command.args],
            env={**os.environ, **self.environment, **command.env, **pipes},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[self._lifeline, told],
            start_new_session=True,  # Ctrl-C in the terminal is for the supervisor, which ends them in order
        )

    def _fork(self, zygote: Zygote, name: str, command: Command, told: int) -> Forked:
        environment = {**os.environ, **self.environment, **command.env}
        order = Order(name, command.module, command.args, environment, (LIFELINE_FD, READY_FD), os.getcwd())
        return zygote.fork(order, [self._lifeline, told])

    def _attend(self, child: Child, ready: int) -> None:
        gone, held = os.pipe()
        assert child.process.stdout is not None
        readers = [
            threading.Thread(target=self._read_output, args=(child, child.process.stdout, gone), daemon=True),
            threading.Thread(target=_read_facts, args=(child, ready, gone), daemon=True),
        ]
        for reader in readers:
            reader.start()
        child.process.wait()
        os.close(held)
        for reader in readers:
            reader.join()
        os.close(gone)
        child.ended.set()
        child.is_ready_or_ended.set()
        if not child.is_expected_to_end:
            self._deaths.put(child)

    def _read_output(self, child: Child, output: IO[bytes], gone: int) -> None:
        with output:
            for raw in _lines(output.fileno(), gone):
                line = raw.decode(errors="replace").rstrip()
                child.last_lines.append(line)
                self._log(child.name, line)

    def _stop_together(self, children: list[Child], timeout_s: float) -> None:
        for child in children:
            child.is_expected_to_end = True
            child.process.terminate()
        deadline = time.monotonic() + timeout_s
        for child in children:
            if not child.ended.wait(max(0.0, deadline - time.monotonic())):
                child.process.kill()
                child.ended.wait()


def _read_facts(child: Child, ready: int, gone: int) -> None:
    with os.fdopen(ready, "rb") as pipe:
        line = next(_lines(pipe.fileno(), gone), b"")
    if line.endswith(b"\n"):
        child.facts = json.loads(line)
        child.is_ready_or_ended.set()


def _lines(pipe: int, gone: int) -> Iterator[bytes]:
    """All whole lines of a child, and the last words of one that is gone (`gone` has ended).

    A dead child's pipe is read until it is empty and no longer: its own children may hold it open, and write more.
    """
    os.set_blocking(pipe, False)
    waiting = select.poll()
    waiting.register(pipe, select.POLLIN)
    waiting.register(gone, select.POLLIN)
    rest, left = b"", _MOST_LEFT
    while left > 0:
        is_gone = any(end == gone for end, _ in waiting.poll())
        read = _read(pipe)
        *whole, rest = (rest + (read or b"")).split(b"\n")
        yield from (line + b"\n" for line in whole)
        if read == b"" or (read is None and is_gone):
            break
        if is_gone:
            left -= len(read or b"")
    if rest:
        yield rest


def _read(pipe: int) -> bytes | None:
    """What has come; b"" at the end, None when nothing is there now."""
    try:
        return os.read(pipe, 65_536)
    except BlockingIOError:
        return None


class TerminalLog:
    """Writes `name | line`, each name in its colour when the stream is a terminal and NO_COLOR is not set."""

    def __init__(self, stream: IO[str], width: int = 13) -> None:
        self._stream = stream
        self._width = width
        self._is_coloured = stream.isatty() and "NO_COLOR" not in os.environ
        self._colours: dict[str, int] = {}
        self._turn = threading.Lock()

    def __call__(self, name: str, line: str) -> None:
        with self._turn, suppress(BrokenPipeError):
            self._stream.write(f"{self._prefix(name)} {line}\n")
            self._stream.flush()

    def _prefix(self, name: str) -> str:
        prefix = f"{name:<{self._width}}|"
        if not self._is_coloured:
            return prefix
        colour = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
        return f"\x1b[{colour}m{prefix}\x1b[0m"
