"""Enqueues again what was left behind the cursors: hints lost with Redis or a worker, and rows that came in late.

It reads what is still queued behind each cursor and compares that with the hints in memory. A row without a live hint
waits to be enqueued again; a hint without a queued row has been begun and is forgotten. What remains is the campaign's
true backlog, which corrects the pace's own estimate.

After an outage nothing waits for its lease: a mark beside the queue that is gone tells that the hints are gone with it,
and workers drop what they hold while a server is away. So all hints are forgotten then, and those that did survive come
twice, which the intent refuses.

The look back costs what lies dead behind the cursor, which under an old snapshot grows with the campaign. So it runs
beside the dispatch, and never for more than a tenth of the time. Whether the mark is there costs nothing to ask, so
`Loss` asks more often.
"""

import asyncio
import secrets

import structlog

from engine.clock import boottime
from engine.coordinator.claim import queued_behind, read_due
from engine.coordinator.shard import START, Shard
from engine.runtime import Runtime

log = structlog.get_logger(__name__)

_EVERY_S = 2.0
_GLANCE_S = 0.25
_REST = 9  # times as long as it took
_MARK, _MARK_S = "carillon:queue", 60


class Rescue:
    every_s = _EVERY_S

    def __init__(self, runtime: Runtime, shard: Shard) -> None:
        self._db, self._clock = runtime.reader, runtime.clock
        self._queue = runtime.queue
        self._shard = shard
        self.mark = f"{_MARK}:{secrets.token_hex(6)}"  # each coordinator has its own
        self.is_marked = False
        self._was_away = False
        self._hint_lease_s = runtime.settings.hint_lease_s

    async def run_once(self) -> int:
        """Returns how many prospects wait to be enqueued again."""
        was_away, self._was_away = self._was_away, True  # until this run has met no outage
        if await self._is_queue_lost() or was_away:
            for walk in self._shard.walks.values():
                walk.hints.clear()
            log.info("hints.forgotten")
        renewed = await self._renew()
        self._was_away = False
        return renewed

    async def _renew(self) -> int:
        begun, clock = boottime(), self._clock
        engine_s = clock.now().timestamp()
        walks = [walk for walk in self._shard.dialing() if walk.cursor != START]
        if not walks:
            return 0
        behind = await queued_behind(self._db, walks)
        lost = {
            walk.campaign.id: walk.left_behind(behind[walk.campaign.id], begun, clock, engine_s, self._hint_lease_s)
            for walk in walks
        }
        wanted = {walk.campaign.id: (walk.campaign.is_direct, lost[walk.campaign.id]) for walk in walks}
        found = await read_due(self._db, {key: value for key, value in wanted.items() if value[1]}, clock.now())
        for walk in walks:
            again = found.get(walk.campaign.id, [])
            walk.waiting.extend(again)
            if again:
                log.info("hints.renewed", campaign=walk.campaign.public_id, prospects=len(again))
        self.every_s = max(_EVERY_S, _REST * (boottime() - begun))
        return sum(map(len, found.values()))

    async def _is_queue_lost(self) -> bool:
        """Whether the mark that the last run left is gone. Leaves a new one."""
        was_marked, self.is_marked = self.is_marked, True
        found = await self._queue.set(self.mark, 1, ex=max(_MARK_S, int(3 * self.every_s)), get=True)
        return was_marked and found is None


class Loss:
    """Wakes the rescue as soon as its mark is gone."""

    every_s = _GLANCE_S

    def __init__(self, runtime: Runtime, rescue: Rescue, nudge: asyncio.Event) -> None:
        self._queue, self._rescue, self._nudge = runtime.queue, rescue, nudge

    async def run_once(self) -> bool:
        """Returns whether it was gone."""
        is_lost = self._rescue.is_marked and not await self._queue.exists(self._rescue.mark)
        if is_lost:
            self._nudge.set()
        return is_lost
