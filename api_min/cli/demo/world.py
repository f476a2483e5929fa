"""The world of the demo: its time, how its network behaves, and the processes under it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from engine.clock import Clock, real_now, starting_at
from engine.embedded.servers import Servers
from engine.processes.stack import HOST, Network, choose_port, engine_environment, start_engine, start_network
from engine.processes.supervisor import Supervisor
from engine.rules.zones import zone
from engine.store import clock
from engine.store.database import connect
from engine.store.migrate import upgrade
from engine.store.seed import seed_dev

SPEED = 80.0  # engine seconds per real second: a quarter of an hour, the gap between two texts, is 11 s
# 17:00 in New York is about noon in Honolulu, and Guam opens then or an hour later. Four hours (180 s) are left to
# call everybody on the same day.
_ZONE, _OPENS = "America/New_York", 17
_SATURDAY = 5

NETWORK: Mapping[str, object] = {
    "seed": 20,
    "speed": 20.0,  # a ring of 10 s takes half a second
    # Real seconds are what an agent needs to pick up, so people must not lose patience twenty times sooner.
    "latency": {"patience_s": (60, 90)},
    "voice_mix": {
        "human": 0.36,
        "machine": 0.38,
        "no_answer": 0.12,
        "busy": 0.04,
        "failed": 0.02,
        "not_found": 0.02,
        "invalid": 0.01,
        "fax": 0.01,
        "unknown": 0.02,
        "silence": 0.01,
        "screening": 0.01,
    },
}
SETTINGS: Mapping[str, str] = {
    # One text in a hundred is never reported on: twenty minutes of engine time, not three days, to settle that.
    "CARILLON_DELIVERY_DEADLINE_S": "1200",
    "CARILLON_LOG_LEVEL": "warning",
    # A whole data centre on two cores, the network and its agent among it: fewer, larger transactions.
    "CARILLON_BATCH_WAIT_S": "0.02",
    "CARILLON_SETTLE_WAIT_S": "0.04",
    "CARILLON_RELAY_POLL_S": "0.04",
    "CARILLON_TICK_S": "0.1",
}


@dataclass(frozen=True, slots=True)
class World:
    """A running stack, with nothing in it but an account and its key."""

    url: str
    key: str
    account_id: int
    network: Network
    servers: Servers
    clock: Clock


def start_world(servers: Servers, supervisor: Supervisor, workers: int, logs: Path) -> World:
    """Migrates, seeds, sets the clock and starts every process. Raises Unavailable when one does not come up."""
    network = start_network(supervisor, logs, NETWORK)
    upgrade(servers.database_url)
    key, account_id, engine_clock = asyncio.run(seed(servers.database_url, network.agent_url, SPEED))
    port = choose_port(0)
    start_engine(supervisor, {**engine_environment(network, port), **SETTINGS}, workers=workers)
    return World(f"http://{HOST}:{port}", key, account_id, network, servers, engine_clock)


def next_opening(moment: datetime) -> datetime:
    """The next weekday's 17:00 in New York."""
    opening = moment.astimezone(zone(_ZONE)).replace(hour=_OPENS, minute=0, second=0, microsecond=0)
    while opening <= moment or opening.weekday() >= _SATURDAY:
        opening = (opening + timedelta(days=1)).replace(hour=_OPENS)
    return opening.astimezone(UTC)


async def seed(database_url: str, agent_url: str, speed: float) -> tuple[str, int, Clock]:
    """An account with that agent, its key, and the clock at the next opening: (key, account id, clock)."""
    engine = connect(database_url, pool_size=1)
    try:
        seeded = await seed_dev(engine, agent={"kind": "ws_media", "url": agent_url}, numbers=())
        opening = next_opening(max(seeded.clock.now(), real_now()))
        engine_clock = starting_at(opening, speed)
        await clock.save(engine, engine_clock)
        return seeded.key, seeded.account_id, engine_clock
    finally:
        await engine.dispose()
