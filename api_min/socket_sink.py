"""Where a WebSocket's messages go: a buffer, and a task that sends it through ASGI.

A frame of the feed is one line of JSON, and the tail joins lines: each of them leaves as a message of its own.
"""

import asyncio

from starlette.types import Receive, Send

from api_min.sinks import server_transport

FLUSH_S = 5.0  # how long a last word may take to reach the network


class SocketSink:
    """A sink of the feed. Its connection must have been accepted."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._send = send
        self._transport = server_transport(receive)
        self._buffer: list[bytes] = []
        self._bytes = 0
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()
        self.sender = asyncio.create_task(self._run())  # done when nothing can be sent any more

    @property
    def is_open(self) -> bool:
        return not self.sender.done() and (self._transport is None or not self._transport.is_closing())

    def write(self, data: bytes) -> None:
        if data and self.is_open:
            self._buffer.append(data)
            self._bytes += len(data)
            self._drained.clear()
            self._filled.set()

    def pending(self) -> int:
        unsent = 0 if self._transport is None or not self.is_open else self._transport.get_write_buffer_size()
        return self._bytes + unsent

    async def drained(self) -> None:
        if self._bytes and self.is_open:
            await self._drained.wait()

    def cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        self.sender.cancel()

    async def gone(self) -> None:
        """Returns when nothing can be sent any more."""
        await asyncio.wait({self.sender})

    async def close(self, code: int, reason: str) -> None:
        """Says the last word and ends; a client that does not take what is pending is cut."""
        try:
            async with asyncio.timeout(FLUSH_S):
                await self.drained()
                if self.is_open or self._transport is None:  # which could only be cut in words
                    await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except (TimeoutError, OSError, RuntimeError):  # RuntimeError: the server has closed already
            self.cut()
        self.sender.cancel()

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
