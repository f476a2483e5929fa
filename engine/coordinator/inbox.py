"""Asks workers to settle callbacks that were stored and never settled: the api died, or Redis lost the request.

A callback that was settled leaves a dead entry at the front of the index (`Front`). So a look begins with the first
that the last one found, or else with the newest of the look from the front before the last, at least ten seconds ago.
What has a number before that and is committed only now, the next look from the front finds.
"""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import boottime, real_now
from engine.coordinator.front import Front
from engine.coordinator.hold import Hold
from engine.jobs import Actor, Queue, enqueue
from engine.runtime import Runtime

# Younger ones have their own request on the way.
_UNSETTLED = text("""
    select id from carrier_callbacks
     where processed_at is null and id >= :since and received_at < cast(:now as timestamptz) - interval '1 second'
     order by id limit :limit
""")
_NEWEST = text("select max(id) from carrier_callbacks")
_LIMIT = 5_000
_PER_MESSAGE = 100
_HOLD_S = 2.0
_EVERY_S = 0.5
_REST = 9  # times as long as it took


class Inbox:
    def __init__(self, runtime: Runtime) -> None:
        self.reader = runtime.reader
        self._queue = runtime.queue
        self.hold: Hold[int] = Hold(_HOLD_S)
        self.front = Front()
        self._since = self._floor = self._newest = 0  # ids
        self.every_s = _EVERY_S

    async def run_once(self) -> int:
        """Returns how many callbacks workers were asked to settle."""
        begun = boottime()
        fresh = self.hold.take(await self._look(), boottime())
        groups = [[fresh[start : start + _PER_MESSAGE]] for start in range(0, len(fresh), _PER_MESSAGE)]
        await enqueue(self._queue, Queue.SETTLE, Actor.SETTLE_CALLBACKS, groups)
        self.every_s = max(_EVERY_S, _REST * (boottime() - begun))
        return len(fresh)

    async def _look(self) -> list[int]:
        begun = boottime()
        is_from_front = self.front.is_due(begun)
        found = await unsettled(self.reader, 0 if is_from_front else self._since)
        if is_from_front:
            self._floor, self._newest = self._newest, await newest(self.reader)
            self.front.was_read(begun)
        self._since = min([self._floor, *found[:1]])
        return found


async def unsettled(reader: AsyncEngine, since: int = 0) -> list[int]:
    """Ids of the callbacks that should have been settled by now, the oldest from `since` on first."""
    async with reader.connect() as conn:
        params = {"since": since, "limit": _LIMIT, "now": real_now()}
        return list((await conn.execute(_UNSETTLED, params)).scalars())


async def newest(reader: AsyncEngine) -> int:
    """The id of the newest callback; 0 before the first."""
    async with reader.connect() as conn:
        return (await conn.execute(_NEWEST)).scalar_one() or 0
