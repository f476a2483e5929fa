"""Connections of clients that send no request, or one without end: uvicorn itself would keep the first for ever, and
read the second into memory.
"""

import asyncio
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api_min.problems import render

MAX_HEAD_BYTES = 65_536  # request line and headers
HEAD_TIMEOUT_S = 20.0  # from the connection, or from a request's first byte, to the end of its head
LINGER_S = 2.0  # a client that still sends would lose the refusal, if the connection were closed on it

_log = structlog.get_logger(__name__)


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's protocol with a limit on the size of a request's head, and on the time that it may take.

    A request whose head arrives whole in one read is within the limits whatever its size: it is memory already.
    """

    # Beside the parent's 28 attributes, in whose dictionary three more would no longer share their keys: 1 kB each.
    __slots__ = ("_deadline", "_head_bytes", "_is_refused")

    head_timeout_s = HEAD_TIMEOUT_S

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._is_refused = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        if self._deadline is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._deadline is not None and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(431, "headers_too_large", f"request line and headers exceed {MAX_HEAD_BYTES} bytes")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._deadline is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        self._head_arrived()
        super().on_headers_complete()

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._deadline = self.loop.call_later(self.head_timeout_s, self._give_up)

    def _head_arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        if self._head_bytes:
            self._refuse(408, "request_timeout", f"the request's head took longer than {self.head_timeout_s:g} s")
        else:
            self.transport.abort()

    def _refuse(self, status: int, code: str, message: str) -> None:
        _log.warning("request.refused", status=status, code=code)
        answer = render(status, code, message, headers={"Connection": "close"})
        head = b"HTTP/1.1 %d \r\n" % status
        for name, value in answer.raw_headers:
            head += name + b": " + value + b"\r\n"
        self.transport.write(head + b"\r\n" + bytes(answer.body))
        self.transport.write_eof()
        self._head_arrived()
        self._is_refused = True
        self.loop.call_later(LINGER_S, self.transport.abort)
