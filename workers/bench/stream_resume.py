"""Resumes under load: `python -m workers.bench.stream_resume '{"cpu": 1, …}'`.

One client follows the account and so knows its newest event. The others connect one after the other, each with an id up
to `back` before that, and leave once they have read `past` events beyond it. Each must have got every number once.
"""

import os
import random
import re
import select
import socket
import sys
import time
from dataclasses import asdict, dataclass, field

import orjson

_ID = re.compile(rb"^id: (\d+)$", re.MULTILINE)
_READ = 262_144
QUIET_S = 20.0


def request(key: str, after: int | None = None) -> str:
    resumed = "" if after is None else f"Last-Event-ID: {after}\r\n"
    return f"GET /api/events?token={key} HTTP/1.1\r\nHost: bench\r\n{resumed}\r\n"


@dataclass(frozen=True, slots=True)
class Plan:
    cpu: int
    host: str
    port: int
    token: str
    resumes: int
    every_s: float
    back: int = 500  # far enough below the replay's limit of 1,000 that the load's own delay does not reach it
    past: int = 300
    seed: int = 1


@dataclass(slots=True)
class Found:
    resumes: int = 0
    missing: int = 0
    repeated: int = 0
    truncated: int = 0  # streams that were told so: their id was too far back by the time it arrived
    events: int = 0


@dataclass(slots=True)
class _Reader:
    """Reads the ids of one stream; `expected` is the next."""

    connection: socket.socket
    expected: int
    last: int  # it leaves after this one
    rest: bytes = b""
    heard_at: float = field(default_factory=time.monotonic)

    def read(self, found: Found) -> None:
        data = self.connection.recv(_READ)
        if not data:
            raise ConnectionError("the server has ended a stream")
        self.heard_at = time.monotonic()
        found.truncated += data.count(b"event: replay.truncated")
        whole, _, self.rest = (self.rest + data).rpartition(b"\n")
        for number in map(int, _ID.findall(whole)):
            found.missing += max(0, number - self.expected)
            found.repeated += number < self.expected
            found.events += 1
            self.expected = max(self.expected, number + 1)


class Resumes:
    def __init__(self, plan: Plan) -> None:
        self.plan, self.found = plan, Found()
        self._random = random.Random(plan.seed)
        self._poll = select.epoll()
        self._readers: dict[int, _Reader] = {}
        self._watcher = self._open(0, 1, sys.maxsize)

    def run(self) -> Found:
        plan, begun, opened = self.plan, time.monotonic(), 0
        while self.found.resumes < plan.resumes:
            if opened < plan.resumes and time.monotonic() >= begun + (opened + 1) * plan.every_s:
                head = self._watcher.expected - 1
                after = max(0, head - self._random.randint(0, plan.back))
                self._open(after, after + 1, head + plan.past)
                opened += 1
            self._read_some()
        for reader in list(self._readers.values()):
            self._close(reader)
        self._poll.close()
        return self.found

    def _read_some(self) -> None:
        for number, _ in self._poll.poll(self.plan.every_s):
            reader = self._readers[number]
            reader.read(self.found)
            if reader.expected > reader.last:
                self.found.resumes += 1
                self._close(reader)
        for reader in list(self._readers.values()):
            if time.monotonic() - reader.heard_at > QUIET_S:
                raise TimeoutError(f"a stream fell silent before event {reader.expected}")

    def _open(self, after: int, expected: int, last: int) -> _Reader:
        connection = socket.create_connection((self.plan.host, self.plan.port))
        connection.sendall(request(self.plan.token, after).encode())
        reader = self._readers[connection.fileno()] = _Reader(connection, expected, last)
        self._poll.register(connection.fileno(), select.EPOLLIN)
        return reader

    def _close(self, reader: _Reader) -> None:
        number = reader.connection.fileno()
        self._poll.unregister(number)
        del self._readers[number]
        reader.connection.close()


def main() -> None:
    plan = Plan(**orjson.loads(sys.argv[1]))
    os.sched_setaffinity(0, {plan.cpu})
    print("ready", flush=True)  # noqa: T201
    sys.stdin.readline()
    print(orjson.dumps(asdict(Resumes(plan).run())).decode(), flush=True)  # noqa: T201
    sys.stdin.readline()


if __name__ == "__main__":
    main()
