"""The Trunx dialect (reference 000): canonical events as `{channel, eventType, payload, customerId, timestamp}`."""

from datetime import datetime
from typing import NamedTuple

import orjson

from engine.clock import iso
from engine.feed import frames
from engine.ids import encode as encode_id
from engine.rules.events import CHANNELS, channel_of

NAME = "trunx"

_CHANNELS = frozenset(CHANNELS)


class Encoded(NamedTuple):
    """One event as a stream sends it. An event that the dialect drops has no channel and no frame, but its number."""

    seq: int
    channel: str
    frame: bytes


def encode(account_id: int, seq: int, line: bytes) -> Encoded:
    """The SSE frame of one canonical event (`Event.encode()`). Raises ValueError, KeyError, TypeError for others."""
    event = orjson.loads(line)
    channel = channel_of(event["type"])
    if channel not in _CHANNELS:
        return Encoded(seq, "", b"")
    return Encoded(seq, channel, frames.encode(event["type"], envelope(account_id, event), seq))


def envelope(account_id: int, event: dict[str, object]) -> dict[str, object]:
    """`event` is the decoded canonical JSON; `timestamp` is its engine time in milliseconds, UTC."""
    return {
        "channel": channel_of(str(event["type"])),
        "eventType": event["type"],
        "payload": event["payload"],
        "customerId": encode_id("cust", account_id),
        "timestamp": iso(datetime.fromisoformat(str(event["at"]))),
    }
