"""Where a WebSocket's messages go: framed for all clients at once, straight to uvicorn's transport when it can be had;
through ASGI `send`, by a task for each client, otherwise.

A frame of the feed is one line of JSON, and the tail joins lines: each of them leaves as a message of its own.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from starlette.types import Receive, Send

from api_min.sinks import Transport, server_transport
from engine.feed.tail import Sink

FLUSH_S = 5.0  # how long a last word may take to reach the network

_TEXT = 0x81  # the first byte of an unfragmented, uncompressed text message (RFC 6455 5.2)


class SocketSink(Sink, Protocol):
    """A sink of the feed that can say why it ends."""

    def on_gone(self, act: Callable[[], object]) -> None:
        """Acts once nothing can be sent any more, unless the server tells that itself."""

    async def close(self, code: int, reason: str) -> None:
        """Says the last word and ends; a client that does not take what is pending is cut."""


def open_socket(receive: Receive, send: Send) -> SocketSink:
    """The sink of a connection that has been accepted."""
    transport = server_transport(receive)
    return AsgiSocketSink(send) if transport is None else TransportSocketSink(transport, send)


class TransportSocketSink:
    """Frames messages itself. The server's own frames, such as pings, are whole too, so the two never mix."""

    __slots__ = ("_is_closed", "_send", "_transport")

    _shared: tuple[bytes, bytes] = (b"", b"")  # what was written last, and its frames: most writes go to many clients

    def __init__(self, transport: Transport, send: Send) -> None:
        self._transport = transport
        self._send = send
        self._is_closed = False

    @property
    def is_open(self) -> bool:
        return not self._is_closed and not self._transport.is_closing()

    def write(self, data: bytes) -> None:
        if not data or not self.is_open:
            return
        shared, framed = TransportSocketSink._shared
        if shared is not data:
            framed = frame(data)
            TransportSocketSink._shared = (data, framed)
        self._transport.write(framed)

    def pending(self) -> int:
        return self._transport.get_write_buffer_size() if self.is_open else 0

    async def drained(self) -> None:
        """A send of nothing, which the server holds back while the transport is above its high-water mark."""
        try:
            if self.is_open:
                await self._send({"type": "websocket.send"})
        except (OSError, RuntimeError):
            return  # the client has gone

    def cut(self) -> None:
        self._transport.abort()

    def on_gone(self, act: Callable[[], object]) -> None:
        """The server's `receive` tells."""

    async def close(self, code: int, reason: str) -> None:
        try:
            async with asyncio.timeout(FLUSH_S):
                await self.drained()
                if self.is_open:
                    self._is_closed = True
                    await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except (TimeoutError, OSError, RuntimeError):  # RuntimeError: the server has closed already
            self.cut()


class AsgiSocketSink:
    """For any ASGI server: a buffer, and a task that sends it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._buffer: list[bytes] = []
        self._bytes = 0
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()
        self._sender = asyncio.create_task(self._run())

    @property
    def is_open(self) -> bool:
        return not self._sender.done()

    def write(self, data: bytes) -> None:
        if data and self.is_open:
            self._buffer.append(data)
            self._bytes += len(data)
            self._drained.clear()
            self._filled.set()

    def pending(self) -> int:
        return self._bytes

    async def drained(self) -> None:
        if self._bytes and self.is_open:
            await self._drained.wait()

    def cut(self) -> None:
        self._sender.cancel()

    def on_gone(self, act: Callable[[], object]) -> None:
        self._sender.add_done_callback(lambda _: act())

    async def close(self, code: int, reason: str) -> None:
        """Also says it to a client that was cut: there is no other way."""
        try:
            async with asyncio.timeout(FLUSH_S):
                await self.drained()
                await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except (TimeoutError, OSError, RuntimeError):
            return  # it does not listen, or has gone
        finally:
            self.cut()

    async def _run(self) -> None:
        try:
            while True:
                await self._filled.wait()
                self._filled.clear()
                data, self._buffer = b"".join(self._buffer), []
                for line in data.splitlines():
                    await self._send({"type": "websocket.send", "text": line.decode()})
                    self._bytes -= len(line) + 1
                if not self._bytes:
                    self._drained.set()
        except (OSError, RuntimeError):
            return  # the client has gone
        finally:
            self._drained.set()


def frame(lines: bytes) -> bytes:
    """Each line as a text message of a server (RFC 6455 5.2): not masked, its length in 7, 16 or 64 bits."""
    framed = []
    for line in lines.splitlines():
        size = len(line)
        if size < 126:
            framed.append(bytes((_TEXT, size)))
        elif size < 1 << 16:
            framed.append(bytes((_TEXT, 126)) + size.to_bytes(2))
        else:
            framed.append(bytes((_TEXT, 127)) + size.to_bytes(8))
        framed.append(line)
    return b"".join(framed)
