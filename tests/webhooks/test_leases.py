"""Who holds an endpoint knows it once."""

import asyncio

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import Clock
from engine.rules.webhook import Answer
from engine.runtime import Runtime
from engine.store.database import connect
from engine.store.webhooks import Webhook
from engine.webhooks.endpoint import Ways
from engine.webhooks.leases import Leases
from tests.webhooks.conftest import make_runtime, make_webhook


async def _never(webhook: Webhook, seq: int, body: str) -> Answer:
    raise AssertionError("nothing is due")


async def test_an_endpoint_that_two_duties_take_at_once_is_not_forgotten(
    database_url: str, db: AsyncEngine, redis: Redis, queue_redis: Redis, clock: Clock
) -> None:
    """The second would begin anew, and send once more what the first is sending."""
    webhook = await make_webhook(db, "http://127.0.0.1:9/")
    few = connect(database_url, pool_size=1, idle_in_transaction_ms=20_000)
    ways = Ways(_never, lambda _: None, lambda: None, asyncio.Semaphore(), width=1)
    leases = Leases(make_runtime(few, redis, queue_redis, clock), "one", ways)
    try:
        async with few.connect():  # leaves one connection: the second's statement comes after the first's commit
            taken = await asyncio.gather(leases.take([webhook.id]), leases.take([webhook.id]))
        assert list(leases.held) == [webhook.id]
        assert sum(taken) == 1
    finally:
        await few.dispose()


async def test_an_endpoint_that_is_spared_is_not_given_back(runtime: Runtime, db: AsyncEngine) -> None:
    """Its results could not be written: whoever took it next would not know of that, and send at once."""
    webhook = await make_webhook(db, "http://127.0.0.1:9/")
    leases = Leases(runtime, "one", Ways(_never, lambda _: None, lambda: None, asyncio.Semaphore(), width=1))
    await leases.take([webhook.id])
    endpoint = leases.held[webhook.id]
    endpoint.idle_since = 0.0
    endpoint.hold(30.0)
    await leases.renew()
    assert (list(leases.held), endpoint.is_paused) == ([webhook.id], True)
    endpoint.paused_until = 0.0
    await leases.renew()
    assert leases.held == {}
