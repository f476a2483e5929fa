"""A process that has imported what others are made of, and becomes each of them by forking.

Imports are most of what it takes to start one of our processes, and a stack of ten does them ten times. Only for stacks
under one command: where systemd or containers start the processes, each is a Python of its own.
"""

import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

from engine.errors import Unavailable

_MOST_PIPES = 16
_ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_END_S = 5.0


class Forked:
    """Of `subprocess.Popen`, what a supervisor uses. `wait` is for one thread, the rest for any."""

    def __init__(self, pid: int, output: IO[bytes], status: int) -> None:
        self.pid = pid
        self.stdout = output
        self.returncode: int | None = None
        self._status = status

    def wait(self) -> int:
        """Blocks until it has ended; its exit code, or the signal's number with a minus sign."""
        told = os.read(self._status, 4)
        os.close(self._status)
        if not told:  # whoever forked it is gone, and nobody hears of its end any more
            self.kill()
        self.returncode = int.from_bytes(told, signed=True) if told else -signal.SIGKILL
        return self.returncode

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Order(NamedTuple):
    """What to become. `env` is the whole environment; `pipes` names those variables that hold a pipe's number."""

    name: str
    module: str
    args: Sequence[str]
    env: Mapping[str, str]
    pipes: Sequence[str]
    folder: str


class Zygote:
    """`fork` from any thread. `close` it when its children have ended: those that have not are killed."""

    def __init__(self, modules: Sequence[str], environment: Mapping[str, str]) -> None:
        """Begins to import `modules` and does not wait for it. Each has a `main()` that takes no arguments."""
        self._mine, theirs = socket.socketpair()
        self._turn = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno()), *modules],
                env=environment,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def fork(self, order: Order, pipes: Sequence[int]) -> Forked:
        """Starts `order.module`; its output can be read. Raises Unavailable when this is no longer possible."""
        output, written = os.pipe()
        status, told = os.pipe()
        try:
            try:
                self._send(json.dumps(order).encode(), [written, told, *pipes])
            finally:
                os.close(written)
                os.close(told)
            pid = os.read(status, 4)
            if not pid:
                raise Unavailable(f"{order.name} cannot be started: what it would be forked from has ended")
        except BaseException:
            os.close(output)
            os.close(status)
            raise
        return Forked(int.from_bytes(pid, signed=True), os.fdopen(output, "rb", buffering=0), status)

    def _send(self, body: bytes, pipes: Sequence[int]) -> None:
        with self._turn, suppress(BrokenPipeError, ConnectionResetError):  # then no answer comes, either
            socket.send_fds(self._mine, [len(body).to_bytes(4)], pipes)
            self._mine.sendall(body)

    def close(self) -> None:
        self._mine.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main() -> None:
    """Imports, then forks until its socket is closed. In a child it returns only when that has done its work."""
    asked = socket.socket(fileno=int(sys.argv[1]))
    for module in sys.argv[2:]:
        importlib.import_module(module)
    gc.freeze()  # or the collections of each child would copy what they share
    found = _serve(asked)
    if found is not None:
        _become(*found)


def _serve(asked: socket.socket) -> tuple[Order, list[int]] | None:
    """Returns in each child what it is to become, and None at the end."""
    awake, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    # Sent to all of us at once, they are for the children, whose ends it has to tell; and a child meets those that come
    # before it is what it is to become.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    living: dict[int, int] = {}  # pid: where its end is told
    waiting = select.poll()
    waiting.register(asked, select.POLLIN)
    waiting.register(awake, select.POLLIN)
    while True:
        for ready, _ in waiting.poll():
            if ready == awake:
                os.read(awake, 4096)
                _bury(living)
                continue
            size, pipes, _, _ = socket.recv_fds(asked, 4, _MOST_PIPES)
            if not size:
                return None
            message = _receive(asked, int.from_bytes(size))
            if message is None:
                return None
            status = pipes.pop(1)
            pid = os.fork()
            if pid == 0:
                _forget([awake, wakes, status, *living.values()], asked)
                return Order(*json.loads(message)), pipes
            living[pid] = status
            if not _tell(status, pid):  # whoever asked is gone, or has thought better of it
                os.kill(pid, signal.SIGKILL)
            for pipe in pipes:
                os.close(pipe)


def _receive(asked: socket.socket, size: int) -> bytes | None:
    found = b""
    while len(found) < size:
        part = asked.recv(size - len(found))
        if not part:
            return None
        found += part
    return found


def _bury(living: dict[int, int]) -> None:
    while living:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        told = living.pop(pid)
        _tell(told, os.waitstatus_to_exitcode(status))
        os.close(told)


def _tell(status: int, number: int) -> bool:
    try:
        os.write(status, number.to_bytes(4, signed=True))
    except BrokenPipeError:
        return False
    return True


def _forget(pipes: Sequence[int], asked: socket.socket) -> None:
    """In a child: what is its parent's alone."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDS)
    asked.close()
    for pipe in pipes:
        os.close(pipe)


def _become(order: Order, pipes: Sequence[int]) -> None:
    output, *rest = pipes
    os.setsid()
    os.chdir(order.folder)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)
    os.environ.clear()
    os.environ.update(order.env, **{name: str(pipe) for name, pipe in zip(order.pipes, rest, strict=True)})
    time.tzset()
    with suppress(OSError):  # Linux only: what `top` calls it
        Path("/proc/self/comm").write_text(order.name)
    sys.argv = [order.module, *order.args]
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.modules[order.module].main()


if __name__ == "__main__":
    main()
