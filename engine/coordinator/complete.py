"""Completes campaigns in which nothing is open any more. The store decides, under the campaign's key (P1)."""

import structlog

from engine.clock import boottime
from engine.coordinator.shard import Shard, Walk
from engine.runtime import Runtime
from engine.store import campaigns, counts

log = structlog.get_logger(__name__)


class Complete:
    every_s = 0.25

    def __init__(self, runtime: Runtime, shard: Shard) -> None:
        self._runtime, self._shard = runtime, shard
        self._reader = runtime.reader

    async def run_once(self) -> int:
        """Returns how many campaigns were completed."""
        idle = {walk.campaign.id: walk for walk in self._shard.dialing() if _is_idle(walk, boottime())}
        if not idle:
            return 0
        async with self._reader.connect() as conn:
            found = await counts.read_many(conn, list(idle))
        nothing_open = [
            campaign_id
            for campaign_id in idle
            if (sums := found.get(campaign_id)) is None or sums["completed"] + sums["cancelled"] == sums["total"]
        ]
        return sum([await self._complete(idle[campaign_id]) for campaign_id in nothing_open])

    async def _complete(self, walk: Walk) -> bool:
        campaign = walk.campaign
        if not await campaigns.complete_if_done(self._runtime.db, campaign.id, self._runtime.clock.now()):
            return False
        self._shard.drop(campaign.id)
        log.info("campaign.completed", campaign=campaign.public_id)
        return True


def _is_idle(walk: Walk, now: float) -> bool:
    """Whether the last claim came to the end; a campaign of one-off calls never does."""
    return not walk.waiting and walk.look_at > now and not walk.campaign.is_direct
