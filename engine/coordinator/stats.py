"""`campaign.stats.updated`: at most once a second per campaign, only when its counters have changed, and at its end."""

from collections.abc import Mapping

from engine.coordinator.shard import Shard, Walk
from engine.ids import encode
from engine.rules import stats
from engine.rules.events import Event
from engine.rules.pacing import Figure
from engine.runtime import Runtime
from engine.store import call_hours, counts, outbox

_MOST_TOLD = 10_000


class Stats:
    every_s = 1.0

    def __init__(self, runtime: Runtime, shard: Shard) -> None:
        self._runtime, self._shard = runtime, shard
        self._told: dict[int, Mapping[str, int]] = {}

    async def run_once(self) -> int:
        """Returns how many events were published."""
        ended = list(self._shard.ended)
        walks = {walk.campaign.id: walk for walk in [*ended, *self._shard.walks.values()]}
        walks = {key: walk for key, walk in walks.items() if not walk.campaign.is_direct}
        changed: dict[int, Mapping[str, int]] = {}
        if walks:
            async with self._runtime.db.begin() as conn:
                found = await counts.read_many(conn, list(walks))
                changed = {key: sums for key, sums in found.items() if self._is_news(walks[key], sums)}
                figures = await call_hours.figures(conn, list(changed), self._runtime.clock.now()) if changed else {}
                await outbox.publish(conn, self._events(walks, changed, figures))
            self._remember(found)
        self._shard.ended = self._shard.ended[len(ended) :]
        return len(changed)

    def _events(
        self, walks: Mapping[int, Walk], changed: Mapping[int, Mapping[str, int]], figures: Mapping[int, Figure]
    ) -> dict[int, list[str]]:
        now = self._runtime.clock.now()
        events: dict[int, list[str]] = {}
        for campaign_id, sums in changed.items():
            public_id = encode("camp", campaign_id)
            shown = stats.wire(sums, figures.get(campaign_id, Figure()).rate)
            event = Event("campaign.stats.updated", now, {"id": public_id, "stats": shown}, unique_id=public_id)
            events.setdefault(walks[campaign_id].campaign.account_id, []).append(event.encode())
        return events

    def _is_news(self, walk: Walk, sums: Mapping[str, int]) -> bool:
        """Of a campaign taken over from another coordinator we do not know what was told; of a fresh one: nothing."""
        told = self._told.get(walk.campaign.id)
        return walk.epoch == 1 if told is None else told != sums

    def _remember(self, found: Mapping[int, Mapping[str, int]]) -> None:
        """Also of campaigns that are paused and come back; the oldest are forgotten."""
        for key, sums in found.items():
            self._told.pop(key, None)
            self._told[key] = sums
        for key in list(self._told)[: max(0, len(self._told) - _MOST_TOLD)]:
            del self._told[key]
