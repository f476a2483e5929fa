"""Asks workers to look after attempts whose time is up: doubtful creates, calls and reports that never came.

Every coordinator looks at all attempts, those of paused and finished campaigns included; a doubled request settles
nothing twice.
"""

from sqlalchemy import text

from engine.clock import boottime
from engine.coordinator.hold import Hold
from engine.jobs import Actor, Queue, enqueue
from engine.runtime import Runtime

# `clock_timestamp()` would be asked for each row, so that the index could not end the search.
_OVERDUE = text("""
    select campaign_id, prospect_id, attempt from attempts
     where check_at <= statement_timestamp() order by check_at limit :limit
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
        async with self._reader.connect() as conn:
            rows = (await conn.execute(_OVERDUE, {"limit": _LIMIT})).all()
        now = boottime()
        overdue = {(row.prospect_id, row.attempt): list(row) for row in rows}
        fresh = [overdue[key] for key in self._hold.take(overdue, now)]
        groups = [[fresh[start : start + _PER_MESSAGE]] for start in range(0, len(fresh), _PER_MESSAGE)]
        await enqueue(self._queue, Queue.SETTLE, Actor.WATCH_ATTEMPTS, groups)
        return len(fresh)
