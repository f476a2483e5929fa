"""CPU time and memory of groups of processes, each named by the roots of its process trees."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

import psutil  # type: ignore[import-untyped]

from engine.embedded.processes import read_record
from engine.embedded.servers import Servers

Groups = Mapping[str, Iterable[int]]
"""A group's name and the process ids of its roots."""


def cpu_s(groups: Groups) -> dict[str, float]:
    """CPU seconds used so far by each group, with all that its processes started, the ended ones included."""
    return {name: sum(_tree_cpu_s(root) for root in roots) for name, roots in groups.items()}


def used_since(before: Mapping[str, float], groups: Groups) -> dict[str, float]:
    return {name: seconds - before.get(name, 0.0) for name, seconds in cpu_s(groups).items()}


def peak_mb(pids: Iterable[int]) -> float:
    """The largest resident set that any of the processes ever had, in MB (10^6 bytes)."""
    return max(_peak_bytes(pid) for pid in pids) / 1e6


def server_groups(servers: Servers) -> dict[str, list[int]]:
    """The embedded servers; those of `DATABASE_URL` and `REDIS_URL` are not ours to measure."""
    return {process.name: [process.pid] for process in read_record(servers.folder)}


def wait_until(is_true: Callable[[], bool], timeout_s: float, poll_s: float = 0.005) -> bool:
    """Polls; False when `timeout_s` have passed in vain."""
    deadline = time.monotonic() + timeout_s
    while not is_true():
        if time.monotonic() > deadline:
            return False
        time.sleep(poll_s)
    return True


def _tree_cpu_s(root: int) -> float:
    process = psutil.Process(root)
    total = 0.0
    for member in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # it has ended since: its parent's `children_*` has it
            times = member.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def _peak_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    raise AssertionError("the kernel tells every process's peak")
