"""A worker process's own end: whatever it has not begun is another's."""

import asyncio

from prometheus_client import REGISTRY
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import Clock
from engine.dispatch.lanes import Lane
from engine.embedded.servers import Servers
from engine.jobs import Actor, Queue, depth, enqueue
from engine.limits.slots import SendSlots
from engine.runtime import Runtime
from engine.settings import Settings
from workers.worker import WorkerProcess

HINT = [1, 2, 3, 1, "+12125550100", 4, "+12135550100"]


def groups_that_wait() -> float:
    return REGISTRY.get_sample_value("carillon_limiter_wait_seconds_count") or 0.0


async def test_hints_that_wait_for_their_slots_are_handed_back(
    db: AsyncEngine, redis: Redis, queue_redis: Redis, servers: Servers, clock: Clock
) -> None:
    settings = Settings(DATABASE_URL="unused", REDIS_URL=servers.redis_url, REDIS_QUEUE_URL=servers.redis_queue_url)  # type: ignore[call-arg]
    await SendSlots(redis).close((Lane("carrier:unknown", 1.0),), for_s=15.0)
    process = WorkerProcess(Runtime(settings, db, redis, queue_redis, clock))
    before = groups_that_wait()
    process.start()
    await enqueue(queue_redis, Queue.DIAL, Actor.PLACE_CALL, [HINT])
    async with asyncio.timeout(20):
        while groups_that_wait() == before:  # noqa: ASYNC110 — a metric tells nobody
            await asyncio.sleep(0)
    await process.stop()
    assert await depth(queue_redis, Queue.DIAL) == 1
