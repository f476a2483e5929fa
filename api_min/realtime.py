"""`GET /api/realtime/events`: Teletracker's topics (reference 001) as server-sent events.

The wire rules are those of `api_min.streams`. A key of a user or a team hears of that owner's numbers; an account-wide
key hears of all of them, on either stream.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Literal, Protocol

from fastapi import APIRouter, Query, Request, Response

from api_min.streams import (
    EventStream,
    LastEventId,
    LastEventIdQuery,
    Token,
    add_stream,
    admit,
    following,
    hide_token,
)
from engine.errors import Forbidden, InvalidInput
from engine.feed import teletracker
from engine.feed.hub import Hub
from engine.feed.teletracker import Topics
from engine.rules import topics as topic_rules

PATHS = ("/api/realtime/events", "/realtime/events")

Kind = Literal["user", "account"]
KINDS: tuple[Kind, ...] = ("user", "account")


class Member(Protocol):
    """Who is behind a key: public ids of its user or its team; without either, the whole account."""

    @property
    def account_id(self) -> int: ...

    @property
    def user(self) -> str: ...

    @property
    def team(self) -> str: ...


Identify = Callable[[str], Awaitable[Member]]  # key → who; raises Unauthorized, RateLimited


def realtime_routes(hub: Hub, identify: Identify) -> APIRouter:
    """The stream at its path and its bare alias."""
    router = APIRouter()

    async def events(
        request: Request,
        token: Token = None,
        topics: Annotated[str | None, Query(description="globs, as voice.incoming.*,messaging.**")] = None,
        stream: Annotated[
            str, Query(description="`user`, or `account`, which needs a key without user and team")
        ] = "user",
        last_event_id: LastEventId = None,
        last_event_id_query: LastEventIdQuery = None,
    ) -> Response:
        """Server-sent events by topic: what follows `Last-Event-ID`, up to the last 1000, then live."""
        hide_token(request.scope)
        names, kind = parse_topics(topics), parse_kind(stream)
        caller = await admit(request, token, identify)
        if caller is None:
            return EventStream(None)
        wish = wish_of(caller, kind, names)
        after = last_event_id if last_event_id is not None else last_event_id_query
        return EventStream(following(hub, caller.account_id, teletracker.Sse, wish, after))

    add_stream(router, PATHS, events)
    return router


def parse_topics(text: str | None) -> frozenset[str]:
    """`"voice.incoming.*,messaging.**"` → the topics; all when there is none. Raises InvalidInput naming a bad one."""
    globs = [glob.strip() for glob in (text or "").split(",") if glob.strip()]
    return topic_rules.expand(globs) if globs else topic_rules.ALL


def parse_kind(text: str) -> Kind:
    """Raises InvalidInput for another one. Not left to FastAPI, which would refuse before the token is out of sight."""
    for kind in KINDS:
        if text == kind:
            return kind
    fault = f"{text[:64]!r} is no stream; give user or account"
    raise InvalidInput(f"stream: {fault}", {"stream": fault})


def wish_of(caller: Member, kind: Kind, names: frozenset[str]) -> Topics:
    """What the caller may hear on that stream. Raises Forbidden for the account's without account-wide rights."""
    if kind == "user":
        return Topics(names, caller.user, caller.team)
    if caller.user or caller.team:
        fault = "the account stream needs a key without user and team; take stream=user, or another key"
        raise Forbidden(fault, {"stream": "account"})
    return Topics(names)
