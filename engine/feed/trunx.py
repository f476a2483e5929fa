"""The Trunx dialect (reference 000): canonical events as `{channel, eventType, payload, customerId, timestamp}`."""

from dataclasses import dataclass
from datetime import datetime

import orjson

from engine.clock import iso
from engine.feed import frames
from engine.feed.dialect import Encoded
from engine.ids import encode as encode_id
from engine.rules.events import CHANNELS, channel_of

_CHANNELS = frozenset(CHANNELS)


class Trunx:
    """Server-sent events of all channels."""

    name = "trunx"
    heartbeat = frames.HEARTBEAT
    truncated = staticmethod(frames.truncated)
    reset = staticmethod(frames.reset)

    @staticmethod
    def encode(account_id: int, seq: int, line: bytes) -> Encoded:
        """The SSE frame of one canonical event. Raises ValueError, KeyError, TypeError for others."""
        event = orjson.loads(line)
        channel = channel_of(event["type"])
        if channel not in _CHANNELS:
            return Encoded(seq, "", b"")
        return Encoded(seq, channel, frames.encode(event["type"], envelope(account_id, event), seq))


@dataclass(frozen=True, slots=True)
class Channels:
    """A filter; None: all channels."""

    names: frozenset[str] | None = None

    @property
    def types(self) -> tuple[str, ...] | None:
        return None if self.names is None else tuple(f"{name}.%" for name in sorted(self.names))

    def wants(self, event: Encoded) -> bool:
        return self.names is None or event.name in self.names


def envelope(account_id: int, event: dict[str, object]) -> dict[str, object]:
    """`event` is the decoded canonical JSON; `timestamp` is its engine time in milliseconds, UTC."""
    return {
        "channel": channel_of(str(event["type"])),
        "eventType": event["type"],
        "payload": event["payload"],
        "customerId": encode_id("cust", account_id),
        "timestamp": iso(datetime.fromisoformat(str(event["at"]))),
    }
