"""What nobody can deliver ends, what is over fades, and nothing else is touched."""

from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.runtime import Runtime
from engine.store import webhooks
from engine.webhooks.scan import Scan
from engine.webhooks.upkeep import Count, Expire, Purge
from tests.webhooks.conftest import ACCOUNT, Log, make_webhook, rows
from tests.webhooks.test_scan import URL, ignore


async def run(db: AsyncEngine, statement: str) -> None:
    async with db.begin() as conn:
        await conn.execute(text(statement))


def given_up() -> float:
    found = REGISTRY.get_sample_value("carillon_webhook_given_up_total")
    assert found is not None  # from the start of the process, or `increase` would not see the first
    return found


async def test_what_is_too_old_is_given_up_and_told_of(runtime: Runtime, db: AsyncEngine, log: Log) -> None:
    webhook = await make_webhook(db, URL)
    await log.write(3)
    await Scan(runtime, ignore).run_once()
    await run(db, "update webhook_deliveries set give_up_at = now() where seq <= 2")
    before = given_up()
    assert await Expire(runtime).run_once() == 2
    assert await Expire(runtime).run_once() == 0
    assert given_up() == before + 2
    assert [row.status for row in await rows(db, webhook)] == ["failed", "failed", "pending"]
    told = await log.told("webhook.failed")
    assert [each["error"] for each in told] == ["its time was over before it could be sent"] * 2


async def test_what_a_deleted_webhook_left_ends_in_silence(runtime: Runtime, db: AsyncEngine, log: Log) -> None:
    webhook = await make_webhook(db, URL)
    await log.write(2)
    await Scan(runtime, ignore).run_once()
    async with db.begin() as conn:
        await webhooks.delete(conn, ACCOUNT, webhook.id)
    await run(db, "update webhook_deliveries set give_up_at = now()")
    before = given_up()
    assert await Expire(runtime).run_once() == 2
    assert given_up() == before
    assert await log.told("webhook.failed") == []


async def test_only_what_is_over_and_old_is_purged(runtime: Runtime, db: AsyncEngine, log: Log) -> None:
    webhook = await make_webhook(db, URL)
    await log.write(4)
    await Scan(runtime, ignore).run_once()
    await run(db, "update webhook_deliveries set created_at = now() - interval '8 days' where seq <= 3")
    await run(db, "update webhook_deliveries set next_attempt_at = null, status = 'delivered' where seq in (1, 3, 4)")
    assert await Purge(runtime).run_once() == 2
    assert [row.seq for row in await rows(db, webhook)] == [2, 4]


async def test_parked_webhooks_are_counted(runtime: Runtime, db: AsyncEngine) -> None:
    assert await Count(runtime).run_once() == 0
    await make_webhook(db, URL)
    await run(db, "update webhooks set failures = 5")
    assert await Count(runtime).run_once() == 1
