"""Cuts what may be enqueued to the limits on calls at one time, so that few hints are refused at their intents.

The intent decides (`engine.dispatch.ceilings`); this only looks, without a lock, at the same counts. What it lets into
the queue and has not been begun yet counts as up. It is the estimate of `pace`, corrected by the rescue.
"""

from collections.abc import Sequence

from engine.clock import boottime
from engine.coordinator.shard import Walk
from engine.dispatch import ceilings
from engine.dispatch.campaigns import load_campaigns
from engine.dispatch.ceilings import Ceiling
from engine.runtime import Runtime

TTL_S = 1.0  # how long a campaign's limits are remembered; its calls are counted at every look

Ready = Sequence[tuple[Walk, int]]


class Headroom:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._known: dict[int, tuple[list[Ceiling], float]] = {}

    async def cut(self, ready: Ready) -> list[tuple[Walk, int]]:
        """The same campaigns with what their limits leave of their allowances, those without any room left out."""
        calls = [walk.campaign.id for walk, _ in ready if not walk.is_sms]
        await self._refresh(calls)
        limits = {campaign_id: self._known[campaign_id][0] for campaign_id in calls}
        distinct = {each.key: each for some in limits.values() for each in some}
        if not distinct:
            return list(ready)
        clock = self._runtime.clock
        async with self._runtime.reader.connect() as conn:
            rooms = await ceilings.rooms(conn, list(distinct.values()), clock.now(), clock.speed)
        cut = []
        for walk, allowance in ready:
            some = limits.get(walk.campaign.id, [])
            if some:
                ceilings.take(rooms, some, int(walk.backlog))  # on their way already
            if count := ceilings.take(rooms, some, allowance):
                cut.append((walk, count))
        return cut

    async def _refresh(self, ids: Sequence[int]) -> None:
        now = boottime()
        self._known = {key: entry for key, entry in self._known.items() if now - entry[1] <= TTL_S}
        if stale := [each for each in ids if each not in self._known]:
            async with self._runtime.reader.connect() as conn:
                facts = await load_campaigns(conn, stale)
            most = self._runtime.settings.carrier_concurrent_calls
            for each in stale:
                self._known[each] = (ceilings.ceilings_of(facts[each], most) if each in facts else [], now)
