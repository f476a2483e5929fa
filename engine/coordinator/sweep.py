"""Marks the rows of cancelled campaigns. The counters moved with the cancel; until the sweep, readers see the rows so.

A cancelled campaign is kept until nothing of it is open: a call that was in progress may yet put its row back.
"""

from sqlalchemy import text

from engine.coordinator.shard import Shard, Walk
from engine.runtime import Runtime
from engine.store import campaigns

_BATCH = 5_000
_BATCHES = 10  # of one campaign in one run; the next campaign is not kept waiting by ten million rows
_RETIRE = text("""
    update campaigns set lease_owner = '', lease_until = 'infinity'
     where id = :id and status = 'cancelled' and lease_epoch = :epoch
       and not exists (select from prospects where campaign_id = :id and next_attempt_at < 'infinity')
""")


class Sweep:
    every_s = 0.5

    def __init__(self, runtime: Runtime, shard: Shard) -> None:
        self._db, self._shard = runtime.db, shard

    async def run_once(self) -> int:
        """Returns how many rows were marked."""
        cancelled = [walk for walk in self._shard.walks.values() if not walk.is_dialing]
        return sum([await self._sweep(walk) for walk in cancelled])

    async def _sweep(self, walk: Walk) -> int:
        swept = 0
        for _ in range(_BATCHES):
            async with self._db.begin() as conn:
                count = await campaigns.sweep_cancelled(conn, walk.campaign.id, _BATCH)
            swept += count
            if count < _BATCH:
                await self._retire(walk)
                break
        return swept

    async def _retire(self, walk: Walk) -> None:
        async with self._db.begin() as conn:
            done = await conn.execute(_RETIRE, {"id": walk.campaign.id, "epoch": walk.epoch})
        if done.rowcount:
            self._shard.drop(walk.campaign.id)
