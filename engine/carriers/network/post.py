"""How the network reaches the engine: one POST after the other over connections that are kept.

Callbacks are most of what the network does, and a general HTTP client spends four fifths of their time on what none of
them needs: redirects, cookies, proxies, encodings.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

import httptools


class Poster:
    """At most `connections` requests to a host at a time, each answered within `timeout_s` or given up with its
    connection. A host that stands still holds up no other's."""

    def __init__(self, connections: int, timeout_s: float) -> None:
        self._connections, self._timeout_s = connections, timeout_s
        self._hosts: dict[tuple[str, str], _Host] = {}

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """(status, body) of the answer. The URL is sent as it is: it may be signed.

        Raises OSError (TimeoutError is one) when no answer came, ValueError when `url` is none.
        """
        parts = urlsplit(url)
        host = self._hosts.setdefault((parts.scheme, parts.netloc), _Host(asyncio.Semaphore(self._connections)))
        async with host.places, asyncio.timeout(self._timeout_s):
            connection = host.take() or await _connect(parts)
            try:
                answer = await connection.exchange(_encode(parts, headers, body))
            except BaseException:
                connection.transport.abort()  # an answer that comes late must not be taken for the next one's
                raise
        if connection.is_reusable:
            host.idle.append(connection)
        return answer

    def close(self) -> None:
        for host in self._hosts.values():
            for connection in host.idle:
                connection.transport.abort()


@dataclass(frozen=True, slots=True)
class _Host:
    places: asyncio.Semaphore
    idle: "list[_Connection]" = field(default_factory=list)

    def take(self) -> "_Connection | None":
        while self.idle:
            connection = self.idle.pop()
            if not connection.transport.is_closing():
                return connection
        return None


class _Connection(asyncio.Protocol):
    """One exchange at a time."""

    transport: asyncio.Transport
    is_reusable = False

    def __init__(self) -> None:
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    async def exchange(self, request: bytes) -> tuple[int, bytes]:
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""
        self.is_reusable = False
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        try:
            return await self._answer
        finally:
            self._answer = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            if self._answer is None:
                raise httptools.HttpParserError("nothing was asked")
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.transport.abort()
            self._fail(f"no HTTP answer: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the connection was closed before the answer: {exc}")

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200 and self._answer is not None and not self._answer.done():
            self.is_reusable = self._parser.should_keep_alive()
            self._answer.set_result((status, self._body))

    def _fail(self, reason: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(reason))


async def _connect(parts: SplitResult) -> _Connection:
    is_secure = parts.scheme == "https"
    if not parts.hostname or not (is_secure or parts.scheme == "http"):
        raise ValueError(f"not an HTTP address: {parts.geturl()}")
    port = parts.port or (443 if is_secure else 80)
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(_Connection, parts.hostname, port, ssl=True if is_secure else None)
    return connection


def _encode(parts: SplitResult, headers: Mapping[str, str], body: bytes) -> bytes:
    target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    host = parts.netloc.rpartition("@")[2]
    lines = [f"POST {target} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
