"""The parent of the embedded servers: `python -m engine.embedded.guardian`, one order as a line of JSON on stdin.

It stops the servers when stdin reaches its end, which is when our process closed it or is gone, by `kill -9` too. Each
further line before that names a server that has ended and is to be started again.
(PDEATHSIG would not do: it is lost at setuid and fires when the *thread* that forked ends.) It runs in a session of its
own, so Ctrl-C in the terminal reaches us first and the servers last. It keeps the data folder's lock, inherited, until
it has stopped them. Standard library only.
"""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from engine.embedded.processes import RECORD, note, shutdown_signals, write_record

LOOK_MS = 500


@dataclass(frozen=True, slots=True)
class Order:
    """What to run. `servers` maps a name to its argv; each works in `folder/name` and logs to `folder/name.log`."""

    folder: str
    servers: dict[str, list[str]]
    uid: int | None
    gid: int | None
    delete: list[str]  # what to remove of `folder` at the end; "." is all of it


def main() -> int:
    """Exit 0 when the servers are stopped."""
    parent = os.getppid()
    order = Order(**json.loads(sys.stdin.readline()))
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGHUP, _leave)
    folder = Path(order.folder)
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, argv in order.servers.items():
            _run(order, name, argv, running)
        _report(running)
        while name := _next_order(parent, running):
            running[name].wait()
            _run(order, name, order.servers[name], running)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        _stop(running, quick=bool(order.delete))
        (folder / RECORD).unlink(missing_ok=True)
        os.chdir(folder.anchor)
        delete_entries(folder, order.delete)
    return 0


def _leave(signal_number: int, _frame: object) -> None:
    sys.exit(128 + signal_number)


def _run(order: Order, name: str, argv: list[str], running: dict[str, subprocess.Popen[bytes]]) -> None:
    running[name] = _start(order, name, argv, "ab" if name in running else "wb")
    write_record(Path(order.folder), [note(known, child.pid) for known, child in running.items()])


def _start(order: Order, name: str, argv: list[str], log_mode: str) -> subprocess.Popen[bytes]:
    folder = Path(order.folder)
    with (folder / f"{name}.log").open(log_mode) as log:
        return subprocess.Popen(
            argv,
            cwd=folder / name,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            user=order.uid,
            group=order.gid,
            extra_groups=None if order.uid is None else [],
        )


def _report(running: dict[str, subprocess.Popen[bytes]]) -> None:
    sys.stdout.write(json.dumps({name: child.pid for name, child in running.items()}) + "\n")
    sys.stdout.flush()
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)  # the reader has what it wants; a pipe kept open would hold it up


def _next_order(parent: int, running: dict[str, subprocess.Popen[bytes]]) -> str:
    """The server to start again; nothing when our parent is gone. A fork of it that still holds the pipe cannot hide
    that: our parent's pid changes."""
    lifeline = select.poll()
    lifeline.register(0, select.POLLIN | select.POLLHUP)
    while os.getppid() == parent:
        if lifeline.poll(LOOK_MS):
            return sys.stdin.readline().strip()  # one line at a time: the next is ordered when this one was obeyed
        for child in running.values():
            child.poll()  # reaps one that died, or it would look alive
    return ""


def _stop(running: dict[str, subprocess.Popen[bytes]], *, quick: bool) -> None:
    for name, child in running.items():
        for signal_number, wait_s in shutdown_signals(name, quick=quick):
            child.send_signal(signal_number)
            try:
                child.wait(wait_s)
            except subprocess.TimeoutExpired:
                continue
            break


def delete_entries(folder: Path, entries: list[str]) -> None:
    """Removes files and folders inside `folder`; `.` is the folder itself."""
    for entry in entries:
        path = folder / entry
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
