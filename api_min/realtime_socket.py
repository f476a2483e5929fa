"""The Teletracker WebSocket: a client authenticates, then starts and stops its user's and its account's event stream.

Requests and answers are JSON messages, one `type` each (`authrequest` → `authresponse`). A client that is refused is
told why and may try again, `MOST_FAULTS` times in a row; one that has not authenticated after `auth_s` is sent away.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Literal

import orjson
import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import Message, Receive, Scope, Send

from api_min.problems import render
from api_min.realtime import Identify, Kind, parse_topics, wish_of
from api_min.socket_sink import SocketSink, open_socket
from api_min.streams import MAX_KEY_CHARS, hide_token
from engine.errors import CarillonError, Conflict, InvalidInput, Unauthorized
from engine.feed import teletracker
from engine.feed.hub import Hub
from engine.feed.tail import Subscription
from engine.feed.teletracker import Topics
from engine.rules import topics as topic_rules

# Teletracker's own clients connect to the bare host.
PATHS = ("/api/realtime", "/realtime", "/")
AUTH_S = 10.0
MOST_FAULTS = 10
MAX_MESSAGE_BYTES = 65_536  # the server's `ws_max_size`

NORMAL, BINARY, REFUSED, BROKEN, LATER = 1000, 1003, 1008, 1011, 1013  # close codes (RFC 6455 7.4.1 and its registry)

_DIALECTS = {"user": teletracker.USER_EVENTS, "account": teletracker.ACCOUNT_EVENTS}
_REQUESTS: Mapping[str, tuple[Literal["start", "stop"], Kind]] = {
    "startusereventrequest": ("start", "user"),
    "stopusereventrequest": ("stop", "user"),
    "startaccounteventrequest": ("start", "account"),
    "stopaccounteventrequest": ("stop", "account"),
}
_KNOWN = ", ".join(["authrequest", *_REQUESTS])

_log = structlog.get_logger(__name__)


class Farewell(Exception):
    """Ends the conversation with a close code and its reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class RealtimeSocket:
    """Plain ASGI, because only the server's own `receive` leads to its connection."""

    def __init__(self, hub: Hub, identify: Identify, auth_s: float = AUTH_S) -> None:
        self._hub = hub
        self._identify = identify
        self._auth_s = auth_s

    def routes(self) -> list[BaseRoute]:
        plain = [Route(path, _want_upgrade, include_in_schema=False) for path in PATHS if path != "/"]
        return [*plain, *(WebSocketRoute(path, self) for path in PATHS)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hide_token(scope)
        await receive()  # websocket.connect
        await send({"type": "websocket.accept"})
        sink = open_socket(receive, send)
        talk = asyncio.create_task(Session(self._hub, self._identify, sink, receive).run(self._auth_s))
        sink.on_gone(talk.cancel)
        try:
            await asyncio.wait({talk})
        except BaseException:
            talk.cancel()
            sink.cut()
            raise
        farewell = Farewell(LATER, "reconnect, and resume with lastEventId") if talk.cancelled() else talk.result()
        await sink.close(farewell.code, farewell.reason)


async def _want_upgrade(_: Request) -> Response:
    message = "this is a WebSocket; connect with ws:// or wss://, or read /api/realtime/events"
    return render(426, "upgrade_required", message, headers={"Upgrade": "websocket"})


class Session:
    """One connection's conversation."""

    def __init__(self, hub: Hub, identify: Identify, sink: SocketSink, receive: Receive) -> None:
        self._hub = hub
        self._identify = identify
        self._sink = sink
        self._receive = receive
        self._key = ""
        self._is_admitted = False
        self._faults = 0
        self._streams: dict[Kind, asyncio.Task[Subscription | None]] = {}

    async def run(self, auth_s: float) -> Farewell:
        """Talks until the client goes or is sent away, and says how it ended. Nothing that it sends raises."""
        try:
            async with asyncio.timeout(auth_s) as patience:
                while (message := await self._receive())["type"] == "websocket.receive":
                    await self._take(message)
                    if self._is_admitted:
                        patience.reschedule(None)
            return Farewell(NORMAL, "")
        except Farewell as farewell:
            return farewell
        except TimeoutError:
            return Farewell(REFUSED, f"no authrequest within {auth_s:g} seconds")
        except Exception:
            _log.exception("realtime.failed")
            return Farewell(BROKEN, "something went wrong on our side")
        finally:
            for kind in list(self._streams):
                await self._stop(kind)

    async def _take(self, message: Message) -> None:
        text = message.get("text")
        if text is None:
            raise Farewell(BINARY, "send JSON as text messages")
        name = "errorresponse"
        try:
            request = _parse(text)
            name = f"{request['type'].removesuffix('request')}response"
            await self._obey(request, name)
            self._faults = 0
        except CarillonError as refusal:
            self._say({"type": name, "success": False, "code": refusal.code, "reason": refusal.message})
            self._faults += 1
            if self._faults >= MOST_FAULTS:
                raise Farewell(REFUSED, f"{MOST_FAULTS} requests in a row were refused") from None
        except (SQLAlchemyError, OSError) as error:
            _log.warning("realtime.unavailable", error=type(error).__name__)
            self._say({"type": name, "success": False, "code": "unavailable", "reason": "try again in a moment"})
            raise Farewell(LATER, "try again in a moment") from None

    async def _obey(self, request: Mapping[str, Any], answer: str) -> None:
        """Raises CarillonError for what is refused, and what the database raises."""
        if request["type"] == "authrequest":
            await self._authenticate(request.get("token"))
            self._say({"type": answer, "success": True})
            return
        if not self._is_admitted:
            raise Unauthorized('authenticate first: {"type":"authrequest","token":"tk_…"}')
        verb, kind = _REQUESTS[request["type"]]
        if verb == "stop":
            await self._stop(kind)
            self._say({"type": answer, "success": True})
            return
        if kind in self._streams:
            raise Conflict(f"the {kind} stream is on; stop it first to start it with other topics")
        names, after = _topics(request.get("topics")), _last_event_id(request.get("lastEventId"))
        caller = await self._identify(self._key)  # again: the start of a stream counts, and the key may be revoked
        wish = wish_of(caller, kind, names)
        self._say({"type": answer, "success": True})
        self._streams[kind] = asyncio.create_task(self._begin(caller.account_id, kind, wish, after))

    async def _authenticate(self, token: object) -> None:
        if self._is_admitted:
            raise Conflict("this connection is authenticated already; open another one for another key")
        if not isinstance(token, str) or not token:
            raise InvalidInput("token: give a key, as tk_…", {"token": "is required"})
        await self._identify(token[:MAX_KEY_CHARS])
        self._key = token[:MAX_KEY_CHARS]
        self._is_admitted = True

    async def _begin(self, account_id: int, kind: Kind, wish: Topics, after: str | None) -> Subscription | None:
        """The connection is cut when the history cannot be read: the client resumes by id."""
        try:
            return await self._hub.subscribe(account_id, self._sink, _DIALECTS[kind], wish, after)
        except (SQLAlchemyError, OSError) as error:
            _log.warning("stream.failed", error=type(error).__name__)
        except Exception:
            _log.exception("stream.failed")
        self._sink.cut()
        return None

    async def _stop(self, kind: Kind) -> None:
        """No event follows. Of a stream that is not on: does nothing."""
        stream = self._streams.pop(kind, None)
        if stream is None:
            return
        stream.cancel()  # while it still catches up
        await asyncio.wait({stream})
        subscription = None if stream.cancelled() else stream.result()
        if subscription is not None:
            self._hub.unsubscribe(subscription)

    def _say(self, message: Mapping[str, object]) -> None:
        self._sink.write(orjson.dumps(message) + b"\n")


def _parse(text: str) -> dict[str, Any]:
    """A request of a known type. Raises InvalidInput."""
    try:
        request = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise InvalidInput('not JSON; send messages such as {"type":"authrequest","token":"tk_…"}') from None
    kind = request.get("type") if isinstance(request, dict) else None
    if not isinstance(kind, str):
        raise InvalidInput(f"type: a message is an object with a type, one of {_KNOWN}")
    if kind != "authrequest" and kind not in _REQUESTS:
        raise InvalidInput(f"unknown type {kind[:64]!r}; known are {_KNOWN}")
    assert isinstance(request, dict)
    return request


def _topics(value: object) -> frozenset[str]:
    """Globs, as a list or with commas; all topics when there is none. Raises InvalidInput."""
    if value is None or isinstance(value, str):
        return parse_topics(value)
    if isinstance(value, list) and all(isinstance(glob, str) for glob in value):
        return topic_rules.expand(value) if value else topic_rules.ALL
    raise InvalidInput('topics: give a list of globs, such as ["voice.incoming.*", "messaging.**"]')


def _last_event_id(value: object) -> str | None:
    """As a number or as text; an empty text is none. Raises InvalidInput."""
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise InvalidInput("lastEventId: give the id of the last event that you have seen")
