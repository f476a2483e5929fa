"""Where a stream's bytes go: straight to uvicorn's transport when it can be had, through ASGI `send` otherwise.

A broadcast that writes to transports costs a third of one that wakes a task per client (reference STREAMS.md 2.2), and
only a transport can be aborted. It hangs on one private attribute of uvicorn, read in `server_transport` alone.
"""

import asyncio
import socket
from contextlib import suppress
from typing import Protocol, runtime_checkable

from starlette.types import Message, Receive, Send

from engine.feed.tail import Sink

# The kernel would otherwise hide 4 MB, some 13,000 events, of a client that has stopped reading.
SEND_BUFFER_BYTES = 131_072

# A client whose machine is gone says nothing. Heartbeats are never acknowledged then, and after this time, three of
# them, the kernel gives the connection up; of itself it would take a quarter of an hour.
UNACKNOWLEDGED_MS = 90_000


class ClientSink(Sink, Protocol):
    async def until_gone(self) -> None:
        """Returns when the client has gone or was cut."""


@runtime_checkable
class Transport(Protocol):
    """What we use of asyncio.Transport, which uvloop's transports do not inherit from."""

    def get_extra_info(self, name: str, default: object = None) -> socket.socket | None: ...
    def is_closing(self) -> bool: ...
    def write(self, data: bytes) -> None: ...
    def get_write_buffer_size(self) -> int: ...
    def abort(self) -> None: ...


def open_sink(receive: Receive, send: Send) -> ClientSink:
    """The sink of a response whose start has been sent."""
    transport = server_transport(receive)
    return AsgiSink(receive, send) if transport is None else TransportSink(transport, receive, send)


def server_transport(receive: Receive) -> Transport | None:
    """The connection behind an ASGI `receive`, its kernel buffer bounded; None where the server does not show it."""
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if not isinstance(transport, Transport):
        return None
    raw = transport.get_extra_info("socket")
    if raw is not None:
        with suppress(OSError):  # already gone
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
    return transport


class TransportSink:
    """Writes HTTP chunks itself. The response never ends, so the server has nothing of its own to write."""

    __slots__ = ("_receive", "_send", "_transport")

    _shared: tuple[bytes, bytes] = (b"", b"")  # what was written last, and its chunk: most writes go to many clients

    def __init__(self, transport: Transport, receive: Receive, send: Send) -> None:
        self._transport = transport
        self._receive = receive
        self._send = send

    @property
    def is_open(self) -> bool:
        return not self._transport.is_closing()

    def write(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        shared, chunk = TransportSink._shared
        if shared is not data:
            chunk = b"%x\r\n%b\r\n" % (len(data), data)
            TransportSink._shared = (data, chunk)
        try:
            self._transport.write(chunk)
        except RuntimeError:  # its writing side is over, which `is_closing` does not tell
            self.cut()

    def pending(self) -> int:
        return self._transport.get_write_buffer_size() if self.is_open else 0

    async def drained(self) -> None:
        """A send of nothing, which the server holds back while the transport is above its high-water mark."""
        try:
            if self.is_open:
                await self._send(_body(b""))
        except RuntimeError:  # as in `write`
            self.cut()

    def cut(self) -> None:
        self._transport.abort()

    async def until_gone(self) -> None:
        receive = self._receive  # not through `_disconnect`: one frame less for each open stream
        while (await receive())["type"] != "http.disconnect":
            pass


class AsgiSink:
    """For any ASGI server: a buffer, and a task that sends it. Cut, it leaves the response unfinished."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
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
        if self.is_open:
            self._buffer.append(data)
            self._bytes += len(data)
            self._drained.clear()
            self._filled.set()

    def pending(self) -> int:
        return self._bytes

    async def drained(self) -> None:
        if self._bytes:
            await self._drained.wait()

    def cut(self) -> None:
        self._sender.cancel()

    async def until_gone(self) -> None:
        gone = asyncio.create_task(_disconnect(self._receive))
        try:
            await asyncio.wait({gone, self._sender}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            self._sender.cancel()

    async def _run(self) -> None:
        try:
            while True:
                await self._filled.wait()
                self._filled.clear()
                data, self._buffer = b"".join(self._buffer), []
                await self._send(_body(data))
                self._bytes -= len(data)
                if not self._bytes:
                    self._drained.set()
        finally:
            self._drained.set()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _body(data: bytes) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": True}
