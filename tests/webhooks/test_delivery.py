"""From the event log to the endpoint: everything, in order where asked, and never slowed by somebody else's trouble."""

import asyncio
from collections import Counter

import pytest
from aiohttp import web
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import boottime
from engine.rules.webhook import PARK_AFTER
from engine.runtime import Runtime
from engine.store import webhooks
from engine.store.webhooks import Change, Webhook
from engine.webhooks.loop import Deliverer
from engine.webhooks.send import open_session
from tests.webhooks.conftest import (
    ACCOUNT,
    Endpoints,
    Log,
    Received,
    delivering,
    eventually,
    make_due,
    make_webhook,
    rows,
)


async def read(db: AsyncEngine, webhook: Webhook) -> Webhook:
    async with db.connect() as conn:
        return await webhooks.get(conn, ACCOUNT, webhook.id)


async def until_over(db: AsyncEngine, webhook: Webhook, count: int) -> None:
    async def is_over() -> bool:
        return sum(row.is_over for row in await rows(db, webhook)) == count

    await eventually(is_over)


async def test_an_event_reaches_the_endpoint_and_is_told_of(
    runtime: Runtime, db: AsyncEngine, endpoints: Endpoints, log: Log
) -> None:
    endpoint = endpoints.add()
    webhook = await make_webhook(db, endpoint.url)
    async with delivering(runtime):
        await log.write(id="msg_1")
        await until_over(db, webhook, 1)
    (row,) = await rows(db, webhook)
    assert (row.status, row.attempts, row.response_code, row.error) == ("delivered", 1, 200, None)
    (told,) = await log.told("webhook.delivered")
    assert told.pop("deliveryId").startswith("log_")
    assert told == {
        "webhookId": webhook.public_id,
        "event": "sms.sent",
        "eventId": endpoint.accepted[0].json["id"],
        "attempts": 1,
        "responseCode": 200,
    }


async def test_deliveries_are_never_delivered_themselves(
    runtime: Runtime, db: AsyncEngine, endpoints: Endpoints, log: Log
) -> None:
    endpoint = endpoints.add()
    webhook = await make_webhook(db, endpoint.url, "*")
    async with delivering(runtime):
        await log.write(3)
        await until_over(db, webhook, 3)
        assert len(await log.told("webhook.delivered")) == 3  # numbered, and so before the scan

        async def is_scanned() -> bool:
            async with db.connect() as conn:
                behind = "select h.seq - w.scanned from webhooks w join event_heads h using (account_id)"
                return (await conn.execute(text(behind))).scalar() == 0

        await eventually(is_scanned)
    assert len(await rows(db, webhook)) == len(endpoint.received) == 3


async def test_each_account_s_webhooks_get_its_own_events_only(
    runtime: Runtime, db: AsyncEngine, endpoints: Endpoints, log: Log
) -> None:
    mine, other = endpoints.add(), endpoints.add()
    await make_webhook(db, mine.url)
    await make_webhook(db, other.url, account=8)
    async with delivering(runtime):
        await log.write(2)
        await log.write(1, account=8)
        await mine.until(2)
        await other.until(1)
    assert (sorted(mine.numbers), other.numbers) == ([0, 1], [2])


async def test_a_hanging_and_a_failing_endpoint_slow_nobody(
    runtime: Runtime, db: AsyncEngine, endpoints: Endpoints, log: Log
) -> None:
    release = asyncio.Event()

    async def hang(received: Received) -> web.Response:
        await release.wait()
        return web.Response()

    hanging, failing, healthy = endpoints.add(hang), endpoints.add(lambda received: 500), endpoints.add()
    for endpoint in (hanging, failing, healthy):
        await make_webhook(db, endpoint.url)
    waits_s = []
    async with delivering(runtime):
        await log.write(50)  # all of it for each of the three
        await healthy.until(50)
        for n in range(20):
            began = boottime()
            await log.write(1)
            await healthy.until(51 + n)
            waits_s.append(boottime() - began)
        assert len(hanging.received) == runtime.settings.webhook_width
        assert len(failing.received) < runtime.settings.webhook_width + PARK_AFTER  # then it is parked
        release.set()
        await hanging.until(70)
    assert Counter(healthy.numbers) == Counter(range(70))
    assert sorted(waits_s)[10] < 1.0  # far below the ten seconds that the hanging one may take


async def test_an_ordered_endpoint_gets_one_at_a_time_in_order_and_waits_for_its_head(
    runtime: Runtime, db: AsyncEngine, endpoints: Endpoints, log: Log
) -> None:
    under_way, most, failures = 0, 0, [500, 503, 0, 0]

    async def answer(received: Received) -> web.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        status = failures.pop(0) if received.n == 2 and failures else 0
        return web.Response(status=status or 200)

    endpoint = endpoints.add(answer)
    webhook = await make_webhook(db, endpoint.url, ordered=True)
    async with delivering(runtime):
        await log.write(30)
        await endpoint.until(2)
        for attempt in (1, 2):

            async def has_failed(attempt: int = attempt) -> bool:
                return (await rows(db, webhook))[2].attempts == attempt

            await eventually(has_failed)
            assert endpoint.numbers == [0, 1]  # nothing has overtaken it
            await make_due(db, webhook)
        await endpoint.until(30)
    assert endpoint.numbers == list(range(30))
    assert most == 1


async def test_a_failing_endpoint_is_parked_probed_and_flows_again(
    runtime: Runtime, db: AsyncEngine, endpoints: Endpoints, log: Log
) -> None:
    is_up = False
    endpoint = endpoints.add(lambda received: 200 if is_up else 500)
    webhook = await make_webhook(db, endpoint.url)
    async with delivering(runtime):
        await log.write(40)

        async def is_parked() -> bool:
            found = await read(db, webhook)
            return found.failures >= PARK_AFTER and found.parked_until is not None

        await eventually(is_parked)
        sent = len(endpoint.received)
        assert sent == runtime.settings.webhook_width + PARK_AFTER - 1  # those of the first moment count as one
        await make_due(db, webhook)

        async def is_probed() -> bool:
            return (await read(db, webhook)).failures == PARK_AFTER + 1

        await eventually(is_probed)
        assert len(endpoint.received) == sent + 1  # one request, not one per delivery that is due
        is_up = True
        async with db.begin() as conn:  # the pause is over; the retries of single deliveries are hours away
            await conn.execute(
                text("update webhook_deliveries set next_attempt_at = now() + interval '6 h' where attempts > 0")
            )
            await conn.execute(text("update webhooks set parked_until = '-infinity'"))
        await endpoint.until(40)
        await until_over(db, webhook, 40)
    found = await read(db, webhook)
    assert (found.failures, found.parked_until) == (0, None)
    assert Counter(endpoint.numbers) == Counter(range(40))


async def test_410_disables_and_activating_goes_on(
    runtime: Runtime, db: AsyncEngine, endpoints: Endpoints, log: Log
) -> None:
    status = 410
    endpoint = endpoints.add(lambda received: status)
    webhook = await make_webhook(db, endpoint.url, ordered=True)
    async with delivering(runtime):
        await log.write(3)
        await until_over(db, webhook, 1)
        found = await read(db, webhook)
        assert (found.active, found.disabled_reason) == (False, "the endpoint answered 410 Gone")
        assert len(endpoint.received) == 1
        (told,) = await log.told("webhook.failed")
        assert (told["error"], told["attempts"]) == ("HTTP 410", 1)
        status = 200
        async with db.begin() as conn:
            await webhooks.change(conn, ACCOUNT, webhook.id, Change(active=True))
        await endpoint.until(2)
    assert endpoint.numbers == [1, 2]


async def test_retry_after_holds_the_whole_endpoint(
    runtime: Runtime, db: AsyncEngine, endpoints: Endpoints, log: Log
) -> None:
    endpoint = endpoints.add(lambda received: web.Response(status=429, headers={"Retry-After": "900"}))
    webhook = await make_webhook(db, endpoint.url, ordered=True)
    async with delivering(runtime):
        await log.write(5)

        async def is_held() -> bool:
            return (await read(db, webhook)).parked_until is not None

        await eventually(is_held)
    async with db.connect() as conn:
        seconds = "select extract(epoch from parked_until - now()) from webhooks"
        assert 800 < (await conn.execute(text(seconds))).scalar_one() <= 900
    assert len(endpoint.received) == 1


async def test_what_happens_during_a_pause_is_sent_after_it(
    runtime: Runtime, db: AsyncEngine, endpoints: Endpoints, log: Log
) -> None:
    endpoint = endpoints.add()
    webhook = await make_webhook(db, endpoint.url, ordered=True)
    async with db.begin() as conn:
        await webhooks.change(conn, ACCOUNT, webhook.id, Change(active=False))
    other = endpoints.add()
    await make_webhook(db, other.url)
    async with delivering(runtime):
        await log.write(3)
        await other.until(3)
        assert await rows(db, webhook) == []
        async with db.begin() as conn:
            await webhooks.change(conn, ACCOUNT, webhook.id, Change(active=True))
        await endpoint.until(3)
    assert endpoint.numbers == [0, 1, 2]


async def test_an_event_that_cannot_be_rendered_costs_only_its_own_delivery(
    runtime: Runtime, db: AsyncEngine, endpoints: Endpoints, log: Log
) -> None:
    endpoint = endpoints.add()
    webhook = await make_webhook(db, endpoint.url)
    for _ in range(3):
        await log.write()
    async with db.begin() as conn:
        await conn.execute(text("""update event_chunks set body = '{"type": "sms.sent"}' where last = 2"""))
    async with delivering(runtime):
        await endpoint.until(2)
        await until_over(db, webhook, 2)

        async def is_tried() -> bool:
            return (await rows(db, webhook))[1].attempts == 1

        await eventually(is_tried)
    assert (await rows(db, webhook))[1].error == "it could not be sent, by a fault of ours"


async def test_stopping_waits_for_what_is_under_way_and_hands_the_rest_on(
    runtime: Runtime, db: AsyncEngine, endpoints: Endpoints, log: Log
) -> None:
    """The lease of 20 s is given back, not waited for; and nothing is sent twice."""
    release = asyncio.Event()

    async def wait(received: Received) -> web.Response:
        await release.wait()
        return web.Response()

    endpoint = endpoints.add(wait)
    webhook = await make_webhook(db, endpoint.url, ordered=True)
    async with open_session(runtime) as session:
        stop, first = asyncio.Event(), Deliverer(runtime, session, "first")
        running = asyncio.create_task(first.run(stop))
        await log.write(5)
        await eventually(lambda: len(endpoint.received) == 1)
        stop.set()
        async with delivering(runtime, "second"):
            release.set()
            await running
            await until_over(db, webhook, 5)
    assert endpoint.numbers == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("ordered", [False, True])
async def test_two_processes_share_the_work_and_send_nothing_twice(
    runtime: Runtime, db: AsyncEngine, endpoints: Endpoints, log: Log, ordered: bool
) -> None:
    served = [endpoints.add() for _ in range(6)]
    hooks = [await make_webhook(db, endpoint.url, ordered=ordered) for endpoint in served]
    async with delivering(runtime, "one"), delivering(runtime, "two"):
        for _ in range(10):
            await log.write(6)
        for endpoint, webhook in zip(served, hooks, strict=True):
            await endpoint.until(60)
            await until_over(db, webhook, 60)
    for endpoint in served:
        assert sorted(endpoint.numbers) == list(range(60))
        assert endpoint.numbers == list(range(60)) or not ordered
