"""Asks workers to settle callbacks that were stored and never settled: the api died, or Redis lost the request."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import boottime, real_now
from engine.coordinator.hold import Hold
from engine.jobs import Actor, Queue, enqueue
from engine.runtime import Runtime

# Younger ones have their own request on the way.
_UNSETTLED = text("""
    select id from carrier_callbacks
     where processed_at is null and received_at < cast(:now as timestamptz) - interval '1 second'
     order by id limit :limit
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
        fresh = self._hold.take(await unsettled(self._reader), boottime())
        groups = [[fresh[start : start + _PER_MESSAGE]] for start in range(0, len(fresh), _PER_MESSAGE)]
        await enqueue(self._queue, Queue.SETTLE, Actor.SETTLE_CALLBACKS, groups)
        return len(fresh)


async def unsettled(reader: AsyncEngine) -> list[int]:
    """Ids of the callbacks that should have been settled by now, the oldest first."""
    async with reader.connect() as conn:
        return list((await conn.execute(_UNSETTLED, {"limit": _LIMIT, "now": real_now()})).scalars())
