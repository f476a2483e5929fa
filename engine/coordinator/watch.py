"""Asks workers to look after attempts whose time is up: doubtful creates, calls and reports that never came.

Every coordinator looks at all attempts, those of paused and finished campaigns included; a doubled request settles
nothing twice.

Who was answered leaves a dead entry at the front of the index (`Front`). So a look begins where the last one found the
first that was due. Attempts are given times to come, so hardly any is written before that; what is nevertheless (clocks
that disagree, a slow commit) a look from the front finds.
"""

from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import boottime, real_now
from engine.coordinator.front import Front
from engine.coordinator.hold import Hold
from engine.jobs import Actor, Queue, enqueue
from engine.runtime import Runtime

_OVERDUE = text("""
    select campaign_id, prospect_id, attempt, check_at from attempts
     where check_at >= cast(:since as timestamptz) and check_at <= :now order by check_at limit :limit
""")
_LIMIT = 5_000
_PER_MESSAGE = 100
_HOLD_S = 2.0  # a worker answers within this, or is asked again
_EVERY_S = 0.25
_REST = 3  # times as long as it took
_LOOK_BACK = timedelta(seconds=10)


class Watch:
    """`every_s` grows with what there is to look at, so that a crowd costs no more than a quarter of the time."""

    def __init__(self, runtime: Runtime) -> None:
        self._reader = runtime.reader
        self._queue = runtime.queue
        self._hold: Hold[tuple[int, int]] = Hold(_HOLD_S)
        self._since: datetime | None = None  # real; None: from the front
        self.front = Front()
        self.every_s = _EVERY_S

    async def run_once(self) -> int:
        """Returns how many attempts workers were asked to look at."""
        begun = boottime()
        found = {(key[1], key[2]): list(key) for key in await self._look()}
        fresh = [found[key] for key in self._hold.take(found, boottime())]
        groups = [[fresh[start : start + _PER_MESSAGE]] for start in range(0, len(fresh), _PER_MESSAGE)]
        await enqueue(self._queue, Queue.SETTLE, Actor.WATCH_ATTEMPTS, groups)
        self.every_s = max(_EVERY_S, _REST * (boottime() - begun))
        return len(fresh)

    async def _look(self) -> list[tuple[int, int, int]]:
        begun, now = boottime(), real_now()
        is_from_front = self.front.is_due(begun)
        found, first = await overdue(self._reader, now, None if is_from_front else self._since)
        if is_from_front:
            self.front.was_read(begun)
        self._since = min(first or now, now - _LOOK_BACK)
        return found


async def overdue(
    reader: AsyncEngine, now: datetime, since: datetime | None = None
) -> tuple[list[tuple[int, int, int]], datetime | None]:
    """Campaign, prospect and number of the attempts whose time came after `since`, the longest overdue first; and when
    that was."""
    params = {"since": since.isoformat() if since else "-infinity", "now": now, "limit": _LIMIT}
    async with reader.connect() as conn:
        rows = (await conn.execute(_OVERDUE, params)).all()
    return [(row.campaign_id, row.prospect_id, row.attempt) for row in rows], rows[0].check_at if rows else None
