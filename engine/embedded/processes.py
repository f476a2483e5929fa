"""Who a process is. A pid alone is no identity: the kernel hands it out again.

Standard library only: the guardian starts within every test run and must start fast.
"""

import json
import os
import signal
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

RECORD = "servers.json"
POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class Process:
    """A process as it was when it was noted: `started` is what tells it from a later one with the same pid."""

    name: str
    pid: int
    started: str

    @property
    def is_alive(self) -> bool:
        """True while this very process runs; a zombie does not."""
        return bool(self.started) and started_at(self.pid) == self.started

    def works_in(self, folder: Path) -> bool:
        """True when its working directory is `folder` or below; False when that cannot be known."""
        try:
            return Path(os.readlink(f"/proc/{self.pid}/cwd")).is_relative_to(folder.resolve())
        except OSError:
            return False


def note(name: str, pid: int) -> Process:
    return Process(name, pid, started_at(pid) or "")


def started_at(pid: int) -> str | None:
    """When the process started, in the kernel's own unit (field 22 of /proc/PID/stat); None when it is gone."""
    if not os.path.exists("/proc/self/stat"):
        found = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return found.stdout.strip() or None
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(b")")[2].split()  # the name before it may hold spaces and brackets
    return None if state in (b"Z", b"X") else fields[18].decode()


def write_record(folder: Path, processes: list[Process]) -> None:
    """Leaves word, atomically, of what runs on this folder, for a start after we and the guardian were killed."""
    fresh = folder / f"{RECORD}.new"
    fresh.write_text(json.dumps([asdict(process) for process in processes]))
    fresh.replace(folder / RECORD)


def read_record(folder: Path) -> list[Process]:
    try:
        return [Process(**entry) for entry in json.loads((folder / RECORD).read_text())]
    except (FileNotFoundError, ValueError, TypeError):
        return []


def stop_recorded(folder: Path) -> list[Process]:
    """Stops the servers that a killed predecessor left on this folder; answers those that it signalled.

    A recorded pid is signalled only if its start time and its working directory are the recorded ones.
    """
    left = [process for process in read_record(folder) if process.is_alive and process.works_in(folder)]
    for process in left:
        for signal_number, wait_s in shutdown_signals(process.name):
            os.kill(process.pid, signal_number)
            if _is_gone(process, wait_s):
                break
    (folder / RECORD).unlink(missing_ok=True)
    return left


def shutdown_signals(name: str, *, quick: bool = False) -> list[tuple[signal.Signals, float]]:
    """Signals to send in turn, each with the seconds to wait for its effect.

    PostgreSQL: SIGINT checkpoints (a large import may take long to write), SIGQUIT ends at once and recovers at the
    next start. SIGKILL comes last: it leaves the server's own children to find out by themselves.
    """
    if name != "postgres":
        return [(signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)]
    gentle = [] if quick else [(signal.SIGINT, 30.0)]
    return [*gentle, (signal.SIGQUIT, 7.0), (signal.SIGKILL, 5.0)]


def _is_gone(process: Process, wait_s: float) -> bool:
    deadline = time.monotonic() + wait_s
    while process.is_alive:
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
