"""One scenario of `bench stream`, in a process of its own: the clients, and whoever publishes to them.

    python -m workers.bench.stream_load '{"cpu": 1, …}'

It says `ready` when its clients are connected, begins when it is told to by a line, and prints what it found.
"""

import http.client
import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import quantiles

import orjson
from redis import Redis

from workers.bench.stream_clients import QUIET_S, Clients

_PUBLISHED = re.compile(rb'"t":(\d+)')
_PAD = "\x7f" + "x" * 100  # frames of about 300 bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """`rate` events a second, or with 0 as fast as they arrive: at most `window` of them are under way.

    `redis` and `key` publish into an account's stream, `path` to an nchan channel, none of them: others publish.
    """

    cpu: int
    host: str
    port: int
    request: str
    clients: int
    events: int
    dead: int = 0
    rate: float = 0.0
    window: int = 1
    redis: str = ""
    key: str = ""
    path: str = ""
    burst: int = 1  # events per publication
    is_timed: bool = False  # how long each delivery took, which costs the load a look at each event
    begins_connected: bool = True  # False: connecting is part of what is measured


@dataclass(frozen=True, slots=True)
class Found:
    """`seconds` begin with the first publication, or the first connection, and end with the last delivery."""

    deliveries: int
    missing: int
    ended: int
    seconds: float
    cpu_us: float  # of this process, per delivery
    p50_ms: float = 0.0
    p99_ms: float = 0.0


Publish = Callable[[int, int], None]  # (first number, count)


def body(number: int) -> bytes:
    """A canonical event that tells when it was made, by the monotonic clock, which all processes share."""
    return (
        '{"type":"sms.sent","at":"2026-03-11T18:00:00Z","trackingId":"","uniqueId":"",'
        f'"payload":{{"n":{number},"t":{time.monotonic_ns()},"text":"{_PAD}"}}}}'
    ).encode()


def publisher(plan: Plan) -> Publish | None:
    if plan.path:
        return _to_nchan(plan)
    return _to_redis(plan) if plan.redis else None


def _to_redis(plan: Plan) -> Publish:
    redis = Redis.from_url(plan.redis)

    def publish(first: int, count: int) -> None:
        lines = b"\n".join(body(first + n) for n in range(count))
        redis.xadd(plan.key, {"first": first, "body": lines}, id=f"{first + count - 1}-0")

    return publish


def _to_nchan(plan: Plan) -> Publish:
    connection = http.client.HTTPConnection(plan.host, plan.port)

    def publish(first: int, count: int) -> None:
        for number in range(first, first + count):
            connection.request("POST", plan.path, body(number))
            connection.getresponse().read()

    return publish


class Load:
    """Publishes and reads in one loop, so that neither waits for the other."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        look = _publication_times if plan.is_timed else _no_times
        self.clients = Clients(plan.host, plan.port, plan.request.encode(), look)
        self._published = 0
        self._publish = publisher(plan)

    def run(self) -> Found:
        plan, tally = self.plan, self.clients.tally
        begun, cpu = time.monotonic(), time.process_time()
        if not plan.begins_connected:
            self.clients.connect(plan.clients)
        expected, heard = plan.clients * plan.events, begun
        while tally.events < expected and time.monotonic() - heard < QUIET_S:
            due_s = self._due_s(begun)
            if due_s <= 0.0:
                self._publish_some()
            if self.clients.receive(min(max(due_s, 0.0), QUIET_S)):
                heard = time.monotonic()
        return found(self, begun, time.process_time() - cpu, expected)

    def _due_s(self, begun: float) -> float:
        """How long until the next publication."""
        plan = self.plan
        if self._publish is None or self._published >= plan.events:
            return QUIET_S
        if plan.rate:
            return begun + self._published / plan.rate - time.monotonic()
        under_way = self._published * plan.clients - self.clients.tally.events
        return 0.0 if under_way < plan.window * plan.clients else QUIET_S

    def _publish_some(self) -> None:
        assert self._publish is not None
        count = min(self.plan.burst, self.plan.events - self._published)
        self._publish(self._published + 1, count)
        self._published += count


def _publication_times(data: bytes) -> list[float]:
    return [int(nanoseconds) / 1e9 for nanoseconds in _PUBLISHED.findall(data)]


def _no_times(_: bytes) -> list[float]:
    return []


def found(load: Load, begun: float, cpu_s: float, expected: int) -> Found:
    tally = load.clients.tally
    cuts = quantiles(tally.latencies_s, n=100) if len(tally.latencies_s) > 1 else [0.0] * 99
    return Found(
        tally.events,
        expected - tally.events,
        tally.ended,
        max(tally.last_at - begun, 1e-9),
        1e6 * cpu_s / max(tally.events, 1),
        1e3 * cuts[49],
        1e3 * cuts[98],
    )


def main() -> None:
    plan = Plan(**orjson.loads(sys.argv[1]))
    os.sched_setaffinity(0, {plan.cpu})
    load = Load(plan)
    with load.clients:
        load.clients.connect_dead(plan.dead)
        if plan.begins_connected:
            load.clients.connect(plan.clients)
        print("ready", flush=True)  # noqa: T201
        sys.stdin.readline()
        print(orjson.dumps(asdict(load.run())).decode(), flush=True)  # noqa: T201
        sys.stdin.readline()


if __name__ == "__main__":
    main()
