"""Writes what came of deliveries: their rows, their endpoints' state and the events that tell of it, in one
transaction for many.

A result counts only if its delivery is still open and nobody else has made the same attempt meanwhile.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine import ids, metrics
from engine.clock import boottime
from engine.outages import AWAY, words
from engine.rules.events import Event
from engine.rules.webhook import Verdict
from engine.runtime import Runtime
from engine.store import arrays, outbox
from engine.store.webhook_log import Delivery
from engine.webhooks.endpoint import Endpoint, Result
from engine.webhooks.message import event_id

log = structlog.get_logger(__name__)

RETRIES_S = (0.1, 0.4, 1.0, 2.0)  # with the database away; after that the deliveries are made again

UNWRITTEN_PAUSE_S = 30.0  # of an endpoint whose results cannot be written: it must not get the same event in a loop

GONE = "the endpoint answered 410 Gone"
_STATUS = {Verdict.DELIVERED: "delivered", Verdict.RETRY: "pending", Verdict.FAILED: "failed", Verdict.GONE: "failed"}
_MOST_ERROR_CHARS = 300

DELIVERY_FACTS = "id, webhook_id, account_id, seq, event_type, status, attempts, response_code, error"
_TOLD = {"delivered": "webhook.delivered", "failed": "webhook.failed"}
_FACTS = ", ".join(f"d.{name}" for name in DELIVERY_FACTS.split(", "))

# Endpoints before deliveries, as the API locks them.
_ENDPOINTS = text("""
    update webhooks w
       set failures = n.failures, active = w.active and not n.is_gone,
           disabled_reason = case when n.is_gone then :gone else w.disabled_reason end,
           parked_until = case when n.pause_s > 0 then now() + make_interval(secs => n.pause_s) else '-infinity' end
      from (select * from unnest(cast(:ids as bigint[]), cast(:failures as int[]), cast(:pauses as float8[]),
                                 cast(:goners as bool[])) n (id, failures, pause_s, is_gone)
             where id in (select id from webhooks where id = any(cast(:ids as bigint[])) order by id for update)) n
     where w.id = n.id and w.lease_owner = :owner
""")
_HASTEN = text("""
    update webhook_deliveries set next_attempt_at = now()
     where webhook_id = any(cast(:ids as bigint[])) and next_attempt_at > now()
""")
_DELIVERIES = text(f"""
    update webhook_deliveries d
       set status = r.status, attempts = d.attempts + 1, response_code = r.response_code, error = r.error,
           finished_at = case when r.status <> 'pending' then now() end,
           next_attempt_at = case
               when r.status <> 'pending' then null
               when (select ordered from webhooks where id = d.webhook_id) then '-infinity'::timestamptz
               else now() + make_interval(secs => r.retry_s) end
      from unnest(cast(:ids as bigint[]), cast(:attempts as int[]), cast(:statuses as text[]), cast(:codes as int[]),
                  cast(:errors as text[]), cast(:retries as float8[]))
           r (id, attempts, status, response_code, error, retry_s)
     where d.id = r.id and d.next_attempt_at is not null and d.attempts = r.attempts
    returning {_FACTS}
""")


class Recorder:
    """`record` handles batches one after the other, so that an endpoint's states are written in order."""

    def __init__(self, runtime: Runtime, owner: str) -> None:
        self._db, self._clock = runtime.db, runtime.clock
        self._owner = owner

    async def record(self, batch: list[Result], _lane: int = 0) -> None:
        """Until it is written, or the database was away for too long. Every result's endpoint hears of it.

        What fails though the database is there is tried in halves: one bad result must not undo the others, for what
        was accepted would be sent again.
        """
        parts = [batch]
        while parts:
            part, is_written = parts.pop(), False
            try:
                is_written = await self._record(part)
            except Exception:
                log.exception("webhooks.record_refused", size=len(part))
                if len(part) > 1:
                    half = len(part) // 2
                    parts += part[half:], part[:half]
                    continue
            _conclude(part, is_written=is_written)

    async def _record(self, batch: Sequence[Result]) -> bool:
        for wait_s in (*RETRIES_S, None):
            try:
                async with self._db.begin() as conn:
                    written = await self._write(conn, batch)
                for endpoint, failures in written.items():
                    endpoint.told(failures)
                return True
            except AWAY as error:
                log.warning("webhooks.record_failed", size=len(batch), error=words(error))
                if wait_s is not None:
                    await asyncio.sleep(wait_s)
        return False

    async def _write(self, conn: AsyncConnection, batch: Sequence[Result]) -> dict[Endpoint, int]:
        """Returns the endpoints whose row was changed, and the failures that it now has."""
        changed = {result.endpoint: result.endpoint.failures for result in batch if result.endpoint.has_news}
        gone = {result.endpoint for result in batch if result.decision.verdict is Verdict.GONE}
        if changed:
            await self._write_endpoints(conn, changed, gone)
        rows = (await conn.execute(_DELIVERIES, _columns(batch))).all()
        await publish(conn, rows, self._clock.now())
        return changed

    async def _write_endpoints(
        self, conn: AsyncConnection, changed: Mapping[Endpoint, int], gone: Collection[Endpoint]
    ) -> None:
        params = {
            "ids": arrays.numbers(each.webhook.id for each in changed),
            "failures": arrays.numbers(changed.values()),
            "pauses": arrays.numbers(max(0.0, each.paused_until - boottime()) for each in changed),
            "goners": arrays.flags(each in gone for each in changed),
        }
        await conn.execute(_ENDPOINTS, params | {"owner": self._owner, "gone": GONE})
        if recovered := [each.webhook.id for each in changed if each.has_recovered]:
            await conn.execute(_HASTEN, {"ids": arrays.numbers(recovered)})


async def publish(conn: AsyncConnection, rows: Iterable[Row[Any] | Delivery], now: datetime) -> None:
    """`webhook.delivered` and `webhook.failed` of those that are over. `rows` are of `DELIVERY_FACTS`; `now` is engine
    time."""
    events: defaultdict[int, list[str]] = defaultdict(list)
    for row in rows:
        if row.status != "pending":
            events[row.account_id].append(_event(row, now).encode())
    await outbox.publish(conn, events)


def _event(row: Row[Any] | Delivery, now: datetime) -> Event:
    payload: dict[str, object] = {
        "webhookId": ids.encode("whk", row.webhook_id),
        "deliveryId": ids.encode("log", row.id),
        "event": row.event_type,
        "eventId": event_id(row.account_id, row.seq),
        "attempts": row.attempts,
        "responseCode": row.response_code,
    }
    if row.status == "failed":
        payload["error"] = row.error
    return Event(_TOLD[row.status], now, payload)


def _columns(batch: Sequence[Result]) -> dict[str, str]:
    return {
        "ids": arrays.numbers(each.due.id for each in batch),
        "attempts": arrays.numbers(each.due.attempts for each in batch),
        "statuses": arrays.texts(_STATUS[each.decision.verdict] for each in batch),
        "codes": arrays.numbers(each.answer.status or None for each in batch),
        "errors": arrays.texts(each.answer.error[:_MOST_ERROR_CHARS] or None for each in batch),
        "retries": arrays.numbers(each.decision.retry_s for each in batch),
    }


def _conclude(batch: Sequence[Result], *, is_written: bool) -> None:
    for result in batch:
        if not is_written:
            result.endpoint.hold(UNWRITTEN_PAUSE_S)
        result.endpoint.recorded(result)
    _count(batch)


def _count(batch: Sequence[Result]) -> None:
    for result in batch:
        metrics.WEBHOOK_ATTEMPTS.labels(result.decision.verdict).inc()
        if result.decision.verdict is Verdict.DELIVERED and not result.due.attempts:
            metrics.WEBHOOK_DELAY_SECONDS.observe(result.took_s)
        if result.decision.verdict is Verdict.FAILED:
            metrics.WEBHOOK_GIVEN_UP.inc()
