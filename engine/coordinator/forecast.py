"""Renews what is believed of the calls to come, for campaigns that call ahead of their agents (`rules.pacing`).

The forecast is a row, so every worker's intent goes by the same one. When nobody renews it any more it is not believed,
and calling is progressive until somebody does.
"""

import structlog

from engine import metrics
from engine.coordinator.shard import Shard, Walk
from engine.errors import InvalidInput
from engine.rules.campaign_config import VoiceMode, parse_mode
from engine.rules.pacing import Calls, Figure, Forecast, Pacing, Recent, Stage, forecast
from engine.runtime import Runtime
from engine.store import call_hours, calls_up

log = structlog.get_logger(__name__)


class Forecasts:
    every_s = 1.0

    def __init__(self, runtime: Runtime, shard: Shard) -> None:
        self._runtime, self._shard = runtime, shard

    async def run_once(self) -> int:
        """Returns how many forecasts were renewed."""
        walks = {walk.campaign.id: walk for walk in self._shard.dialing() if _calls_ahead(walk)}
        if not walks:
            return 0
        ids, now = list(walks), self._runtime.clock.now()
        async with self._runtime.db.begin() as conn:
            before = await call_hours.last_forecasts(conn, ids)
            figures = await call_hours.figures(conn, ids, now)
            recent = await call_hours.recent(conn, ids, now)
            calls = await calls_up.with_agents(conn, ids)
            made = {
                each: forecast(
                    before.get(each, Forecast()),
                    figures.get(each, Figure()),
                    recent.get(each, Recent()),
                    calls.get(each, Calls()).up,
                )
                for each in ids
            }
            await call_hours.save(conn, made)
        for each, found in made.items():
            self._tell(walks[each], before.get(each, Forecast()).stage, found)
        return len(made)

    def _tell(self, walk: Walk, before: Stage, found: Forecast) -> None:
        if found.stage is before:
            return
        metrics.PACING_STAGES.labels(found.stage.name.lower()).inc()
        log.info(
            "pacing.changed",
            campaign=walk.campaign.public_id,
            stage=found.stage.name.lower(),
            abandon_rate=round(found.figure.rate, 4),
        )


def _calls_ahead(walk: Walk) -> bool:
    if walk.is_sms or walk.campaign.is_direct:
        return False
    try:
        mode = parse_mode(walk.campaign.channel, walk.campaign.mode)
    except InvalidInput:  # nobody of it is contacted: see `dispatch.campaigns`
        return False
    return isinstance(mode, VoiceMode) and mode.pacing is Pacing.PREDICTIVE
