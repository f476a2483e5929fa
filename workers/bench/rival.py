"""Measuring the rival: how many empty messages stock Dramatiq works off in a second."""

import time

from redis import Redis

from engine.embedded.servers import Servers
from engine.errors import Unavailable
from engine.processes.supervisor import Supervisor
from workers.bench import meter
from workers.bench.figures import Sample
from workers.bench.stock import QUEUE, URL_VARIABLE

PROCESSES, THREADS, PREFETCH = 2, 8, 200
MODULE = "workers.bench.stock"
TIMEOUT_S = 600.0
_IDS, _BODIES = f"dramatiq:{QUEUE}", f"dramatiq:{QUEUE}.msgs"
_HIDDEN = "bench:hidden:"
_HEARTBEATS = "dramatiq:__heartbeats__"


def consume(servers: Servers, size: int) -> Sample:
    """Messages that are all enqueued before the first is worked off."""
    with _Stage(servers) as stage:
        stage.send(size)
        stage.hide()
        workers = stage.start_workers()
        groups = meter.server_groups(servers) | {"workers": [workers]}
        groups.pop("postgres", None)
        before = meter.cpu_s(groups)
        stage.show()
        stage.await_begun(size)  # the workers may have been asleep: their waking is not counted
        begun = time.monotonic()
        stage.await_done()
        return Sample(size, time.monotonic() - begun, meter.used_since(before, groups))


def send_and_consume(servers: Servers, size: int) -> Sample:
    """One process sends while the workers consume: from the first `send` to the last acknowledgement."""
    with _Stage(servers) as stage:
        workers = stage.start_workers()
        groups = meter.server_groups(servers) | {"workers": [workers]}
        groups.pop("postgres", None)
        before = meter.cpu_s(groups)
        begun, sender_cpu_s = stage.send(size)
        stage.await_done()
        used = meter.used_since(before, groups) | {"sender": sender_cpu_s}
        return Sample(size, time.monotonic() - begun, used)


class _Stage:
    """One round's Redis database, emptied before and after, and the rival's processes."""

    def __init__(self, servers: Servers) -> None:
        self._redis = Redis.from_url(servers.redis_queue_url)
        self._supervisor = Supervisor({URL_VARIABLE: servers.redis_queue_url}, _silent)

    def __enter__(self) -> "_Stage":
        self._redis.flushdb()
        return self

    def __exit__(self, *error: object) -> None:
        self._supervisor.__exit__(None, None, None)
        self._redis.flushdb()
        self._redis.close()

    def start_workers(self) -> int:
        """Returns the pid above them when all listen."""
        arguments = ["work", "--processes", str(PROCESSES), "--threads", str(THREADS)]
        child = self._supervisor.start("stock", MODULE, {"dramatiq_queue_prefetch": str(PREFETCH)}, arguments)
        if not meter.wait_until(lambda: self._redis.zcard(_HEARTBEATS) >= PROCESSES or not child.is_running, 30.0):
            raise Unavailable("the stock Dramatiq workers did not start in 30 s")
        if not child.is_running:
            raise Unavailable(child.obituary())
        return child.pid

    def send(self, size: int) -> tuple[float, float]:
        """Has a process send all; returns when it began (monotonic seconds) and the CPU seconds that it took."""
        self._supervisor.start("sender", MODULE, args=["send", str(size)])
        told = self._supervisor.wait_ready("sender", TIMEOUT_S)
        return float(str(told["begun"])), float(str(told["cpu_s"]))

    def hide(self) -> None:
        """Takes the queue away from the workers until `show`."""
        for key in (_IDS, _BODIES):
            self._redis.rename(key, _HIDDEN + key)

    def show(self) -> None:
        with self._redis.pipeline(transaction=True) as pipe:
            for key in (_IDS, _BODIES):
                pipe.rename(_HIDDEN + key, key)
            pipe.execute()

    def await_begun(self, size: int) -> None:
        meter.wait_until(lambda: self._redis.llen(_IDS) < size, TIMEOUT_S, 0.001)

    def await_done(self) -> None:
        """A message's body goes with its acknowledgement."""
        if not meter.wait_until(lambda: self._redis.hlen(_BODIES) == 0, TIMEOUT_S):
            raise Unavailable(f"stock Dramatiq did not work off its queue in {TIMEOUT_S:g} s")


def _silent(name: str, line: str) -> None:
    """The rival's log is of no interest unless it ends: its last lines are kept anyway."""
