"""`GET /api/v1/sms/stream` (reference 002): the texts that come in to the numbers of the key's user or team."""

import random
import secrets
import string
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from fastapi import APIRouter, Request, Response

from api_min import streams
from api_min.streams import EventStream, LastEventId, LastEventIdQuery, Token
from engine import ids
from engine.errors import Forbidden
from engine.feed.hub import Greeting, Hub
from engine.feed.revdesk import Numbers, RevDesk, connected

PATHS = ("/api/v1/sms/stream", "/v1/sms/stream")
SCOPE = "sms:read"
RETRY_MS = (1_000, 4_000)  # spread, so that the clients of a process that stops do not all come back at once

_RANDOM_CHARS = 7
_ALPHABET = string.ascii_lowercase + string.digits


class Principal(streams.Principal, Protocol):
    @property
    def key_id(self) -> int: ...
    @property
    def user(self) -> str: ...
    @property
    def team(self) -> str: ...
    def may(self, scope: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long one connection lives: a random time between the two."""

    least_s: float
    most_s: float

    def draw(self) -> float:
        return random.uniform(self.least_s, self.most_s)


def sms_stream_routes(hub: Hub, identify: Callable[[str], Awaitable[Principal]], lifetime: Lifetime) -> APIRouter:
    """The stream at its path and its bare alias, for keys with the scope `sms:read`."""
    router = APIRouter()

    async def sms_stream(
        request: Request,
        token: Token = None,
        last_event_id: LastEventId = None,
        last_event_id_query: LastEventIdQuery = None,
    ) -> Response:
        """Server-sent events `connected`, then `sms_received`. Ends after five minutes at most: reconnect."""
        streams.hide_token(request.scope)
        caller = await streams.admit(request, token, identify)
        if caller is None:
            return EventStream(None)
        if not caller.may(SCOPE):
            raise Forbidden(f"this key lacks the scope {SCOPE}", {"scope": SCOPE})
        after = last_event_id if last_event_id is not None else last_event_id_query
        follow = streams.following(
            hub,
            caller.account_id,
            RevDesk,
            Numbers(caller.user, caller.team),
            after,
            greeting=_greeting(caller.key_id),
            lifetime_s=lifetime.draw(),
        )
        return EventStream(follow)

    streams.add_stream(router, PATHS, sms_stream)
    return router


def _greeting(key_id: int) -> Greeting:
    now_ms = time.time_ns() // 1_000_000
    key = ids.encode("key", key_id).removeprefix("key_")
    suffix = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARS))
    client_id, retry_ms = f"sms-{key}-{now_ms}-{suffix}", random.randint(*RETRY_MS)
    return lambda cursor: connected(client_id, now_ms, cursor, retry_ms)
