"""Carillon's side: its real processes over one round's database."""

import os
import re
import urllib.request
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from engine.embedded.servers import Servers
from engine.errors import Unavailable
from engine.processes.stack import API, COORDINATOR, HOST, MODULES, RELAY, WORKERS
from engine.processes.supervisor import Supervisor
from workers.bench import meter

WORKER_PROCESSES = 2
_QUIET = {"CARILLON_ENVIRONMENT": "production", "CARILLON_LOG_LEVEL": "warning"}


class Engine:
    """Relay, coordinator, workers and, if wanted, the api. They are ready when the `with` block begins."""

    def __init__(
        self,
        servers: Servers,
        database_url: str,
        environment: Mapping[str, str] | None = None,
        profiles: Path | None = None,
    ) -> None:
        """`profiles`: run the processes under cProfile, and leave what it found in this folder."""
        self._servers = servers
        self._profiles = profiles
        self._said: deque[str] = deque(maxlen=20)
        own = {**servers.environment(), "DATABASE_URL": database_url, **_QUIET, **(environment or {})}
        # Half of a short round would be their imports. A profile begins with the process, so it has one of its own.
        self.supervisor = Supervisor(own, self._note, forks=() if profiles else MODULES.values())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.supervisor.__exit__(None, None, None)

    def start(self, *, with_api: bool = False, workers: int = WORKER_PROCESSES) -> None:
        """Raises Unavailable when a process does not start."""
        names = [RELAY, COORDINATOR, *(f"{WORKERS}-{number}" for number in range(1, workers + 1))]
        for name in [*names, API] if with_api else names:
            self.start_one(name)
        for child in self.supervisor.running():
            self.supervisor.wait_ready(child.name)

    def start_one(self, name: str) -> None:
        module = MODULES[_group(name)]
        if self._profiles is None:
            self.supervisor.start(name, module)
        else:
            file = self._profiles / f"{name}.prof"
            self.supervisor.start(name, "workers.bench.profiled", args=[str(file), module])

    @property
    def worker_pids(self) -> list[int]:
        return [child.pid for child in self.supervisor.running(WORKERS)]

    def metric(self, name: str) -> float:
        """The sum of one Prometheus sample over its labels and all workers."""
        line = re.compile(rf"^{name}(?:{{.*}})? (\S+)$", re.MULTILINE)
        total = 0.0
        for child in self.supervisor.running(WORKERS):
            port = (child.facts or {})["metrics_port"]
            with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=5.0) as answer:
                total += sum(map(float, line.findall(answer.read().decode())))
        return total

    def groups(self) -> dict[str, list[int]]:
        """Every running process, the embedded servers among them, by group."""
        groups = meter.server_groups(self._servers)
        for child in self.supervisor.running():
            groups.setdefault(_group(child.name), []).append(child.pid)
        return groups

    def check(self) -> None:
        """Raises Unavailable with a process's last words if one has ended."""
        if child := self.supervisor.wait_for_death(0):
            raise Unavailable(child.obituary())

    def last_words(self) -> str:
        """What the processes warned of lately; in a good round nothing."""
        return os.linesep.join(self._said)

    def _note(self, name: str, line: str) -> None:
        self._said.append(f"{name}: {line}")


def _group(name: str) -> str:
    """`worker` of `worker-2`; any other name is its own."""
    return name.rpartition("-")[0] or name
