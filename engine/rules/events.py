"""Canonical events: what happened, once, in the engine's words. The dialects in `engine.feed` are functions of them.

`engine.rules.event_catalog` lists them. An event is written in the transaction of the change it tells of, gets its
number from the relay, and is never changed again.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

import orjson

CHANNELS = ("sms", "voice", "campaign", "did", "ivr", "billing", "webhook", "reputation")


class Owner(NamedTuple):
    """Whose number an event is about, in public ids, as it was when the event happened. Empty: the whole account's."""

    line: str = ""
    user: str = ""
    team: str = ""


class Event(NamedTuple):
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
        the number has one; how the outbox and the log keep it. Searches of the log expect the type to come first."""
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


def is_own(owner: Owner | None, user: str, team: str) -> bool:
    """May a key of that user, in that team, hear of a number? Without either it is account-wide and hears of all.

    A user hears of their own numbers and of those that are the team's own, not of a colleague's personal ones; a team's
    key hears of its members' too.
    """
    if not user and not team:
        return True
    if owner is None:
        return False
    if user and owner.user:
        return owner.user == user
    return bool(team) and owner.team == team


def channel_of(event_type: str) -> str:
    """`"campaign.call.busy"` → `"campaign"`."""
    return event_type.partition(".")[0]
