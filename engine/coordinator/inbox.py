"""Asks workers to settle callbacks that were stored and never settled: the api died, or Redis lost the request."""

from sqlalchemy import text

from engine.clock import boottime
from engine.coordinator.hold import Hold
from engine.jobs import Actor, Queue, enqueue
from engine.runtime import Runtime

# Younger ones have their own request on the way.
_UNSETTLED = text("""
    select id from carrier_callbacks
     where processed_at is null and received_at < clock_timestamp() - interval '1 second' order by id limit :limit
""")
_LIMIT = 5_000
_PER_MESSAGE = 100
_HOLD_S = 2.0


class Inbox:
    every_s = 0.5

    def __init__(self, runtime: Runtime) -> None:
        self._reader = runtime.reader
        self._queue = runtime.queue
        self._hold: Hold[int] = Hold(_HOLD_S)

    async def run_once(self) -> int:
        """Returns how many callbacks workers were asked to settle."""
        async with self._reader.connect() as conn:
            ids = list((await conn.execute(_UNSETTLED, {"limit": _LIMIT})).scalars())
        fresh = self._hold.take(ids, boottime())
        groups = [[fresh[start : start + _PER_MESSAGE]] for start in range(0, len(fresh), _PER_MESSAGE)]
        await enqueue(self._queue, Queue.SETTLE, Actor.SETTLE_CALLBACKS, groups)
        return len(fresh)
