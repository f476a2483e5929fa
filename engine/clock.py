"""The one place that reads the time.

Two times run side by side. **Engine time** is the civil time that contact rules see: windows, retries, limits of a
minute or more, event stamps. In development it can be set and sped up, so that a demo crosses a day in a minute. **Real
time** is never scaled: tickets, leases, heartbeats, timeouts, calls per second, signatures. The mapping between them is
one row in PostgreSQL (`engine_clock`), the same for every process.

The simulation puts its own time in place (`under`), so that a history of days takes milliseconds and repeats exactly.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Time(Protocol):
    """Where seconds come from: since the epoch, and since some start without ever jumping."""

    def real_s(self) -> float: ...
    def boot_s(self) -> float: ...


_time: ContextVar[Time | None] = ContextVar("time", default=None)  # None: the machine's


@contextmanager
def under(source: Time) -> Iterator[None]:
    """What is called and started inside takes its time from `source`."""
    token = _time.set(source)
    try:
        yield
    finally:
        _time.reset(token)


@dataclass(frozen=True, slots=True)
class Clock:
    """Maps real to engine time: `engine = engine_anchor + speed × (real − real_anchor)`; anchors are epoch seconds."""

    real_anchor: float = 0.0
    engine_anchor: float = 0.0
    speed: float = 1.0

    def now(self) -> datetime:
        """Engine time, aware, UTC."""
        return self.engine_at(real_s())

    def engine_at(self, real_s: float) -> datetime:
        """Engine time at a real epoch second."""
        return datetime.fromtimestamp(self.engine_anchor + self.speed * (real_s - self.real_anchor), UTC)

    def real_at(self, engine: datetime) -> float:
        """The real epoch second at which engine time reads `engine`."""
        return self.real_anchor + (engine.timestamp() - self.engine_anchor) / self.speed

    @property
    def is_real(self) -> bool:
        """True when engine time is wall time: the only clock allowed with live keys or a real carrier."""
        return self.speed == 1.0 and abs(self.engine_anchor - self.real_anchor) < 1.0


def starting_at(engine: datetime, speed: float) -> Clock:
    """A clock that reads `engine` now and runs at `speed` engine seconds per real second."""
    return Clock(real_anchor=real_s(), engine_anchor=engine.timestamp(), speed=speed)


def real_s() -> float:
    """Wall time in seconds since the epoch."""
    source = _time.get()
    return time.time() if source is None else source.real_s()


def real_now() -> datetime:
    """Wall time, aware, UTC."""
    return datetime.fromtimestamp(real_s(), UTC)


def boottime() -> float:
    """Seconds that never jump and keep counting while the machine sleeps: deadlines of tickets and leases.

    CLOCK_MONOTONIC stops during suspend, so a resumed laptop or migrated VM would think an old ticket fresh.
    """
    source = _time.get()
    return time.clock_gettime(_BOOT_CLOCK) if source is None else source.boot_s()


async def until(moment: float) -> None:
    """Returns at `moment` of `boottime`, and not before it: timers of uvloop count whole milliseconds, and a fifth of
    all waits are over up to one too soon."""
    while (left_s := moment - boottime()) > 0:  # noqa: ASYNC110 - it is time that is waited for
        await asyncio.sleep(max(left_s, _TICK_S))


_TICK_S = 0.001
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def iso(moment: datetime) -> str:
    """`2026-01-01T00:00:00.000Z`, the form of every timestamp on the wire."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def add(moment: datetime, seconds: float) -> datetime:
    return moment + timedelta(seconds=seconds)
