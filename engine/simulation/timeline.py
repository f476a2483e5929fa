"""The time of a simulation: microseconds that pass from one scripted moment to the next, and clocks that jump."""

import heapq
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from zlib import crc32

from engine.ids import id_at

REAL_START_S = 1_767_225_600.0  # 2026-01-01: where the machines' clocks stand when a history begins
BOOT_START_S = 1_000.0

Act = Callable[[], Awaitable[None]]


class VirtualTime:
    """`engine.clock.Time`: `real_s` jumps when the script says so, `boot_s` never does."""

    def __init__(self) -> None:
        self.now_us = 0
        self.jumped_s = 0.0

    def real_s(self) -> float:
        return REAL_START_S + self.jumped_s + self.now_us / 1e6

    def boot_s(self) -> float:
        return BOOT_START_S + self.now_us / 1e6


class Ids:
    """`engine.ids.new_id` of a history: the machines' time, and in place of chance how many there were before."""

    def __init__(self, time: VirtualTime) -> None:
        self._time = time
        self._count = 0

    def __call__(self) -> int:
        self._count += 1
        return id_at(datetime.fromtimestamp(self._time.real_s(), UTC)) + self._count


class Died(Exception):
    """The process whose step this was is gone; what it was doing ends here."""


class Process:
    """What can die. Whatever it had planned dies with it: plans bear the number of the life they were made in."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.life = 0
        self.is_up = True
        self.stopped_until_us = 0
        self.done: dict[str, int] = {}  # steps of each kind

    def forget(self) -> None:
        """Its memory dies with it."""

    def count(self, step: str) -> int:
        self.done[step] = self.done.get(step, 0) + 1
        return self.done[step]


class Timeline:
    """What will happen, in order of time; at one moment in the order in which it was planned."""

    def __init__(self, time: VirtualTime, seed: int) -> None:
        self.time = time
        self._seed = seed
        self._planned: list[tuple[int, int, Process | None, int, Act]] = []
        self._count = 0
        self.pending = 0  # plans that are no mere look at the store

    def after(self, wait_s: float, process: Process | None, act: Act, *, is_look: bool = False) -> None:
        """Plans `act` of a process, or of the world, in `wait_s` seconds. Looks alone do not keep a history going."""
        self._count += 1
        at_us = self.time.now_us + max(1, round(wait_s * 1e6))
        life = -1 if is_look else process.life if process else 0
        if not is_look:
            self.pending += 1
        heapq.heappush(self._planned, (at_us, self._count, process, life, act))

    async def next(self) -> bool:
        """Does what comes next; False when nothing does."""
        if not self._planned:
            return False
        at_us, number, process, life, act = heapq.heappop(self._planned)
        if process is not None and process.is_up and process.stopped_until_us > at_us and life in (-1, process.life):
            heapq.heappush(self._planned, (process.stopped_until_us, number, process, life, act))
            return True
        self.time.now_us = at_us
        if life != -1:
            self.pending -= 1
        if process is None or life == -1 or (process.is_up and life == process.life):
            await act()
        return True

    def spread(self, least_s: float, most_s: float, *about: object) -> float:
        """A duration between the two that depends on the seed and on what it is about, and on nothing else."""
        share = crc32(repr((self._seed, about)).encode()) / 2**32
        return least_s + share * (most_s - least_s)
