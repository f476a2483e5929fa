"""A worker process's own end: whatever it has not begun is another's. And the end of a part, which others can see."""

import asyncio

import aiohttp
import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from engine import metrics
from engine.clock import Clock
from engine.dispatch.lanes import Lane
from engine.embedded.servers import Servers
from engine.jobs import Actor, Queue, enqueue
from engine.limits.slots import SendSlots
from engine.runtime import Runtime
from engine.settings import Settings
from workers.worker import WorkerProcess

LOOPBACK = "127.0.0.1"
HINT = [1, 2, 3, 1, "+12125550100", 4, "+12135550100"]


def groups_that_wait() -> float:
    return REGISTRY.get_sample_value("carillon_limiter_wait_seconds_count") or 0.0


@pytest.fixture
async def process(db: AsyncEngine, redis: Redis, queue_redis: Redis, servers: Servers, clock: Clock) -> WorkerProcess:
    """Not started."""
    settings = Settings(DATABASE_URL="unused", REDIS_URL=servers.redis_url, REDIS_QUEUE_URL=servers.redis_queue_url)  # type: ignore[call-arg]
    return WorkerProcess(Runtime(settings, db, redis, queue_redis, clock))


async def test_hints_that_wait_for_their_slots_are_handed_back(
    process: WorkerProcess, redis: Redis, queue_redis: Redis
) -> None:
    await SendSlots(redis).close((Lane("carrier:unknown", 1.0),), for_s=15.0)
    before = groups_that_wait()
    process.start()
    await enqueue(queue_redis, Queue.DIAL, Actor.PLACE_CALL, [HINT])
    async with asyncio.timeout(20):
        while groups_that_wait() == before:  # noqa: ASYNC110 — a metric tells nobody
            await asyncio.sleep(0)
    await process.stop()
    assert await queue_redis.llen("dramatiq:dial") == 1


async def test_a_consumer_that_has_ended_makes_the_process_unhealthy(process: WorkerProcess) -> None:
    port = metrics.serve(LOOPBACK, 0, process.health)
    process.start()
    try:
        assert await health(port) == (200, {"dial": True, "send": True, "settle": True})
        consumer = process.worker.consumers[Queue.SEND]
        consumer.stop()
        await asyncio.to_thread(consumer.join, 20)
        assert await health(port) == (503, {"dial": True, "send": False, "settle": True})
    finally:
        await process.stop()


async def health(port: int) -> tuple[int, dict[str, bool]]:
    async with aiohttp.ClientSession() as session, session.get(f"http://{LOOPBACK}:{port}/healthz") as answer:
        return answer.status, (await answer.json())["checks"]
