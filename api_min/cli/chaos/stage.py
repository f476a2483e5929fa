"""The stack that is broken: real servers and real processes, some of them twice, under one supervisor."""

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from redis import Redis

from api_min.cli.chaos.figures import Span
from api_min.cli.demo.prospects import senders
from api_min.cli.demo.world import seed
from engine.embedded.servers import RunningServers, Servers, start_servers
from engine.errors import Misconfigured, Unavailable
from engine.processes.stack import (
    API,
    COORDINATOR,
    MODULES,
    RELAY,
    WORKERS,
    Network,
    choose_port,
    engine_environment,
    start_network,
)
from engine.processes.supervisor import Child, Supervisor
from engine.store import dids
from engine.store.database import connect
from engine.store.dids import NewDid
from engine.store.migrate import upgrade
from engine.store.seed import DEV_ACCOUNT_ID

UNFENCED = "workers.unfenced"  # a worker without one of its fences
NETWORK_SPEED = 20.0  # a ring of 10 s takes half a second
CIVIL_SPEED = 60.0  # the quarter of an hour between two texts of a number is 15 s
SETTINGS: Mapping[str, str] = {
    "CARILLON_ENVIRONMENT": "production",  # log lines that can be counted
    "CARILLON_LOG_LEVEL": "warning",
    "CARILLON_CARRIER_TIMEOUT_S": "2",
    "CARILLON_DELIVERY_DEADLINE_S": "600",
    "CARILLON_REPLAY_LIMIT": "100000",  # a client that was away must not be told to begin anew: then gaps would hide
    "CARILLON_STREAM_KEEP": "20000",
}
_TWO = 2
_RESTART_S = 0.5
_FIRST = -10  # of nice
_LOOK_S = 0.1


@dataclass(slots=True)
class Diary:
    """What happened to the processes, beside what was done to them on purpose."""

    crashes: list[str] = field(default_factory=list)
    stops: dict[str, list[Span]] = field(default_factory=dict)  # SIGSTOP to SIGCONT, by process
    drains_s: list[float] = field(default_factory=list)
    forced: list[str] = field(default_factory=list)  # drains that did not end by themselves
    errors: dict[str, int] = field(default_factory=dict)  # error lines of all logs, by event


@dataclass(slots=True)
class Stage:
    """Blocking, and safe from any thread; see `running_stage`."""

    running: RunningServers
    supervisor: Supervisor
    network: Network
    key: str
    urls: list[str]
    diary: Diary
    log: Path
    _frozen: dict[str, float] = field(default_factory=dict)

    @property
    def servers(self) -> Servers:
        return self.running.servers

    @property
    def cast(self) -> list[str]:
        """The processes that may be hit, in a fixed order."""
        return sorted(child.name for child in self.supervisor.running() if child.command.layer)

    def kill(self, name: str) -> None:
        if self._runs(name):
            self.supervisor.kill(name)
            self._start_again(name)

    def freeze(self, name: str) -> None:
        if self._runs(name):
            self._frozen[name] = time.time()
            os.kill(self.supervisor.child(name).pid, signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        if (since := self._frozen.pop(name, None)) is not None:
            self.diary.stops.setdefault(name, []).append(Span(since, time.time()))
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.supervisor.child(name).pid, signal.SIGCONT)

    def thaw_all(self) -> None:
        for name in list(self._frozen):
            self.thaw(name)

    def drain(self, name: str) -> None:
        if not self._runs(name):
            return
        child, begun = self.supervisor.child(name), time.monotonic()
        self.supervisor.stop(name)
        self.diary.drains_s.append(time.monotonic() - begun)
        if child.process.returncode == -signal.SIGKILL:
            self.diary.forced.append(name)
        self._start_again(name)

    def flush(self) -> None:
        with Redis.from_url(self.servers.redis_url) as client:
            client.flushall()

    def end_server(self, name: str) -> None:
        """PostgreSQL's immediate shutdown, or the death of Redis."""
        self.running.end(name, signal.SIGQUIT if name == "postgres" else signal.SIGKILL)

    def start_server(self, name: str) -> None:
        self.running.start_again(name)

    def take_all_connections(self) -> list["psycopg.Connection[tuple[object, ...]]"]:
        """Every connection that is free, those kept for superusers too. The caller closes them."""
        taken = []
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                taken.append(psycopg.connect(self.servers.database_url, autocommit=True))
        return taken

    def _start_again(self, name: str) -> None:
        """Unless it had ended by itself just before, and has been started again for that."""
        with contextlib.suppress(ValueError):
            self.supervisor.restart(name)

    def _runs(self, name: str) -> bool:
        child = self.supervisor.child(name)
        return child.is_running and name not in self._frozen


@contextmanager
def running_stage(
    folder: Path, seed_number: int, workers: int = 2, without: str = "", *, forks: bool = True
) -> Iterator[Stage]:
    """Two coordinators, relays and apis, `workers` workers (all without the fence named `without`), and the network.

    `forks`: a restart costs what the process's own work costs and not its imports, which would be half of a run. Not
    where memory is measured, of which forked processes share a part.
    Raises Misconfigured when the environment names servers: those are not ours to break.
    """
    if os.environ.get("DATABASE_URL") or os.environ.get("REDIS_URL"):
        raise Misconfigured("chaos breaks its own servers only: unset DATABASE_URL and REDIS_URL")
    diary, log = Diary(), folder / "processes.log"
    with start_servers(folder / "data", keep=False) as running, log.open("w") as lines:
        note = _Log(lines.write, diary)
        forked = MODULES.values() if forks else ()
        with Supervisor({**running.servers.environment(), **SETTINGS}, note, forks=forked) as supervisor:
            config = {"seed": seed_number, "speed": NETWORK_SPEED, "latency": {"patience_s": (60, 90)}}
            network = start_network(supervisor, running.servers.folder, config)
            _set_apart(supervisor)
            upgrade(running.servers.database_url)
            key = asyncio.run(_furnish(running.servers.database_url, network.agent_url))
            urls = _start(supervisor, network, workers, without)
            stage = Stage(running, supervisor, network, key, urls, diary, log)
            with _restarting(supervisor, diary):
                yield stage
            stage.thaw_all()


def _set_apart(supervisor: Supervisor) -> None:
    """The network stands for machines that are not ours: it comes first, so that it is not slow because we are busy."""
    for child in supervisor.running():
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, child.pid, _FIRST)
            # Each is a session of its own, and Linux first shares the time among sessions.
            Path(f"/proc/{child.pid}/autogroup").write_text(str(_FIRST))


async def _furnish(database_url: str, agent_url: str) -> str:
    """An account with numbers; answers its key."""
    key, _, clock = await seed(database_url, agent_url, CIVIL_SPEED)
    engine = connect(database_url, pool_size=1)
    try:
        async with engine.begin() as conn:
            await dids.add(conn, DEV_ACCOUNT_ID, [NewDid(number) for number in senders()], clock.now())
    finally:
        await engine.dispose()
    return key


def _start(supervisor: Supervisor, network: Network, workers: int, without: str) -> list[str]:
    """Each worker's callbacks go to one of the apis. Returns the URLs of those."""
    own: list[dict[str, str]] = []
    for number in range(1, _TWO + 1):
        environment = {**engine_environment(network, choose_port(0)), **SETTINGS}
        own.append(environment)
        for group in (API, COORDINATOR, RELAY):
            supervisor.start(f"{group}-{number}", MODULES[group], environment)
    for number in range(1, workers + 1):
        module, args = (UNFENCED, [without]) if without else (MODULES[WORKERS], [])
        supervisor.start(f"{WORKERS}-{number}", module, own[number % _TWO], args)
    for child in supervisor.running():
        supervisor.wait_ready(child.name)
    return [environment["CARILLON_PUBLIC_URL"] for environment in own]


@contextmanager
def _restarting(supervisor: Supervisor, diary: Diary) -> Iterator[None]:
    """Does what a platform does: a process that ended by itself is started again."""
    over = threading.Event()
    thread = threading.Thread(target=_restart, args=(supervisor, diary, over), name="restarting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _restart(supervisor: Supervisor, diary: Diary, over: threading.Event) -> None:
    while not over.is_set():
        child = supervisor.wait_for_death(_LOOK_S)
        if child is None:
            continue
        if child.facts is not None:  # else it was not ready yet: its servers were away, and it said so
            diary.crashes.append(child.obituary())
        over.wait(_RESTART_S)
        with contextlib.suppress(ValueError, Unavailable):
            supervisor.restart(child.name)


class _Log:
    """Writes every line, and counts the errors by their event."""

    def __init__(self, write: Callable[[str], int], diary: Diary) -> None:
        self._write = write
        self._diary = diary
        self._turn = threading.Lock()

    def __call__(self, name: str, line: str) -> None:
        with self._turn:
            self._write(f"{name:<14}| {line}\n")
            if '"level":"error"' in line or '"level":"critical"' in line:
                event = line.partition('"event":"')[2].partition('"')[0]
                self._diary.errors[event] = self._diary.errors.get(event, 0) + 1


def worker_stops(stage: Stage) -> list[Span]:
    return [span for name, spans in stage.diary.stops.items() if name.startswith(WORKERS) for span in spans]


def children(stage: Stage) -> list[Child]:
    """Ours, without the simulated network."""
    return [child for child in stage.supervisor.running() if child.command.layer]
