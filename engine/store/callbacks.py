"""The inbox of carrier callbacks: each report stored once, settled later from what is stored.

The answer to the carrier means "committed here". A repeat of the same report meets the unique key and changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.carriers.port import Amd, CarrierError, CarrierEvent, EndReason, EventKind, Fault
from engine.clock import real_now
from engine.ids import parse_attempt_ref
from engine.store import arrays

_INSERT = text(
    "insert into carrier_callbacks"
    " (received_on, carrier, event_key, campaign_id, prospect_id, attempt, event, received_at, processed_at)"
    " select cast(:now as timestamptz)::date, carrier, event_key, campaign_id, prospect_id, attempt, event::jsonb,"
    " cast(:now as timestamptz), case when prospect_id = 0 then cast(:now as timestamptz) end"
    " from unnest(cast(:carriers as text[]), cast(:keys as text[]), cast(:campaign_ids as bigint[]),"
    " cast(:prospect_ids as bigint[]), cast(:attempts as smallint[]), cast(:events as text[]))"
    " as u(carrier, event_key, campaign_id, prospect_id, attempt, event)"
    " on conflict (received_on, prospect_id, carrier, event_key) do nothing returning id, prospect_id"
)
_OPEN = text(
    "select id from carrier_callbacks where prospect_id = any(cast(:prospect_ids as bigint[]))"
    " and carrier = any(cast(:carriers as text[])) and event_key = any(cast(:keys as text[]))"
    " and received_on >= cast(:now as timestamptz)::date - 1 and processed_at is null order by id"
)


@dataclass(frozen=True, slots=True)
class Report:
    """One event as a carrier reported it, on its way into the inbox."""

    carrier: str
    event: CarrierEvent

    @property
    def key(self) -> str:
        return _text(self.event.key)

    @property
    def attempt_ids(self) -> tuple[int, int, int]:
        """Ids of campaign and prospect, number of the attempt; noughts if the ref is not one of ours."""
        return parse_attempt_ref(self.event.ref) or (0, 0, 0)


async def insert_many(conn: AsyncConnection, reports: Sequence[Report]) -> list[int]:
    """Stores the reports that are new; returns the ids of those to settle.

    A report whose ref is not one of ours is kept for the record, as processed: there is nothing to settle.
    """
    refs = [report.attempt_ids for report in reports]
    rows = await conn.execute(
        _INSERT,
        {
            "now": real_now(),
            "carriers": arrays.texts(report.carrier for report in reports),
            "keys": arrays.texts(report.key for report in reports),
            "campaign_ids": arrays.numbers(ref[0] for ref in refs),
            "prospect_ids": arrays.numbers(ref[1] for ref in refs),
            "attempts": arrays.numbers(ref[2] for ref in refs),
            "events": arrays.texts(_json(report.event) for report in reports),
        },
    )
    return [row.id for row in rows if row.prospect_id]


async def unsettled(conn: AsyncConnection, reports: Sequence[Report]) -> list[int]:
    """Ids of the rows of these reports that no one has settled yet, a repeat's first row included; ascending."""
    rows = await conn.execute(
        _OPEN,
        {
            "prospect_ids": arrays.numbers(report.attempt_ids[1] for report in reports),
            "carriers": arrays.texts(report.carrier for report in reports),
            "keys": arrays.texts(report.key for report in reports),
            "now": real_now(),
        },
    )
    return list(rows.scalars())


def encode_event(event: CarrierEvent) -> dict[str, object]:
    """What the `event` column holds: every field of the event, the raw report included, absent ones left out."""
    body: dict[str, object] = {
        "kind": event.kind,
        "key": event.key,
        "ref": event.ref,
        "carrier_id": event.carrier_id,
        "occurred_at": event.occurred_at.isoformat(),
        "raw": dict(event.raw),
    }
    optional: dict[str, object] = {
        "amd": event.amd,
        "end": event.end,
        "error": _encode_error(event.error) if event.error else None,
        "duration_s": event.duration_s,
        "digit": event.digit or None,
    }
    return body | {name: value for name, value in optional.items() if value is not None}


def decode_event(body: Mapping[str, Any]) -> CarrierEvent:
    """The event that `encode_event` wrote."""
    return CarrierEvent(
        kind=EventKind(body["kind"]),
        key=body["key"],
        ref=body["ref"],
        carrier_id=body["carrier_id"],
        occurred_at=datetime.fromisoformat(body["occurred_at"]),
        amd=Amd(body["amd"]) if "amd" in body else None,
        end=EndReason(body["end"]) if "end" in body else None,
        error=_decode_error(body["error"]) if "error" in body else None,
        duration_s=body.get("duration_s"),
        digit=body.get("digit", ""),
        raw=body["raw"],
    )


def _encode_error(error: CarrierError) -> dict[str, object]:
    return {
        "fault": error.fault,
        "code": error.code,
        "text": error.text,
        "retryable": error.retryable,
        "retry_after_s": error.retry_after_s,
    }


def _decode_error(body: Mapping[str, Any]) -> CarrierError:
    return CarrierError(Fault(body["fault"]), body["code"], body["text"], body["retryable"], body["retry_after_s"])


def _json(event: CarrierEvent) -> str:
    encoded = orjson.dumps(encode_event(event))
    if b"\\u0000" in encoded:
        encoded = orjson.dumps(_storable(encode_event(event)))
    return encoded.decode()


def _text(value: str) -> str:
    """PostgreSQL stores no NUL, in text or in jsonb: one in a carrier's report would fail the whole batch."""
    return value.replace("\0", "\ufffd")


def _storable(value: object) -> object:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return {_text(str(name)): _storable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(item) for item in value]
    return value
