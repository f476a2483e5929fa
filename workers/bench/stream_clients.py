"""Clients of a stream for `bench stream`: raw sockets on one epoll, as little as possible per delivery.

What the load costs bounds what can be measured with it. So there is one read per delivery, and bytes that many clients
get are looked at once.
"""

import select
import socket
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

MARK = b"\x7f"  # once in every event, and nowhere else: counting it needs no framing
CONNECTING = 256  # connections that wait for their answer at one time
QUIET_S = 20.0  # without a byte for so long, what is missing is given up
DEAD_BUFFER = 4_096
_READ, _READY = 65_536, 4_096
_HEAD_END = b"\r\n\r\n"


@dataclass(slots=True)
class Tally:
    """What has arrived so far, over all healthy clients."""

    events: int = 0
    ended: int = 0  # streams that the server cut
    last_at: float = 0.0  # monotonic
    latencies_s: "array[float]" = field(default_factory=lambda: array("d"))


Look = Callable[[bytes], list[float]]
"""When the events in these bytes were published, by the monotonic clock; empty: nobody wants to know."""


class Clients:
    """Opens streams with one request and reads them. Use `with`."""

    def __init__(self, host: str, port: int, request: bytes, look: Look = lambda _: []) -> None:
        self.tally = Tally()
        self._address = (host, port)
        self._request = request
        self._look = look
        self._open: dict[int, socket.socket] = {}
        self._dead: list[socket.socket] = []
        self._heads: dict[int, bytes] = {}  # of those that are not answered yet
        self._poll = select.epoll()
        self._seen: tuple[bytes, int, list[float]] = (b"", 0, [])

    def __enter__(self) -> "Clients":
        return self

    def __exit__(self, *error: object) -> None:
        for connection in [*self._open.values(), *self._dead]:
            connection.close()
        self._poll.close()

    def connect(self, count: int) -> None:
        """Opens streams, and returns when each is answered; what they send meanwhile is read. Raises ConnectionError
        for one that is answered with an error."""
        for _ in range(count):
            connection = socket.create_connection(self._address)
            connection.sendall(self._request)
            connection.setblocking(False)
            self._open[connection.fileno()] = connection
            self._heads[connection.fileno()] = b""
            self._poll.register(connection.fileno(), select.EPOLLIN)
            while len(self._heads) >= CONNECTING:
                self._must_receive()
        while self._heads:
            self._must_receive()

    def connect_dead(self, count: int) -> None:
        """Opens streams that nobody will read."""
        for _ in range(count):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DEAD_BUFFER)
            connection.connect(self._address)
            connection.sendall(self._request)
            while _HEAD_END not in connection.recv(DEAD_BUFFER, socket.MSG_PEEK):
                continue
            self._dead.append(connection)

    def receive(self, wait_s: float) -> bool:
        """Reads everything that is there, waiting `wait_s` for the first of it; False when nothing came."""
        ready = self._poll.poll(wait_s, _READY)
        for number, _ in ready:
            try:
                data = self._open[number].recv(_READ)
            except ConnectionError:
                data = b""
            if not data:
                self._forget(number)
            elif self._heads and number in self._heads:
                self._take_head(number, data)
            else:
                self._take(data)
        return bool(ready)

    def _take(self, data: bytes) -> None:
        if data != self._seen[0]:
            self._seen = (data, data.count(MARK), self._look(data))
        _, events, published = self._seen
        if events:
            now = time.monotonic()
            self.tally.events += events
            self.tally.last_at = now
            for at in published:
                self.tally.latencies_s.append(now - at)

    def _take_head(self, number: int, data: bytes) -> None:
        head, end, body = (self._heads[number] + data).partition(_HEAD_END)
        if not end:
            self._heads[number] = head
            return
        if not head.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(f"a stream was answered {head[:200]!r} {body[:300]!r}")
        del self._heads[number]
        self._take(body)

    def _forget(self, number: int) -> None:
        self.tally.ended += 1
        self._heads.pop(number, None)
        self._poll.unregister(number)
        self._open.pop(number).close()

    def _must_receive(self) -> None:
        if not self.receive(QUIET_S):
            raise ConnectionError(f"{len(self._heads)} streams were not answered in {QUIET_S:g} s")
