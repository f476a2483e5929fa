"""Asks workers to look after attempts whose time is up: doubtful creates, calls and reports that never came.

Every coordinator looks at all attempts, those of paused and finished campaigns included; a doubled request settles
nothing twice.
"""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import boottime, real_now
from engine.coordinator.hold import Hold
from engine.jobs import Actor, Queue, enqueue
from engine.runtime import Runtime

_OVERDUE = text("""
    select campaign_id, prospect_id, attempt from attempts
     where check_at <= :now order by check_at limit :limit
""")
_LIMIT = 5_000
_PER_MESSAGE = 100
_HOLD_S = 2.0  # a worker answers within this, or is asked again


class Watch:
    every_s = 0.25

    def __init__(self, runtime: Runtime) -> None:
        self._reader = runtime.reader
        self._queue = runtime.queue
        self._hold: Hold[tuple[int, int]] = Hold(_HOLD_S)

    async def run_once(self) -> int:
        """Returns how many attempts workers were asked to look at."""
        found = {(key[1], key[2]): list(key) for key in await overdue(self._reader)}
        fresh = [found[key] for key in self._hold.take(found, boottime())]
        groups = [[fresh[start : start + _PER_MESSAGE]] for start in range(0, len(fresh), _PER_MESSAGE)]
        await enqueue(self._queue, Queue.SETTLE, Actor.WATCH_ATTEMPTS, groups)
        return len(fresh)


async def overdue(reader: AsyncEngine) -> list[tuple[int, int, int]]:
    """Campaign, prospect and number of the attempts whose time has come, the longest overdue first."""
    async with reader.connect() as conn:
        rows = await conn.execute(_OVERDUE, {"limit": _LIMIT, "now": real_now()})
        return [(row.campaign_id, row.prospect_id, row.attempt) for row in rows]
