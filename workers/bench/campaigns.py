"""One round of Carillon: campaigns from `start` to the last outcome and all that follows; timed, then checked."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import LiteralString, TypeVar

import psycopg
from redis import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import Clock, real_now
from engine.coordinator import wake
from engine.embedded.servers import Servers
from engine.jobs import NAMESPACE, Queue
from engine.rules.campaign import Action
from engine.store import campaigns
from engine.store.database import connect
from engine.store.seed import DEV_ACCOUNT_ID, set_legal_hour
from workers.bench import meter, verify
from workers.bench.contacts import Plan
from workers.bench.engine_side import Engine
from workers.bench.figures import Sample
from workers.bench.verify import WorkLost, one

TIMEOUT_S = 600.0
# Far above what a machine can do: every limit is asked, none is met.
UNLIMITED = {
    "CARILLON_DID_CALLS_PER_MINUTE": "1000000",
    "CARILLON_MAX_CALLS_PER_SECOND": "1000000",
    "CARILLON_DID_HEALTH": "all",  # as for live keys
}
_POLL_S = 0.05

_DONE: LiteralString = "select sum(completed) + sum(cancelled) from campaign_counts"
_OUTBOX: LiteralString = "select count(*) from outbox"
_UNDER_WAY: LiteralString = "select count(*) from attempts where check_at is not null"
_COMPLETED: LiteralString = "select sum(completed) from campaign_counts"
_PAUSED: LiteralString = "select status_reason from campaigns where status = 'paused'"
_UNFINISHED: LiteralString = "select count(*) from campaigns where status <> 'completed'"

T = TypeVar("T")


def run(servers: Servers, url: str, engine: Engine, plan: Plan) -> Sample:
    """Starts all campaigns of the database at `url` and waits until every message is acknowledged and every event has
    its number: that is the time measured. Then checks the books. `engine` is running.

    Raises WorkLost when something is missing, and Unavailable when a process ends.
    """
    groups = engine.groups()
    with psycopg.connect(url, autocommit=True) as watching, Redis.from_url(servers.redis_queue_url) as queue:
        before, begun = meter.cpu_s(groups), time.monotonic()
        _start(servers, url)
        _await(engine, watching, lambda: one(watching, _DONE) >= plan.total)
        completed_s = time.monotonic() - begun
        _await(engine, watching, lambda: _is_quiet(watching, queue))
        seconds = time.monotonic() - begun
        used = meter.used_since(before, groups)
        _await(engine, watching, lambda: one(watching, _UNFINISHED) == 0)
        intents = one(watching, "select sum(try) from attempts")
        extra = {
            "worker_mb": meter.peak_mb(engine.worker_pids),
            "completed_s": completed_s,
            "intents_each": intents / plan.total,
            "intents_per_batch": intents / engine.metric("carillon_intent_seconds_count"),
            "forfeited_each": engine.metric("carillon_slots_forfeited_total") / plan.total,
            "events_each": one(watching, "select sum(last - first + 1) from event_chunks") / plan.total,
        }
    asyncio.run(with_engine(url, lambda db: verify.balance(db, plan.total)))
    return Sample(plan.total, seconds, used, extra)


def run_some(servers: Servers, url: str, engine: Engine, count: int) -> Sample:
    """As `run`, until `count` prospects of however many have their outcome; what is left of the campaigns is cancelled.

    Raises WorkLost when something is missing, and Unavailable when a process ends.
    """
    groups = engine.groups()
    with psycopg.connect(url, autocommit=True) as watching, Redis.from_url(servers.redis_queue_url) as queue:
        before, begun = meter.cpu_s(groups), time.monotonic()
        _start(servers, url)
        _await(engine, watching, lambda: one(watching, _COMPLETED) >= count)
        seconds, used = time.monotonic() - begun, meter.used_since(before, groups)
        done = one(watching, _COMPLETED)
        asyncio.run(with_engine(url, lambda db: _move_all(db, Action.CANCEL)))
        _await(engine, watching, lambda: one(watching, _UNDER_WAY) == 0 and _is_quiet(watching, queue))
        completed = one(watching, _COMPLETED)
    asyncio.run(with_engine(url, lambda db: verify.balance(db, completed, is_cut_short=True)))
    return Sample(done, seconds, used)


def _start(servers: Servers, url: str) -> None:
    started = asyncio.run(with_engine(url, lambda db: _move_all(db, Action.START)))
    with Redis.from_url(servers.redis_url) as redis:
        redis.rpush(wake.LIST, *started)


def set_clock(url: str) -> Clock:
    """Before the processes start: engine time to an hour at which every number may be called."""
    return asyncio.run(with_engine(url, set_legal_hour))


async def with_engine(url: str, do: Callable[[AsyncEngine], Awaitable[T]]) -> T:
    db = connect(url, pool_size=1, statement_timeout_ms=0)
    try:
        return await do(db)
    finally:
        await db.dispose()


async def _move_all(db: AsyncEngine, action: Action) -> list[int]:
    async with db.connect() as conn:
        found = await campaigns.list_campaigns(conn, DEV_ACCOUNT_ID)
    for campaign in found:
        await campaigns.transition(db, DEV_ACCOUNT_ID, campaign.id, action, real_now())
    return [campaign.id for campaign in found]


def _await(engine: Engine, watching: "psycopg.Connection[tuple[object, ...]]", is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not meter.wait_until(is_true, 1.0, _POLL_S):
        engine.check()
        if paused := watching.execute(_PAUSED).fetchone():
            raise WorkLost(f"a campaign has paused by itself, and nobody resumes it: {paused[0]}")
        if time.monotonic() > deadline:
            raise WorkLost(f"the round did not end within {TIMEOUT_S:g} s. {engine.last_words()}")


def _is_quiet(watching: "psycopg.Connection[tuple[object, ...]]", queue: "Redis") -> bool:
    """Every message is acknowledged, and every event has its number."""
    unacknowledged = sum(queue.hlen(f"{NAMESPACE}:{name}.msgs") for name in Queue)
    return unacknowledged == 0 and one(watching, _OUTBOX) == 0
