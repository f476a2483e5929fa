"""Canonical events: what happened, once, in the engine's words. The dialects in `engine.feed` are functions of them.

`CATALOG` names every event that the engine causes. An event is written in the transaction of the change it tells of,
gets its number from the relay, and is never changed again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import orjson

CHANNELS = ("sms", "voice", "campaign", "did", "ivr", "billing", "webhook", "reputation")

# Where each event is caused, by module. A test compares the names with reference 000.
CATALOG: dict[str, str] = {
    "sms.sent": "engine.dispatch.settle",
    "sms.delivered": "engine.dispatch.settle",
    "sms.failed": "engine.dispatch.settle",
    "sms.received": "engine.dispatch.inbound",
    "sms.opt_out": "engine.dispatch.inbound",
    "voice.initiated": "engine.dispatch.settle",
    "voice.ai.initiated": "engine.dispatch.settle",
    "voice.inbound": "engine.dispatch.inbound",
    "call.incoming.answered": "engine.dispatch.inbound",  # of the channels of 000 none has them
    "call.incoming.ended": "engine.dispatch.inbound",
    "voice.answered": "engine.dispatch.settle",
    "voice.amd": "engine.dispatch.settle",
    "voice.completed": "engine.dispatch.settle",
    "voice.ai.completed": "engine.dispatch.settle",
    "voice.failed": "engine.dispatch.settle",
    "campaign.call.initiated": "engine.dispatch.settle",
    "campaign.call.voicemail": "engine.dispatch.settle",
    "campaign.call.human_connected": "engine.dispatch.settle",
    "campaign.call.human_hangup": "engine.dispatch.settle",
    "campaign.call.no_answer": "engine.dispatch.settle",
    "campaign.call.busy": "engine.dispatch.settle",
    "campaign.call.failed": "engine.dispatch.settle",
    "campaign.prospect.dnc": "engine.dispatch.intent",
    "campaign.stats.updated": "engine.coordinator.stats",
    "campaign.paused.no_dids": "engine.coordinator.dids",
    "billing.usage": "engine.coordinator.usage",
}


class Owner(NamedTuple):
    """Whose number an event is about, in public ids, as it was when the event happened. Empty: the whole account's."""

    line: str = ""
    user: str = ""
    team: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    `tracking_id` is the whole call or message exchange (one per attempt's contact), `unique_id` one leg or message.
    `payload` is what clients see under that name, camelCase.
    """

    type: str
    at: datetime  # engine time
    payload: Mapping[str, object]
    tracking_id: str = ""
    unique_id: str = ""

    def encode(self, owner: Owner | None = None) -> str:
        """One line of JSON: `{"type","at","trackingId","uniqueId","payload"}`, and `"owner": [line, user, team]` where
        the number has one; how the outbox and the log keep it."""
        body: dict[str, object] = {
            "type": self.type,
            "at": self.at,
            "trackingId": self.tracking_id,
            "uniqueId": self.unique_id,
            "payload": self.payload,
        }
        if owner is not None:
            body["owner"] = list(owner)
        return orjson.dumps(body, option=orjson.OPT_UTC_Z).decode()


def owner_of(event: Mapping[str, object]) -> Owner | None:
    """The owner in an event as `encode` wrote it. Raises TypeError when it is not one."""
    found = event.get("owner")
    return Owner(*found) if isinstance(found, list) else None


def channel_of(event_type: str) -> str:
    """`"campaign.call.busy"` → `"campaign"`."""
    return event_type.partition(".")[0]
