"""Each matching event becomes exactly one delivery, however many scan, wherever in the log it lies."""

import asyncio
from collections.abc import Collection

import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.rules.event_catalog import BY_TYPE
from engine.rules.webhook import matches
from engine.runtime import Runtime
from engine.store import webhooks
from engine.store.webhooks import Change
from engine.webhooks.scan import Scan
from tests.webhooks.conftest import ACCOUNT, Log, make_webhook, rows

URL = "http://127.0.0.1:9/"


async def ignore(webhook_ids: Collection[int]) -> None: ...


async def test_it_begins_with_what_happens_after_the_webhook_was_made(
    runtime: Runtime, db: AsyncEngine, log: Log
) -> None:
    await log.write(3)
    webhook = await make_webhook(db, URL)
    await log.write(2)
    assert await Scan(runtime, ignore).run_once() == 2
    assert [row.seq for row in await rows(db, webhook)] == [4, 5]
    assert await Scan(runtime, ignore).run_once() == 0


async def test_who_has_new_deliveries_is_told(runtime: Runtime, db: AsyncEngine, log: Log) -> None:
    wanted, _ = await make_webhook(db, URL, "sms.*"), await make_webhook(db, URL, "voice.*")
    told: list[Collection[int]] = []

    async def hear(webhook_ids: Collection[int]) -> None:
        told.append(webhook_ids)

    await log.write(2)
    await Scan(runtime, hear).run_once()
    assert told == [{wanted.id}]


@pytest.mark.parametrize(
    "globs",
    [
        ("*",),
        ("sms.*",),
        ("campaign.call.*", "sms.sent"),
        ("campaign.call.human_connected",),
        ("voice.ai.*", "campaign.*"),
    ],
)
async def test_sql_reads_globs_as_the_rule_does(
    runtime: Runtime, db: AsyncEngine, log: Log, globs: tuple[str, ...]
) -> None:
    webhook = await make_webhook(db, URL, *globs)
    types = [*BY_TYPE, "campaign.call.humanXconnected", "smsx.sent", "sms"]  # `_` is LIKE's wildcard too
    for kind in types:
        await log.write(1, kind)
    await Scan(runtime, ignore).run_once()
    assert [row.event_type for row in await rows(db, webhook)] == [kind for kind in types if matches(globs, kind)]


async def test_many_scanners_at_once_write_each_delivery_once(runtime: Runtime, db: AsyncEngine, log: Log) -> None:
    hooks = [await make_webhook(db, URL) for _ in range(5)]
    scanners = [Scan(runtime, ignore) for _ in range(4)]

    async def scan(scanner: Scan) -> int:
        return sum([await scanner.run_once() for _ in range(20)])

    async def write() -> int:
        for _ in range(15):
            await log.write(20)
        return 0

    written = sum(await asyncio.gather(write(), *map(scan, scanners)))
    written += await scanners[0].run_once()
    assert written == 5 * 300
    for webhook in hooks:
        assert [row.seq for row in await rows(db, webhook)] == list(range(1, 301))


async def test_a_long_backlog_is_taken_window_by_window(runtime: Runtime, db: AsyncEngine, log: Log) -> None:
    webhook = await make_webhook(db, URL, "sms.sent")
    await log.write(4_500)
    assert await Scan(runtime, ignore).run_once() == 4_500
    assert [row.seq for row in await rows(db, webhook)] == list(range(1, 4_501))


async def test_a_window_may_begin_and_end_within_a_chunk(
    runtime: Runtime, db: AsyncEngine, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.webhooks.scan._WINDOW", 3)
    webhook = await make_webhook(db, URL, "sms.sent")
    for count in (5, 1, 8, 2):
        await log.write(count)
    await Scan(runtime, ignore).run_once()
    found = await rows(db, webhook)
    assert [row.seq for row in found] == list(range(1, 17))
    async with db.connect() as conn:
        bodies = (await conn.execute(text("select body from webhook_deliveries order by seq"))).scalars().all()
    assert [orjson.loads(body)["payload"]["n"] for body in bodies] == list(range(16))


async def test_days_of_the_log_do_not_matter(runtime: Runtime, db: AsyncEngine, log: Log) -> None:
    """Events in yesterday's partition, in today's and in the default one are one sequence."""
    webhook = await make_webhook(db, URL)
    for count in (2, 2, 1, 1):
        await log.write(count)
    async with db.begin() as conn:
        await conn.execute(text("update event_chunks set recorded_on = current_date - 1 where last = 2"))
        await conn.execute(text("update event_chunks set recorded_on = '2199-01-01' where last = 5"))
    await Scan(runtime, ignore).run_once()
    assert [row.seq for row in await rows(db, webhook)] == [1, 2, 3, 4, 5, 6]


async def test_a_long_pause_skips_what_is_older_than_three_days(runtime: Runtime, db: AsyncEngine, log: Log) -> None:
    webhook = await make_webhook(db, URL)
    async with db.begin() as conn:
        await webhooks.change(conn, ACCOUNT, webhook.id, Change(active=False))
    await log.write(3)
    await log.write(2)
    async with db.begin() as conn:
        await conn.execute(text("update event_chunks set recorded_on = current_date - 4 where last <= 3"))
    assert await Scan(runtime, ignore).run_once() == 0
    async with db.begin() as conn:
        await webhooks.change(conn, ACCOUNT, webhook.id, Change(active=True))
    assert await Scan(runtime, ignore).run_once() == 2


async def test_changed_events_hold_from_the_next_scan(runtime: Runtime, db: AsyncEngine, log: Log) -> None:
    webhook = await make_webhook(db, URL, "sms.*")
    await log.write(1, "voice.completed")
    await Scan(runtime, ignore).run_once()
    async with db.begin() as conn:
        await webhooks.change(conn, ACCOUNT, webhook.id, Change(events=["voice.*"]))
    await log.write(1, "voice.completed")
    await log.write(1, "sms.sent")
    await Scan(runtime, ignore).run_once()
    assert [row.seq for row in await rows(db, webhook)] == [2]
