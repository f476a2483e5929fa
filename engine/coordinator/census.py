"""Counts for the metrics what no process sees by itself: numbers by state, attempts in doubt, and what is queued."""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine import metrics
from engine.clock import add, real_now
from engine.jobs import NAMESPACE, Queue
from engine.rules.attempt import AttemptState
from engine.rules.decision import LONGEST_LOOKUP_PAUSE_S
from engine.runtime import Runtime
from engine.store import did_pool

_IN_DOUBT = text(f"select count(*) from attempts where state = {AttemptState.UNKNOWN:d} and check_at < :until")


class Census:
    every_s = 15.0

    def __init__(self, runtime: Runtime) -> None:
        self._reader, self._queue = runtime.reader, runtime.queue
        # Who is in doubt is looked up again within this. Most attempts have hours until they are looked at.
        self._soon_s = max(LONGEST_LOOKUP_PAUSE_S, runtime.settings.ticket_s + runtime.settings.carrier_timeout_s)

    async def run_once(self) -> None:
        for queue in Queue:
            metrics.QUEUE_DEPTH.labels(queue).set(await self._queue.llen(f"{NAMESPACE}:{queue}"))
        metrics.UNKNOWN_OPEN.set(await in_doubt(self._reader, add(real_now(), self._soon_s)))
        async with self._reader.connect() as conn:
            for state, numbers in (await did_pool.count_by_state(conn)).items():
                metrics.DIDS.labels(state).set(numbers)


async def in_doubt(reader: AsyncEngine, until: datetime) -> int:
    """Attempts whose create has no answer yet, of those that are looked at before `until` (real)."""
    async with reader.connect() as conn:
        return int((await conn.execute(_IN_DOUBT, {"until": until})).scalar_one())
