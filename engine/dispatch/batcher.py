"""Gathers single items from any thread into batches for an async handler.

A batch starts at once when nothing has been under way, so an idle engine adds no latency. Under load items gather while
the lanes are busy, and a lane that has just finished a batch waits for the next to fill: natural group commit. It waits
`wait_s`, or as long as its batch took: the slower a machine is for its load, the larger and the fewer its batches. A
transaction costs as much for one row as for fifty, so a further lane begins only when half a batch waits.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import structlog

from engine.clock import boottime
from engine.outages import log_failure

log = structlog.get_logger(__name__)

T = TypeVar("T")

BUSY_S = 0.1  # a batch that follows another this closely is given time to fill
WORTH_A_LANE = 2  # a further lane begins with half a batch
LONGEST_WAIT_S = 0.1  # unless `wait_s` is longer: only an overloaded machine needs it, and no caller notices a tenth


class Batcher(Generic[T]):
    """`take` splits the next batch off the waiting items; by default the oldest `limit` of them."""

    def __init__(
        self,
        handle: Callable[[list[T], int], Awaitable[None]],
        *,
        limit: int,
        lanes: int,
        wait_s: float,
        take: Callable[[deque[T], int], list[T]] | None = None,
    ) -> None:
        self._handle = handle
        self._limit = limit
        self._wait_s = wait_s
        self._take = take or _oldest
        self._waiting: deque[T] = deque()
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._is_waking = False
        self._is_closing = False
        self._under_way = 0
        self._lanes = [asyncio.create_task(self._run(lane)) for lane in range(lanes)]

    def submit(self, item: T) -> None:
        """Adds one item; safe from any thread."""
        self._waiting.append(item)
        if not self._is_waking:
            self._is_waking = True
            self._loop.call_soon_threadsafe(self._on_wake)

    def submit_many(self, items: Sequence[T]) -> None:
        """Adds items from the loop's own thread."""
        self._waiting.extend(items)
        self._wake.set()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def oldest(self) -> T | None:
        """The item that has waited longest; None when none waits. From the loop's own thread."""
        return self._waiting[0] if self._waiting else None

    async def flush(self) -> None:
        """Returns when nothing waits and no batch is under way."""
        while self._waiting or self._under_way:
            self._wake.set()
            await asyncio.sleep(0.001)

    async def close(self) -> None:
        """Begins nothing more, and waits for batches under way."""
        self._is_closing = True
        self._wake.set()
        await asyncio.gather(*self._lanes)

    async def finish(self) -> None:
        """Handles everything submitted so far, then closes."""
        await self.flush()
        await self.close()

    def _on_wake(self) -> None:
        self._is_waking = False
        self._wake.set()

    async def _run(self, lane: int) -> None:
        busy_until = took_s = 0.0
        least = 1 if lane == 0 else max(1, self._limit // WORTH_A_LANE)
        while not self._is_closing:
            if len(self._waiting) < least:
                self._wake.clear()
                await self._wake.wait()
                continue
            if boottime() < busy_until and len(self._waiting) < self._limit:
                await asyncio.sleep(pause_s(self._wait_s, took_s))
                if len(self._waiting) < least or self._is_closing:
                    continue
            batch = self._take(self._waiting, self._limit)
            begun = boottime()
            self._under_way += 1
            try:
                await self._handle(batch, lane)
            except Exception as error:
                log_failure(log, "batch.failed", error, size=len(batch))
            self._under_way -= 1
            took_s = boottime() - begun
            busy_until = boottime() + BUSY_S


def pause_s(wait_s: float, took_s: float) -> float:
    """How long the next batch may fill after one that took `took_s`."""
    return max(wait_s, min(took_s, LONGEST_WAIT_S))


def _oldest(waiting: deque[T], limit: int) -> list[T]:
    return [waiting.popleft() for _ in range(min(limit, len(waiting)))]
