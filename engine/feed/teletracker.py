"""The Teletracker dialect (reference 001): canonical events under their topics, as server-sent events and as the JSON
messages of a WebSocket.

An event is flat, as Teletracker's are: `category.subCategory.eventName` is its topic, `trackingId` the whole call,
`uniqueId` one leg or message. What it tells beyond that is not published there; here it is the payload, under `data`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import orjson

from engine.clock import iso
from engine.feed import frames
from engine.feed.dialect import Encoded
from engine.rules import topics
from engine.rules.events import Owner, is_own, owner_of


class Sse:
    """One frame an event; its event name is the topic."""

    name = "teletracker"
    heartbeat = frames.HEARTBEAT
    truncated = staticmethod(frames.truncated)
    reset = staticmethod(frames.reset)

    @staticmethod
    def encode(_account_id: int, seq: int, line: bytes) -> Encoded:
        """The frame of one canonical event. Raises ValueError, KeyError, TypeError for others."""
        event = orjson.loads(line)
        topic = topics.topic_of(event["type"], event["payload"])
        if not topic:
            return Encoded(seq, "", b"")
        owner = owner_of(event)
        return Encoded(seq, topic, frames.encode(topic, body(topic, event, owner), seq), owner)


class Socket:
    """One line of JSON an event, marked with the stream it belongs to: one connection can carry both."""

    heartbeat = b""  # the protocol has pings of its own

    def __init__(self, kind: str) -> None:
        """`kind`: `userevent` or `accountevent`."""
        self.name = f"teletracker-{kind}"
        self._kind = kind

    def encode(self, _account_id: int, seq: int, line: bytes) -> Encoded:
        """The message of one canonical event. Raises ValueError, KeyError, TypeError for others."""
        event = orjson.loads(line)
        topic = topics.topic_of(event["type"], event["payload"])
        if not topic:
            return Encoded(seq, "", b"")
        owner = owner_of(event)
        return Encoded(seq, topic, self._message(seq, body(topic, event, owner)), owner)

    def truncated(self, requested: int, oldest: int, newest: int) -> bytes:
        return self._replay(oldest - 1, "truncated", {"requested": requested, "oldest": oldest, "newest": newest})

    def reset(self, requested: str, newest: int) -> bytes:
        return self._replay(newest, "reset", {"requested": requested[:64], "newest": newest})

    def _replay(self, seq: int, name: str, data: Mapping[str, object]) -> bytes:
        return self._message(seq, {"category": "replay", "eventName": name, "data": data})

    def _message(self, seq: int, rest: Mapping[str, object]) -> bytes:
        return orjson.dumps({"type": self._kind, "id": seq, **rest}) + b"\n"


USER_EVENTS = Socket("userevent")
ACCOUNT_EVENTS = Socket("accountevent")


@dataclass(frozen=True, slots=True)
class Topics:
    """A filter: some topics, of the numbers of a user and of the team; without either, of all of the account."""

    names: frozenset[str] = topics.ALL
    user: str = ""
    team: str = ""

    @property
    def types(self) -> tuple[str, ...] | None:
        return topics.types_of(self.names)

    def wants(self, event: Encoded) -> bool:
        return event.name in self.names and self.owns(event.owner)

    def owns(self, owner: Owner | None) -> bool:
        return is_own(owner, self.user, self.team)


def body(topic: str, event: Mapping[str, object], owner: Owner | None) -> dict[str, object]:
    """`event` is the decoded canonical JSON; the time is its engine time in milliseconds, UTC."""
    category, sub_category, name = topic.split(".")
    told: dict[str, object] = {
        "category": category,
        "subCategory": sub_category,
        "eventName": name,
        "eventTimestamp": iso(datetime.fromisoformat(str(event["at"]))),
        "trackingId": event["trackingId"],
        "uniqueId": event["uniqueId"],
    }
    if owner is not None:
        told |= {key: value for key, value in zip(("lineId", "userId", "teamId"), owner, strict=True) if value}
    return told | {"data": event["payload"]}
