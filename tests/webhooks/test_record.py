"""Results are written once, with the events that tell of them, or the endpoint is spared until they can be."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import boottime
from engine.rules.webhook import Answer, Decision, Verdict
from engine.runtime import Runtime
from engine.store import webhooks
from engine.store.database import connect
from engine.store.webhooks import Webhook
from engine.webhooks import record
from engine.webhooks.endpoint import Due, Endpoint, Result, Ways
from engine.webhooks.record import Recorder
from engine.webhooks.scan import Scan
from tests.webhooks.conftest import Log, make_runtime, make_webhook, rows
from tests.webhooks.test_endpoint import World, turns
from tests.webhooks.test_scan import URL, ignore
from tests.webhooks.test_upkeep import given_up


async def never_send(webhook: Webhook, seq: int, body: str) -> Answer:
    raise AssertionError("nothing is sent here")


def held(webhook: Webhook) -> Endpoint:
    ways = Ways(never_send, lambda result: None, lambda: None, asyncio.Semaphore(1), 8)
    return Endpoint(webhook, boottime() + 60, ways)


def result(
    endpoint: Endpoint, delivery_id: int, seq: int, answer: Answer, decision: Decision, attempts: int = 0
) -> Result:
    return Result(endpoint, Due(delivery_id, seq, "sms.sent", "{}", attempts, 1e6, 0.0), answer, decision, 0.01)


@pytest.fixture
async def scanned(runtime: Runtime, db: AsyncEngine, log: Log) -> Webhook:
    """A webhook with three deliveries."""
    webhook = await make_webhook(db, URL)
    await log.write(3)
    await Scan(runtime, ignore).run_once()
    return webhook


async def test_one_attempt_counts_once(runtime: Runtime, db: AsyncEngine, log: Log, scanned: Webhook) -> None:
    """As after a commit whose answer was lost, or when two processes made the same attempt."""
    recorder, endpoint = Recorder(runtime, "me"), held(scanned)
    first = (await rows(db, scanned))[0]
    delivered = result(endpoint, first.id, first.seq, Answer(200), Decision(Verdict.DELIVERED))
    failed = result(endpoint, first.id, first.seq, Answer(500, "HTTP 500"), Decision(Verdict.RETRY, 5.0))
    for each in (delivered, delivered, failed):
        await recorder.record([each])
    row = (await rows(db, scanned))[0]
    assert (row.status, row.attempts, row.response_code) == ("delivered", 1, 200)
    assert len(await log.told("webhook.delivered")) == 1


async def test_a_retry_waits_and_tells_nobody(runtime: Runtime, db: AsyncEngine, log: Log, scanned: Webhook) -> None:
    found = await rows(db, scanned)
    endpoint = held(scanned)
    results = [
        result(endpoint, found[0].id, found[0].seq, Answer(500, "HTTP 500: \x00bad"), Decision(Verdict.RETRY, 120.0)),
        result(endpoint, found[1].id, found[1].seq, Answer(0, "x" * 1_000), Decision(Verdict.FAILED)),
    ]
    before = given_up()
    await Recorder(runtime, "me").record(results)
    assert given_up() == before + 1
    retried, failed, untouched = await rows(db, scanned)
    assert (retried.status, retried.attempts, retried.error) == ("pending", 1, "HTTP 500: \ufffdbad")
    assert 100 < retried.due_in_s <= 120
    assert (failed.status, failed.response_code, failed.is_over, len(failed.error)) == ("failed", None, True, 300)
    assert (untouched.status, untouched.attempts) == ("pending", 0)
    assert [each["event"] for each in await log.told("webhook.failed")] == ["sms.sent"]


async def test_an_endpoint_that_another_process_holds_is_left_alone(
    runtime: Runtime, db: AsyncEngine, scanned: Webhook
) -> None:
    endpoint = held(scanned)
    endpoint.failures, endpoint.has_news = 7, True
    first = (await rows(db, scanned))[0]
    await Recorder(runtime, "me").record(
        [result(endpoint, first.id, first.seq, Answer(500), Decision(Verdict.RETRY, 5.0, 60.0))]
    )
    async with db.connect() as conn:
        found = await webhooks.get(conn, scanned.account_id, scanned.id)
    assert (found.failures, found.parked_until) == (0, None)


async def test_a_failure_that_comes_after_a_410_was_written(
    runtime: Runtime, db: AsyncEngine, log: Log, scanned: Webhook
) -> None:
    """They were under way together; the row must not be asked to pause the endpoint for ever."""
    async with db.begin() as conn:
        await conn.execute(text("update webhooks set lease_owner = 'me'"))
    world, recorder = World(), Recorder(runtime, "me")
    endpoint = world.endpoint(id=scanned.id)
    endpoint.offer([Due(row.id, row.seq, "sms.sent", "{}", 0, 1e6, 0.0) for row in await rows(db, scanned)], 3)
    await turns()
    for place, status in enumerate((410, 500, 200)):
        await world.answer(world.begun[place], status)
        await recorder.record(world.results[place:])
    found = [(row.status, row.attempts) for row in await rows(db, scanned)]
    assert found == [("failed", 1), ("pending", 1), ("delivered", 1)]
    async with db.connect() as conn:
        row = await webhooks.get(conn, scanned.account_id, scanned.id)
    assert (row.active, row.disabled_reason, row.parked_until) == (False, record.GONE, None)
    assert endpoint.is_paused


async def test_a_result_that_the_database_refuses_costs_no_other(
    runtime: Runtime, db: AsyncEngine, scanned: Webhook
) -> None:
    endpoint, unlucky = held(scanned), held(scanned)
    delivered = [
        result(endpoint, row.id, row.seq, Answer(200), Decision(Verdict.DELIVERED)) for row in await rows(db, scanned)
    ]
    refused = result(unlucky, 2**70, 9, Answer(200), Decision(Verdict.DELIVERED))  # no bigint
    await Recorder(runtime, "me").record([*delivered[:2], refused, *delivered[2:]])
    assert [row.status for row in await rows(db, scanned)] == ["delivered"] * 3
    assert (unlucky.is_paused, endpoint.is_paused) == (True, False)


async def test_results_that_cannot_be_written_spare_the_endpoint(
    runtime: Runtime, scanned: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "RETRIES_S", (0.001, 0.001))
    nowhere = connect("postgresql://nobody@127.0.0.1:1/nothing")
    away = make_runtime(nowhere, runtime.redis, runtime.queue, runtime.clock)
    endpoint = held(scanned)
    await Recorder(away, "me").record([result(endpoint, 1, 1, Answer(200), Decision(Verdict.DELIVERED))])
    assert endpoint.is_paused
    assert endpoint.busy == set()
    await nowhere.dispose()
