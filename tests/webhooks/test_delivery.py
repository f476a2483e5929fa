"""From the event log to the endpoint: once each, in order where asked, and never slowed by somebody else's trouble."""

from sqlalchemy.ext.asyncio import AsyncEngine

from engine.runtime import Runtime
from tests.webhooks.conftest import Endpoints, Log, delivering, eventually, make_webhook, rows


async def test_an_event_reaches_the_endpoint_and_is_told_of(
    runtime: Runtime, db: AsyncEngine, endpoints: Endpoints, log: Log
) -> None:
    endpoint = endpoints.add()
    webhook = await make_webhook(db, endpoint.url)
    async with delivering(runtime):
        await log.write(id="msg_1")
        await endpoint.until(1)

        async def is_over() -> bool:
            return [row.status for row in await rows(db, webhook)] == ["delivered"]

        await eventually(is_over)
    (row,) = await rows(db, webhook)
    assert (row.attempts, row.response_code, row.error, row.is_over) == (1, 200, None, True)
    (told,) = await log.told("webhook.delivered")
    assert told["webhookId"] == webhook.public_id
    assert told["eventType"] == "sms.sent"
    assert told["eventId"] == endpoint.accepted[0].json["id"]
