"""What every event stream is made of, and `GET /api/events` (reference 000).

What may fail is done before the answer begins. Afterwards a stream only ever ends by an aborted connection: an
EventSource comes back after that, and stays away for good after a 429 or 503 (reference STREAMS.md 3.1).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cache, wraps
from typing import Annotated, Any, Protocol, TypeVar
from urllib.parse import parse_qsl, urlencode

import structlog
from fastapi import APIRouter, Header, Query, Request, Response
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Receive, Scope, Send

from api_min.auth import bearer_key
from api_min.problems import refuse
from api_min.sinks import ClientSink, open_sink
from engine import metrics
from engine.errors import CarillonError, InvalidInput, RateLimited
from engine.feed import frames
from engine.feed.dialect import Dialect, Filter
from engine.feed.hub import Greeting, Hub
from engine.feed.trunx import Channels, Trunx
from engine.rules.events import CHANNELS

PATHS = ("/api/events", "/events")
MAX_KEY_CHARS = 256

HEADERS = {
    "Content-Type": frames.CONTENT_TYPE,
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx holds a gzipped stream back to its end otherwise
}
CORS = {"Access-Control-Allow-Origin": "*"}
PREFLIGHT = CORS | {
    "Access-Control-Allow-Methods": "GET",
    "Access-Control-Allow-Headers": "Authorization, Last-Event-ID, Cache-Control, X-Request-Id",
    "Access-Control-Max-Age": "86400",
}

# Documentation and parsing of the parameters that all streams share.
Token = Annotated[str | None, Query(description="your key, where no header can be sent")]
LastEventId = Annotated[str | None, Header()]
LastEventIdQuery = Annotated[str | None, Query(alias="lastEventId")]

_FOLLOW = "carillon.follow"  # in the scope: how a stream goes on after the framework has returned
_NO_STREAM: Any = object()

_log = structlog.get_logger(__name__)


class Principal(Protocol):
    @property
    def account_id(self) -> int: ...


P = TypeVar("P", bound=Principal)
Follow = Callable[[ClientSink], Awaitable[None]]


def stream_routes(hub: Hub, identify: Callable[[str], Awaitable[Principal]]) -> APIRouter:
    """The event stream at its path and its bare alias. Any valid key follows the events of its account.

    `identify(key)` tells who it is; raises Unauthorized, RateLimited.
    """
    router = APIRouter()

    async def events(
        request: Request,
        token: Token = None,
        channels: Annotated[str | None, Query(description=f"some of {', '.join(CHANNELS)}; all when left out")] = None,
        last_event_id: LastEventId = None,
        last_event_id_query: LastEventIdQuery = None,
    ) -> Response:
        """Server-sent events: what follows `Last-Event-ID`, up to the last 1000, then live."""
        hide_token(request.scope)
        wanted = parse_channels(channels)
        caller = await admit(request, token, identify)
        if caller is None:
            return EventStream(None)
        after = last_event_id if last_event_id is not None else last_event_id_query
        return EventStream(following(hub, caller.account_id, Trunx, wanted, after))

    add_stream(router, PATHS, events)
    return router


def add_stream(router: APIRouter, paths: Sequence[str], stream: Callable[..., Awaitable[Response]]) -> None:
    """Adds a stream at its paths, the first of which is the documented one, and what browsers elsewhere need."""

    @wraps(stream)
    async def readable(*args: Any, **kwargs: Any) -> Response:
        try:
            return await stream(*args, **kwargs)
        except CarillonError as error:
            answer = refuse(error)
            answer.headers.update(CORS)  # without it a browser hides the reason, and fetch clients try for ever
            return answer

    for path in paths:
        in_schema = path == paths[0]
        router.add_api_route(
            path, readable, methods=["GET"], status_code=200, include_in_schema=in_schema, response_class=EventStream
        )
        router.add_api_route(path, preflight, methods=["OPTIONS"], include_in_schema=False)


async def preflight() -> Response:
    """Any origin may follow a stream: the key is the only thing that opens it, and browsers send no other."""
    return Response(status_code=204, headers=PREFLIGHT)


async def admit(request: Request, token: str | None, identify: Callable[[str], Awaitable[P]]) -> P | None:
    """Who asks for a stream, by `?token=` or the Bearer header; None: answer `EventStream(None)`.

    Raises Unauthorized, which an EventSource takes as final. Over its rate, or with the database away, it would too, so
    these are no answers: the connection is cut, and it comes back.
    """
    key = (token or bearer_key(request))[:MAX_KEY_CHARS]
    try:
        return await identify(key)
    except (RateLimited, SQLAlchemyError, OSError) as error:
        _log.warning("stream.refused", error=type(error).__name__)
        return None


def following(
    hub: Hub,
    account_id: int,
    dialect: Dialect,
    wish: Filter,
    last_event_id: str | None,
    *,
    greeting: Greeting | None = None,
    lifetime_s: float | None = None,
) -> Follow:
    """What an EventStream does: it writes replay and live events until the client has gone, or `lifetime_s` is over."""
    return _Following(hub, account_id, dialect, wish, last_event_id or None, greeting, lifetime_s)


@dataclass(frozen=True, slots=True)
class _Following:
    """A closure with the same would hold half a kilobyte more for each stream."""

    hub: Hub
    account_id: int
    dialect: Dialect
    wish: Filter
    last_event_id: str | None
    greeting: Greeting | None
    lifetime_s: float | None

    async def __call__(self, sink: ClientSink) -> None:
        if self.lifetime_s is None:
            await self._follow(sink)
            return
        try:
            async with asyncio.timeout(self.lifetime_s) as lifetime:
                await self._follow(sink)
        except TimeoutError:
            if not lifetime.expired():
                raise
            metrics.STREAMS_CUT.labels("lifetime").inc()

    async def _follow(self, sink: ClientSink) -> None:
        subscription = await self.hub.subscribe(
            self.account_id, sink, self.dialect, self.wish, self.last_event_id, self.greeting
        )
        try:
            await sink.until_gone()
        finally:
            self.hub.unsubscribe(subscription)


def parse_channels(text: str | None) -> Channels:
    """`"sms,voice"` → its names; all when there are none. Raises InvalidInput that names the unknown ones."""
    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    unknown = [name[:64] for name in names if name not in CHANNELS]
    if unknown:
        known = ", ".join(CHANNELS)
        raise InvalidInput(f"unknown channel {unknown[0]!r}; known are {known}", {"channels": unknown[:10]})
    return _channels(frozenset(names) or None)


@cache  # 256 at most; streams of one wish share it
def _channels(names: frozenset[str] | None) -> Channels:
    return Channels(names)


class EventStream(Response):
    """A stream that ends with its client. `follow(sink)` writes to it until then; None cuts it at once."""

    media_type = "text/event-stream"

    def __init__(self, follow: Follow | None) -> None:
        super().__init__(headers=HEADERS | CORS)
        del self.headers["content-length"]
        self._follow = follow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if _FOLLOW in scope:
            scope[_FOLLOW] = self._follow
        else:
            await _run(self._follow, receive, send)


class Unwinding:
    """ASGI middleware, to be put outside of all others: streams go on here, when the framework has returned.

    What routing, validation and the other middleware hold for a request would else be held for as long as a stream
    lasts: some 15 kB of it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[_FOLLOW] = _NO_STREAM
        await self._app(scope, receive, send)
        follow = scope[_FOLLOW]
        if follow is not _NO_STREAM:
            _forget_request(scope)
            await _run(follow, receive, send)


async def _run(follow: Follow | None, receive: Receive, send: Send) -> None:
    sink = open_sink(receive, send)
    try:
        if follow is not None:
            await follow(sink)
    except (SQLAlchemyError, OSError) as error:
        _log.warning("stream.failed", error=type(error).__name__)
    finally:
        sink.cut()
        await sink.until_gone()  # so that the server sees a lost connection, not a response left unfinished


def _forget_request(scope: Scope) -> None:
    """Frees what servers and frameworks keep there; the server looks only at these once an answer has begun."""
    scope["headers"].clear()
    for name in scope.keys() - {"type", "asgi", "http_version", "method", "path", "query_string", "client"}:
        del scope[name]


def hide_token(scope: Scope) -> None:
    """Servers log the query of the scope when the answer begins; the key is known by then."""
    pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    scope["query_string"] = urlencode([pair for pair in pairs if pair[0] != "token"]).encode()
