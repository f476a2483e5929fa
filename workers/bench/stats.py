"""`bench stats`: what must not grow with a campaign: its statistics over HTTP, and a coordinator's look at it."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median

import psycopg

from engine import log as logs
from engine.coordinator.complete import Complete
from engine.coordinator.duty import Duty
from engine.coordinator.loop import Coordinator
from engine.coordinator.rescue import Rescue
from engine.coordinator.stats import Stats
from engine.coordinator.sweep import Sweep
from engine.embedded.servers import Servers
from engine.ids import encode
from engine.processes.stack import API, HOST, MODULES
from engine.runtime import Runtime, running
from engine.settings import Settings
from workers.bench import contacts
from workers.bench.client import Client
from workers.bench.contacts import Loaded, Plan
from workers.bench.databases import Databases
from workers.bench.engine_side import Engine
from workers.bench.figures import Goal, Line, Result, Sample, alternate
from workers.bench.verify import WorkLost

SMALL = 1_000
REQUESTS = 200
TICKS = 100
MOST_RATIO = 1.5


def run(servers: Servers, size: int, rounds: int, tell: Callable[[str], None]) -> Result:
    plan = Plan((size, SMALL), due="2100-01-01", dids=1)
    filled: list[Loaded] = []
    with (
        Databases(servers) as databases,
        databases.fresh("stats", lambda url: filled.append(contacts.load(url, plan))) as url,
    ):
        large, small = filled[0].campaign_ids
        with _asking(servers, url, filled[0].key) as client:
            requests = alternate(
                {
                    f"GET stats, {size:,}": lambda: _request(client, large, size),
                    f"GET stats, {SMALL:,}": lambda: _request(client, small, SMALL),
                },
                rounds,
                tell,
            )
        ticks = alternate(
            {
                f"tick, {size:,}": lambda: asyncio.run(_tick(servers, url, large)),
                f"tick, {SMALL:,}": lambda: asyncio.run(_tick(servers, url, small)),
            },
            rounds,
            tell,
        )
    figures = {"ratio": _ratio(requests), "tick_ratio": _ratio(ticks)}
    goals = [Goal(name, MOST_RATIO, is_most=True) for name in figures]
    return Result("stats", "call", [*requests, *ticks], figures, goals)


@contextmanager
def _asking(servers: Servers, url: str, key: str) -> Iterator[Client]:
    with Engine(servers, url) as engine:
        engine.supervisor.start(API, MODULES[API], {"CARILLON_PORT": "0"})
        port = int(str(engine.supervisor.wait_ready(API)["port"]))
        with Client(HOST, port, key) as client:
            yield client


def _request(client: Client, campaign_id: int, size: int) -> Sample:
    path = f"/api/campaigns/{encode('camp', campaign_id)}/stats"
    times: list[float] = []
    for _ in range(REQUESTS):
        begun = time.perf_counter()
        answer = client.get(path)
        times.append(time.perf_counter() - begun)
    if answer["total"] != size:
        raise WorkLost(f"the statistics of {size} prospects are {answer}")
    return _sample(times)


async def _tick(servers: Servers, url: str, campaign_id: int) -> Sample:
    """Everything that a coordinator does for a campaign in which nothing is due, looking at it from the front."""
    with psycopg.connect(url) as connection:
        connection.execute("update campaigns set lease_until = '-infinity', status = 'created'")
        connection.execute("update campaigns set status = 'dialing' where id = %s", [campaign_id])
    settings = Settings(DATABASE_URL=url, REDIS_URL=servers.redis_url, log_level="warning")
    logs.configure("bench", settings)
    async with running(settings) as runtime:
        coordinator = Coordinator(runtime)
        await coordinator.lease.run_once()
        duties = _duties(runtime, coordinator)
        walk = coordinator.shard.walks[campaign_id]
        times: list[float] = []
        for _ in range(TICKS):
            walk.begin_again()
            begun = time.perf_counter()
            for duty in duties:
                await duty.run_once()
            times.append(time.perf_counter() - begun)
        await coordinator.lease.release_all()
    return _sample(times)


def _duties(runtime: Runtime, coordinator: Coordinator) -> Sequence[Duty]:
    shard = coordinator.shard
    return [
        coordinator.dispatch,
        Rescue(runtime, shard),
        Complete(runtime, shard),
        Sweep(runtime, shard),
        Stats(runtime, shard),
    ]


def _sample(times: Sequence[float]) -> Sample:
    return Sample(len(times), sum(times), extra={"p50_ms": 1e3 * median(times)})


def _ratio(lines: Sequence[Line]) -> float:
    large, small = (line.extra()["p50_ms"] for line in lines)
    return large / small
