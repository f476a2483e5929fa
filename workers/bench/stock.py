"""The rival: stock Dramatiq with its default middleware and an empty actor, run by Dramatiq's own command line.

`python -m workers.bench.stock work …` consumes, with the arguments of `dramatiq`; `… send COUNT` enqueues.
"""

import os
import sys
import time

import dramatiq
from dramatiq import cli
from dramatiq.brokers.redis import RedisBroker

from engine.embedded.lifeline import report_ready, watch_parent

URL_VARIABLE = "CARILLON_BENCH_STOCK_URL"
QUEUE = "bench_stock"


def declare() -> "dramatiq.Actor[[int], None]":
    """Makes the stock broker at the environment's URL the process's own and declares the empty actor on it."""
    dramatiq.set_broker(RedisBroker(url=os.environ[URL_VARIABLE]))  # type: ignore[no-untyped-call]

    @dramatiq.actor(queue_name=QUEUE, actor_name="empty")
    def empty(number: int) -> None:
        """Does nothing."""

    return empty


def work(arguments: list[str]) -> int:
    sys.argv = ["dramatiq", "workers.bench.stock:declare", *arguments]
    return cli.main()  # type: ignore[no-untyped-call, no-any-return]


def send(count: int) -> int:
    """Enqueues `count` messages one by one, as a program that uses Dramatiq does."""
    empty = declare()
    begun = time.monotonic()
    for number in range(count):
        empty.send(number)
    report_ready(begun=begun, cpu_s=time.process_time())
    return 0


if __name__ == "__main__":
    watch_parent()
    sys.exit(work(sys.argv[2:]) if sys.argv[1] == "work" else send(int(sys.argv[2])))
