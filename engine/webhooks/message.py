"""What is sent: a canonical event as `{event, data, id, timestamp}` (reference 003), signed (Standard Webhooks)."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import orjson

from engine import ids
from engine.clock import iso
from engine.rules import signing


def event_id(account_id: int, seq: int) -> str:
    """The same for every attempt and every webhook: a receiver that keeps them knows what it has seen."""
    return ids.encode("evt", account_id) + ids.encode("", seq)[1:]


def render(account_id: int, seq: int, line: str) -> bytes:
    """The body of the request. `line` is what `Event.encode()` wrote; `timestamp` is its engine time."""
    event = orjson.loads(line)
    at = iso(datetime.fromisoformat(event["at"]))
    data = event["payload"]
    if event["type"] == "sms.received":
        data = _sms_received(data, at)
    return orjson.dumps({"event": event["type"], "data": data, "id": event_id(account_id, seq), "timestamp": at})


def headers(message_id: str, secrets: Sequence[str], sent_at: datetime, body: bytes) -> dict[str, str]:
    """`sent_at` is real time, of this attempt: receivers refuse what is older than minutes."""
    timestamp_s = int(sent_at.timestamp())
    return {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": signing.signature(secrets, message_id, timestamp_s, body),
    }


def _sms_received(payload: Mapping[str, object], at: str) -> dict[str, object]:
    """The six fields of 003 first, by their names there; what we know beside them follows."""
    documented = {
        "id": payload.get("id"),
        "from": payload.get("from"),
        "to": payload.get("to"),
        "message": payload.get("message", ""),
        "direction": "inbound",
        "created_at": payload.get("created_at", at),
    }
    return documented | {name: value for name, value in payload.items() if name not in documented}
