"""A test event, sent now and reported: past the queue, so also to an endpoint that is paused, parked, or behind."""

from sqlalchemy.ext.asyncio import AsyncEngine

from engine import ids
from engine.clock import Clock
from engine.rules.events import Event
from engine.store import webhook_log, webhooks
from engine.store.webhook_log import Delivery
from engine.store.webhooks import Webhook
from engine.webhooks.record import publish
from engine.webhooks.send import Sender

EVENT_TYPE = "webhook.test"


async def try_out(db: AsyncEngine, clock: Clock, sender: Sender, webhook: Webhook) -> Delivery:
    """One request, and its entry in the log. Success ends a parking, so that what waits is sent at once."""
    seq = ids.new_id()
    payload = {"webhookId": webhook.public_id, "events": webhook.events, "test": True}
    line = Event(EVENT_TYPE, clock.now(), payload).encode()
    answer = await sender.send(webhook, seq, line)
    async with db.begin() as conn:
        if answer.is_accepted and webhook.failures:
            await webhooks.unpark(conn, webhook.account_id, webhook.id)
        delivery = await webhook_log.add_test(
            conn,
            webhook,
            seq,
            EVENT_TYPE,
            line,
            is_delivered=answer.is_accepted,
            response_code=answer.status or None,
            error=answer.error or None,
        )
        await publish(conn, [delivery], clock.now())
    return delivery
