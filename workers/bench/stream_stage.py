"""Where `bench stream` takes place: the api on one core; load, databases and the relay on the other."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson
import psutil  # type: ignore[import-untyped]
import psycopg

from engine.clock import real_now
from engine.embedded.servers import Servers
from engine.errors import Unavailable
from engine.feed.chunks import stream_key
from engine.feed.log import EPOCH
from engine.processes.stack import API, HOST, MODULES, RELAY
from engine.store import accounts, keys
from engine.store.database import connect
from workers.bench import meter, stream_load, stream_resume
from workers.bench.engine_side import Engine
from workers.bench.stream_load import Found, Plan
from workers.bench.stream_resume import request

_ACCOUNTS = 32
_FIRST_ACCOUNT = 1_000
_ANY_RATE = 10**9

Begin = Callable[[], dict[str, Any]]
"""Begins, and returns the report at the end."""


@dataclass(frozen=True, slots=True)
class Account:
    """One for each scenario, so that each begins with event 1."""

    id: int
    key: str


@dataclass(frozen=True, slots=True)
class Run:
    """What a scenario found, and what it cost the server."""

    found: Found
    server_cpu_s: float
    rss_per_client_kb: float
    grown_mb: float  # from the moment when all were connected

    @property
    def rate(self) -> float:
        return self.found.deliveries / self.found.seconds


@dataclass(slots=True)
class Stage:
    servers: Servers
    url: str
    port: int
    api_pid: int
    cpus: tuple[int, int]  # of the server that is measured, and of everything else
    epoch: str
    accounts: Iterator[Account]
    engine: Engine = field(repr=False)

    def plan(self, account: Account, *, clients: int, events: int, after: int | None = None, **more: Any) -> Plan:
        """Clients of the api, with events that go straight into the account's stream."""
        own = {"redis": self.servers.redis_url, "key": stream_key(self.epoch, account.id), **more}
        return Plan(self.cpus[1], HOST, self.port, request(account.key, after), clients, events, **own)

    def run(
        self,
        plan: Plan,
        pid: int = 0,
        during: AbstractContextManager[object] = nullcontext(),  # noqa: B008 — stateless
    ) -> Run:
        """`pid` is the server's, ours when it is 0. `during` is entered once the clients are ready."""
        server = psutil.Process(pid or self.api_pid)
        before = server.memory_info().rss
        with load(stream_load.__name__, asdict(plan)) as begin:
            ready, cpu = server.memory_info().rss, _cpu_s(server)
            with during:
                found = Found(**begin())
            cpu, rss = _cpu_s(server) - cpu, server.memory_info().rss
        self.engine.check()
        clients = max(1, plan.clients + plan.dead)
        return Run(found, cpu, (ready - before) / 1e3 / clients, max(0.0, (rss - ready) / 1e6))

    def resume(
        self, account: Account, resumes: int, every_s: float
    ) -> AbstractContextManager[Callable[[], dict[str, Any]]]:
        plan = stream_resume.Plan(self.cpus[1], HOST, self.port, account.key, resumes, every_s)
        return load(stream_resume.__name__, asdict(plan))


@contextmanager
def stage(servers: Servers, url: str) -> Iterator[Stage]:
    """An api and a relay over a migrated, empty database."""
    allowed = sorted(os.sched_getaffinity(0))
    cpus = (allowed[0], allowed[-1])
    held = asyncio.run(_accounts(url))
    with psycopg.connect(url) as connection:
        epoch = _epoch(connection)
    for pids in meter.server_groups(servers).values():
        for pid in pids:
            _bind(pid, cpus[1])
    with Engine(servers, url) as engine:
        engine.start_one(RELAY)
        engine.supervisor.start(API, MODULES[API], {"CARILLON_PORT": "0"})
        port = int(str(engine.supervisor.wait_ready(API)["port"]))
        engine.supervisor.wait_ready(RELAY)
        started = {child.name: child.pid for child in engine.supervisor.running()}
        _bind(started[API], cpus[0])
        _bind(started[RELAY], cpus[1])
        yield Stage(servers, url, port, started[API], cpus, epoch, iter(held), engine)


@contextmanager
def load(module: str, plan: Mapping[str, object]) -> Iterator[Begin]:
    """A load process whose clients are ready; call what is yielded to begin and to get its report.

    Raises Unavailable when it fails.
    """
    command = [sys.executable, "-m", module, orjson.dumps(plan).decode()]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None

    def say(line: bytes) -> None:
        assert process.stdin is not None
        process.stdin.write(line)
        process.stdin.flush()

    def begin() -> dict[str, Any]:
        say(b"begin\n")
        return dict(orjson.loads(_line(process)))

    with process:
        try:
            _line(process)
            yield begin
            say(b"end\n")
            process.wait(30)
        finally:
            process.kill()


def _line(process: "subprocess.Popen[bytes]") -> bytes:
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline()
    if not line:
        raise Unavailable(f"the load ended: {process.stderr.read()[-800:].decode(errors='replace')}")
    return line


def _epoch(connection: "psycopg.Connection[tuple[str]]") -> str:
    row = connection.execute(f"select {EPOCH}").fetchone()
    assert row is not None
    return row[0]


async def _accounts(url: str) -> list[Account]:
    engine = connect(url, pool_size=1)
    found = []
    try:
        async with engine.begin() as conn:
            for number in range(_FIRST_ACCOUNT, _FIRST_ACCOUNT + _ACCOUNTS):
                await accounts.create(conn, f"Benchmark {number}", real_now(), account_id=number)
                _, key = await keys.create_key(conn, number, "benchmark", ["*"], _ANY_RATE, None, False)
                found.append(Account(number, key))
    finally:
        await engine.dispose()
    return found


def _bind(pid: int, cpu: int) -> None:
    """All threads of a process; those that it starts later inherit it."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {cpu})


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
