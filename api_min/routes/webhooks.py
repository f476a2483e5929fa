"""Webhooks: where events are sent, what was sent, and trying it out."""

import secrets as randomness
from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from api_min.auth import Caller, needs
from api_min.deps import Held
from api_min.replies import Page, moment, parse_id, reply
from api_min.routing import ApiRoute
from api_min.webhook_schemas import (
    OVERLAP_S,
    DeliveriesOut,
    DeliveryOut,
    NewWebhookOut,
    RotateIn,
    WebhookChangeIn,
    WebhookIn,
    WebhookOut,
    WebhooksOut,
)
from engine import egress
from engine.errors import Forbidden
from engine.rules import signing
from engine.rules.webhook import parse_globs
from engine.store import audit, keys, webhook_log, webhooks
from engine.store.webhook_log import Delivery
from engine.store.webhooks import Change, Webhook
from engine.webhooks import trial
from engine.webhooks.message import event_id
from engine.webhooks.send import Sender

router = APIRouter(prefix="/webhooks", tags=["webhooks"], route_class=ApiRoute)

DEFAULT_LOGS = 20


async def _manager(caller: Annotated[Caller, needs("webhooks:manage")], held: Held) -> Caller:
    """A webhook is sent the events of the whole account: a key that hears of less may not make or redirect one."""
    async with held.runtime.reader.connect() as conn:
        if not await keys.is_account_wide(conn, caller.key_id):
            raise Forbidden(
                "this key hears only of its user's or team's numbers; webhooks need a key of the whole account"
            )
    return caller


Manager = Annotated[Caller, Depends(_manager)]


@router.post("", status_code=201, response_model=NewWebhookOut)
async def create_webhook(request: Request, body: WebhookIn, caller: Manager, held: Held) -> Response:
    """It is sent what happens from now on. The secret is shown in this answer only; a replay leaves it out."""
    runtime = held.runtime
    _check_url(body.url, held)
    globs, secret = parse_globs(body.events), _new_secret()
    async with runtime.db.begin() as conn:
        webhook = await webhooks.create(conn, caller.account_id, body.url, globs, secret, ordered=body.ordered)
        await _audit(conn, caller, held, "webhook.create", webhook, {"events": globs})
    request.state.kept_body = reply(show(webhook)).body
    return reply(show(webhook) | {"secret": secret}, 201)


@router.get("", response_model=WebhooksOut, response_model_exclude_none=True)
async def list_webhooks(caller: Manager, held: Held, limit: int | None = None, cursor: str | None = None) -> Response:
    """All webhooks, oldest first; in pages with `limit` or `cursor`."""
    page = Page("whk", limit, cursor)
    async with held.runtime.reader.connect() as conn:
        rows = await webhooks.list_webhooks(conn, caller.account_id, page.fetch, page.after)
    return page.reply("webhooks", rows, [show(row) for row in rows])


@router.get("/{webhook_id}", response_model=WebhookOut)
async def get_webhook(webhook_id: str, caller: Manager, held: Held) -> Response:
    """With its state: `failures` in a row, and until when nothing is sent to it."""
    async with held.runtime.reader.connect() as conn:
        return reply(show(await webhooks.get(conn, caller.account_id, _parse(webhook_id))))


@router.patch("/{webhook_id}", response_model=WebhookOut)
async def change_webhook(
    webhook_id: str, request: Request, body: WebhookChangeIn, caller: Manager, held: Held
) -> Response:
    """Changes what is named; works within a second. `active: true` and a new `url` end a parking too.

    With `rotateSecret` the answer has the new `secret`, this once; the old one signs beside it for a day, or for
    `overlapSeconds`.
    """
    number, secret = _parse(webhook_id), _new_secret()
    if body.url is not None:
        _check_url(body.url, held)
    globs = None if body.events is None else parse_globs(body.events)
    rotation = RotateIn(overlapSeconds=OVERLAP_S) if body.rotate_secret is True else body.rotate_secret
    async with held.runtime.db.begin() as conn:
        wanted = Change(body.url, globs, body.ordered, body.active)
        webhook = await webhooks.change(conn, caller.account_id, number, wanted)
        if rotation:
            webhook = await webhooks.rotate(conn, caller.account_id, number, secret, rotation.overlap_s)
        detail = {"changed": sorted(name for name in body.model_fields_set if getattr(body, name) is not None)}
        await _audit(conn, caller, held, "webhook.change", webhook, detail)
    request.state.kept_body = reply(show(webhook)).body
    return reply(show(webhook) | ({"secret": secret} if rotation else {}))


@router.delete("/{webhook_id}", status_code=204, response_class=Response)
async def delete_webhook(webhook_id: str, caller: Manager, held: Held) -> Response:
    """Nothing more is sent to it, what was still to be sent included."""
    number = _parse(webhook_id)
    async with held.runtime.db.begin() as conn:
        webhook = await webhooks.get(conn, caller.account_id, number)
        await webhooks.delete(conn, caller.account_id, number)
        await _audit(conn, caller, held, "webhook.delete", webhook, {})
    return Response(status_code=204)


@router.get("/{webhook_id}/logs", response_model=DeliveriesOut)
async def list_logs(
    webhook_id: str, caller: Manager, held: Held, limit: int = DEFAULT_LOGS, cursor: str | None = None
) -> Response:
    """One entry per event, the newest first."""
    page = Page("log", limit, cursor)
    async with held.runtime.reader.connect() as conn:
        rows = await webhook_log.page(conn, caller.account_id, _parse(webhook_id), page.size + 1, page.after)
    return page.reply("logs", rows, [show_delivery(row) for row in rows])


@router.post("/{webhook_id}/test", response_model=DeliveryOut)
async def test_webhook(webhook_id: str, caller: Manager, held: Held) -> Response:
    """Sends a `webhook.test` event now and answers what came of it, within the webhooks' timeout."""
    runtime = held.runtime
    async with runtime.reader.connect() as conn:
        webhook = await webhooks.get(conn, caller.account_id, _parse(webhook_id))
    sender = Sender(
        held.egress,
        allow_private=runtime.settings.webhook_allow_private,
        timeout_s=runtime.settings.webhook_timeout_s,
    )
    return reply(show_delivery(await trial.try_out(runtime.db, runtime.clock, sender, webhook)))


@router.post("/{webhook_id}/logs/{log_id}/redeliver", status_code=202, response_model=DeliveryOut)
async def redeliver(webhook_id: str, log_id: str, caller: Manager, held: Held) -> Response:
    """Makes the delivery due now, whatever became of it; its id is the same as before."""
    runtime = held.runtime
    numbers = _parse(webhook_id), parse_id("log", log_id, "delivery")
    async with runtime.db.begin() as conn:
        delivery = await webhook_log.redeliver(
            conn, caller.account_id, *numbers, give_up_s=runtime.settings.webhook_give_up_s
        )
        webhook = await webhooks.get(conn, caller.account_id, numbers[0])
        await _audit(conn, caller, held, "webhook.redeliver", webhook, {"log": delivery.public_id})
    return reply(show_delivery(delivery), 202)


def show(webhook: Webhook) -> dict[str, object]:
    return {
        "id": webhook.public_id,
        "url": webhook.url,
        "events": webhook.events,
        "ordered": webhook.ordered,
        "active": webhook.active,
        "disabledReason": webhook.disabled_reason or None,
        "failures": webhook.failures,
        "parkedUntil": moment(webhook.parked_until),
        "createdAt": moment(webhook.created_at),
    }


def show_delivery(delivery: Delivery) -> dict[str, object]:
    return {
        "id": delivery.public_id,
        "eventId": event_id(delivery.account_id, delivery.seq),
        "eventType": delivery.event_type,
        "status": delivery.status,
        "attempts": delivery.attempts,
        "responseCode": delivery.response_code,
        "error": delivery.error,
        "nextAttemptAt": moment(delivery.next_attempt_at),
        "createdAt": moment(delivery.created_at),
        "finishedAt": moment(delivery.finished_at),
    }


def _parse(webhook_id: str) -> int:
    return parse_id("whk", webhook_id, "webhook")


def _check_url(url: str, held: Held) -> None:
    """Raises InvalidInput. What its name leads to is judged when it is called, each time."""
    egress.check_url(url, allow_private=held.runtime.settings.webhook_allow_private)


def _new_secret() -> str:
    return signing.write_secret(randomness.token_bytes(signing.SECRET_BYTES))


async def _audit(
    conn: AsyncConnection, caller: Caller, held: Held, action: str, webhook: Webhook, detail: Mapping[str, object]
) -> None:
    now = held.runtime.clock.now()
    await audit.record(conn, caller.account_id, caller.actor, action, webhook.public_id, now, detail)
