"""Connections of clients that take for ever: to send a request's head, or its body, or to read its answer; or that only
sit there, by the thousand. uvicorn itself would keep all of them.

What each may take is bounded here, but for the time of a body, which is counted where it is waited for (`bodies`).
"""

import asyncio
import resource
import socket
from contextlib import suppress
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api_min.problems import render
from engine import metrics

MAX_HEAD_BYTES = 65_536  # request line and headers; and what is sent around a body's parts, trailers above all
HEAD_TIMEOUT_S = 20.0  # from the connection, or from a request's first byte, to the end of its head
LINGER_S = 2.0  # a client that still sends would lose the refusal, if the connection were closed on it
REST_TIMEOUT_S = 30.0  # for what is left of a body that was answered before its end; it is thrown away
# An answer moves on when the client takes the 48 KiB between the transport's two marks: at least 0.8 kB/s. A stream
# that is cut goes on by its last id.
STALLED_S = 60.0
RESERVED_FILES = 128  # of those that the process may open, for PostgreSQL, Redis, logs

_log = structlog.get_logger(__name__)


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's protocol with a limit on the size of a request's head and trailers, on the time that each part of an
    exchange may take, and on the number of connections.

    A request whose head arrives whole in one read is within the limits whatever its size: it is memory already.
    """

    # Beside the parent's 28 attributes, in whose dictionary these would no longer share their keys: 1 kB each.
    __slots__ = ("_deadline", "_is_refused", "_rest", "_stalled", "_unparsed")

    head_timeout_s = HEAD_TIMEOUT_S
    rest_timeout_s = REST_TIMEOUT_S
    stalled_s = STALLED_S

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unparsed = 0  # bytes since the last whole head or part of a body
        self._is_refused = False
        self._deadline: asyncio.TimerHandle | None = None
        self._rest: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > most_connections():
            metrics.CONNECTIONS_REFUSED.inc()
            transport.abort()
            return
        _send_at_once(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_arrived()
        self._rest = _cancelled(self._rest)
        self._stalled = _cancelled(self._stalled)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        self._unparsed += len(data)
        was_idle = self.timeout_keep_alive_task is not None
        super().data_received(data)
        if self._unparsed > MAX_HEAD_BYTES:
            self._refuse(431, "headers_too_large", f"request line and headers exceed {MAX_HEAD_BYTES} bytes")
        elif was_idle and self._is_idle():
            self._await_head()  # empty lines: no request begins with them, but they ended the wait for one

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._deadline is None:
            self._await_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._deadline is not None:  # or it is a trailer: to uvicorn a header too, which no proxy has looked at
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_arrived()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._rest = _cancelled(self._rest)

    def on_response_complete(self) -> None:
        is_whole = not self.cycle.more_body
        super().on_response_complete()
        if not is_whole and not self.transport.is_closing():
            self._rest = self.loop.call_later(self.rest_timeout_s, self.transport.abort)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(self.stalled_s, self.transport.abort)

    def resume_writing(self) -> None:
        self._stalled = _cancelled(self._stalled)
        super().resume_writing()

    def _is_idle(self) -> bool:
        """Whether no request has begun since the last answer, nor a WebSocket, at which uvicorn forgets us."""
        is_answered = self.cycle.response_complete and self._rest is None
        return is_answered and self._deadline is None and self in self.connections

    def _await_head(self) -> None:
        self._unparsed = 0
        self._deadline = self.loop.call_later(self.head_timeout_s, self._give_up)

    def _head_arrived(self) -> None:
        self._unparsed = 0
        self._deadline = _cancelled(self._deadline)

    def _give_up(self) -> None:
        if self._unparsed:
            self._refuse(408, "request_timeout", f"the request's head took longer than {self.head_timeout_s:g} s")
        else:
            self.transport.abort()

    def _refuse(self, status: int, code: str, message: str) -> None:
        _log.warning("request.refused", status=status, code=code)
        if not self._may_answer():
            self.transport.abort()
            return
        answer = render(status, code, message, headers={"Connection": "close"})
        head = b"HTTP/1.1 %d \r\n" % status
        for name, value in answer.raw_headers:
            head += name + b": " + value + b"\r\n"
        self.transport.write(head + b"\r\n" + bytes(answer.body))
        self.transport.write_eof()
        self._head_arrived()
        self._is_refused = True
        self.loop.call_later(LINGER_S, self.transport.abort)

    def _may_answer(self) -> bool:
        """Not into another answer that is under way, nor twice to one request, whose trailers are too long."""
        return self._deadline is not None and (self.cycle is None or self.cycle.response_complete)


def most_connections() -> int:
    """How many there may be: a flood must leave files for the database, or nothing works for those that are in."""
    may_open, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return may_open - RESERVED_FILES


def _cancelled(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """None, for the attribute that held it."""
    if timer is not None:
        timer.cancel()
    return None


def _send_at_once(transport: asyncio.Transport) -> None:
    """asyncio does so only for sockets that were made with their protocol's number, uvloop always: a body behind its
    head would wait 40 ms for an acknowledgement."""
    raw = transport.get_extra_info("socket")
    if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):  # already gone
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
