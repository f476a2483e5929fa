"""Real processes, killed in mid-delivery: nothing is lost, and what was to be in order is."""

import asyncio
from collections.abc import Iterator

import pytest
from aiohttp import web
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.embedded.servers import Servers
from engine.processes.stack import MODULES, WEBHOOKS
from engine.processes.supervisor import Supervisor
from tests.webhooks.conftest import Endpoints, Log, Received, eventually, make_webhook, rows

EVENTS = 60


@pytest.fixture
def supervisor(servers: Servers, database_url: str) -> Iterator[Supervisor]:
    environment = {
        "DATABASE_URL": database_url.replace("+psycopg", ""),
        "REDIS_URL": servers.redis_url,
        "REDIS_QUEUE_URL": servers.redis_queue_url,
        "CARILLON_WEBHOOK_ALLOW_PRIVATE": "true",
        "CARILLON_LEASE_S": "1",
    }
    with Supervisor(environment, print, forks=[MODULES[WEBHOOKS]]) as running:
        yield running


@pytest.mark.slow
@pytest.mark.parametrize("ordered", [False, True])
async def test_kill_in_mid_delivery(
    supervisor: Supervisor, db: AsyncEngine, redis: Redis, endpoints: Endpoints, log: Log, ordered: bool
) -> None:
    never = asyncio.Event()
    is_killed = False

    async def answer(received: Received) -> web.Response:
        if received.n >= EVENTS // 2 and not is_killed:
            await never.wait()
        return web.Response()

    endpoint = endpoints.add(answer)
    webhook = await make_webhook(db, endpoint.url, ordered=ordered)
    supervisor.start("first", MODULES[WEBHOOKS])
    await asyncio.to_thread(supervisor.wait_ready, "first")
    await log.write(EVENTS)
    await eventually(lambda: len(endpoint.received) > len(endpoint.accepted) >= EVENTS // 2)
    await asyncio.to_thread(supervisor.kill, "first")
    is_killed = True
    await redis.flushall()
    supervisor.start("second", MODULES[WEBHOOKS])

    async def is_over() -> bool:
        found = await rows(db, webhook)
        return len(found) == EVENTS and all(row.status == "delivered" for row in found)

    await eventually(is_over)
    await asyncio.to_thread(supervisor.stop, "second")
    assert sorted(set(endpoint.numbers)) == list(range(EVENTS))
    by_id = {received.json["id"] for received in endpoint.received}
    assert len(by_id) == EVENTS  # a repeat bears the id of the first
    if ordered:
        assert list(dict.fromkeys(endpoint.numbers)) == list(range(EVENTS))
    assert len(await log.told("webhook.delivered")) == EVENTS
