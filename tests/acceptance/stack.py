"""A whole Carillon for a test: every process real, supervised, and judged by the carrier's own log."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from redis import Redis

from api_min.cli.check import render
from api_min.cli.demo.client import Api
from api_min.cli.demo.prospects import senders
from api_min.cli.demo.world import seed
from engine.checks.evidence import Create, Evidence, parse_creates
from engine.checks.report import run_checks
from engine.embedded.servers import Servers, start_servers
from engine.processes.stack import HOST, MODULES, Network, choose_port, engine_environment, start_engine, start_network
from engine.processes.supervisor import Supervisor, TerminalLog
from engine.rules.area_codes import area_codes
from engine.store import clock
from engine.store.database import connect
from engine.store.migrate import upgrade

SPEED = 20.0  # of the simulated network: a ring of 10 s takes half a second
PATIENCE = {"patience_s": (60, 90)}  # what an agent needs to pick up is real time
CIVIL_SPEED = 60.0  # a DID carries 60 calls per minute of engine time: one a second becomes one per 17 ms
POLL_S = 0.05


@dataclass(slots=True)
class Stack:
    servers: Servers
    supervisor: Supervisor
    network: Network
    environment: dict[str, str]
    url: str
    key: str
    log: Path  # of all processes
    _creates: list[Create] = field(default_factory=list)
    _read: int = 0  # bytes of the carrier's log

    @asynccontextmanager
    async def api(self, url: str = "") -> AsyncIterator[Api]:
        async with aiohttp.ClientSession() as session:
            yield Api(session, url or self.url, self.key)

    def creates(self) -> tuple[Create, ...]:
        """Reads what is new: tests ask twenty times a second, and the log grows by thousands of lines."""
        with self.network.carrier_log.open("rb") as log:
            log.seek(self._read)
            new = log.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        self._creates += parse_creates(whole.splitlines(keepends=True))
        return tuple(self._creates)

    def start_api(self, name: str) -> str:
        """Another api process, ready; answers its URL."""
        port = choose_port(0)
        own = {**self.environment, "CARILLON_PORT": str(port)}
        self.supervisor.start(name, MODULES["api"], own)
        self.supervisor.wait_ready(name)
        return f"http://{HOST}:{port}"

    def scale_workers(self, count: int) -> None:
        for child in self.supervisor.scale("worker", count, MODULES["worker"], self.environment):
            self.supervisor.wait_ready(child.name)

    def kill_and_restart(self, name: str) -> None:
        self.supervisor.kill(name)
        self.supervisor.restart(name)

    def flush_redis(self) -> None:
        with Redis.from_url(self.servers.redis_url) as client:
            client.flushall()

    async def set_faults(self, **rates: float) -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.network.carrier_url}/control/faults", json=rates) as answer,
        ):
            assert answer.status == 200, await answer.text()

    async def check(self, promises: Collection[str] = ()) -> None:
        """Fails with every problem that the promises' own checkers find."""
        # As `carillon check`: what reads on while it judges may stand still for longer than production allows.
        engine = connect(self.servers.database_url, pool_size=1, statement_timeout_ms=0, idle_in_transaction_ms=0)
        try:
            async with engine.connect() as conn:
                engine_clock = await clock.read(conn)
            results = await run_checks(Evidence(engine, engine_clock, self.creates()), promises)
        finally:
            await engine.dispose()
        assert all(result.passed for result in results), "\n".join(render(results))


@contextmanager
def running_stack(
    folder: Path,
    *,
    workers: int = 2,
    coordinators: int = 1,
    civil_speed: float = CIVIL_SPEED,
    magic: bool = False,
    **settings: str,
) -> Iterator[Stack]:
    """Everything that `carillon dev` starts, with the logs of all processes in a file. `magic`: numbers choose what
    becomes of them (`engine.carriers.network.behaviour.MAGIC`)."""
    log = folder / "processes.log"
    with start_servers(folder / "data", keep=False) as running, log.open("w") as lines:
        servers = running.servers
        with Supervisor(servers.environment(), TerminalLog(lines), forks=MODULES.values()) as supervisor:
            config = {"seed": 4, "speed": SPEED, "latency": PATIENCE, "magic": magic}
            network = start_network(supervisor, servers.folder, config)
            port = choose_port(0)
            # While both apis are away, a busy machine makes more events than the usual thousand.
            environment = {**engine_environment(network, port), "CARILLON_REPLAY_LIMIT": "20000", **settings}
            upgrade(servers.database_url)
            key, _, _ = asyncio.run(seed(servers.database_url, network.agent_url, civil_speed))
            start_engine(supervisor, environment, workers=workers)
            for number in range(2, coordinators + 1):
                supervisor.start(f"coordinator-{number}", MODULES["coordinator"], environment)
                supervisor.wait_ready(f"coordinator-{number}")
            stack = Stack(servers, supervisor, network, environment, f"http://{HOST}:{port}", key, log)
            asyncio.run(register_senders(stack))
            yield stack


async def register_senders(stack: Stack) -> None:
    async with stack.api() as api:
        for number in senders():
            await api.post("/api/dids", {"number": number, "capabilities": ["voice", "sms"]})


_WEST = frozenset({"CA", "NV", "OR", "WA"})


def phones(count: int, first: int = 0) -> list[str]:
    """Different numbers of the range kept for fiction, 555-0100 … 555-0199, in the west, where the day ends last."""
    codes = [area.code for area in area_codes().values() if area.country == "US" and area.region in _WEST]
    return [f"+1{codes[n % len(codes)]}555{100 + n // len(codes):04d}" for n in range(first, first + count)]


async def create(
    api: Api, people: Collection[str], mode: Mapping[str, object], channel: str = "voice", *, start: bool = True
) -> str:
    """A campaign's id. It has no legal hours: at this speed a busy machine would see the day end before it."""
    body = {"name": "acceptance", "channel": channel, "purpose": "emergency", "mode": mode}
    campaign = await api.post("/api/campaigns", body)
    path = f"/api/campaigns/{campaign['id']}"
    assert await api.post(f"{path}/prospects", {"phones": list(people)}) == {"added": len(people)}
    if start:
        await api.post(f"{path}/start")
    return str(campaign["id"])


async def stats(api: Api, campaign: str) -> dict[str, Any]:
    answer: dict[str, Any] = await api.get(f"/api/campaigns/{campaign}/stats")
    return answer


async def until(reached: Callable[[], Any], what: str, timeout_s: float = 60.0) -> None:
    """Returns when `reached()`, or what it awaits, is true. Fails after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = reached()
        if await answer if asyncio.iscoroutine(answer) else answer:
            return
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        await asyncio.sleep(POLL_S)


async def until_completed(api: Api, campaign: str, timeout_s: float = 240.0) -> dict[str, Any]:
    """The stats of the completed campaign."""
    deadline = time.monotonic() + timeout_s
    while (answer := await api.get(f"/api/campaigns/{campaign}"))["status"] != "completed":
        assert time.monotonic() < deadline, f"not completed within {timeout_s:g} s: {answer}"
        await asyncio.sleep(POLL_S * 4)
    found: dict[str, Any] = answer["stats"]
    return found


def shuffled(names: list[str], rounds: int, seed: int) -> list[str]:
    """Every name `rounds` times, in an order fixed by the seed."""
    order = names * rounds
    random.Random(seed).shuffle(order)
    return order
