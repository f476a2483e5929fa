"""Pauses marketing campaigns that must ask the national do-not-call registry while no fresh copy of it is loaded.

No intent is given without one in any case; the pause is for somebody to hear of it, and says why.
"""

import structlog
from sqlalchemy import text

from engine import metrics
from engine.carriers.catalog import is_simulated
from engine.coordinator.shard import Shard
from engine.dispatch.campaigns import compliance_of
from engine.ids import encode
from engine.rules import registry
from engine.rules.purpose import Purpose
from engine.rules.registry import NATIONAL
from engine.runtime import Runtime
from engine.store import campaigns, registries

log = structlog.get_logger(__name__)

_MUST_ASK = text("""
    select c.id, c.is_live, c.carrier, (a.settings -> 'compliance')::text as compliance
      from campaigns c join accounts a on a.id = c.account_id where c.id = any(cast(:ids as bigint[]))
""")


class Registries:
    every_s = 2.0

    def __init__(self, runtime: Runtime, shard: Shard) -> None:
        self._runtime, self._shard = runtime, shard

    async def run_once(self) -> int:
        """Returns how many campaigns were paused."""
        now = self._runtime.clock.now()
        async with self._runtime.reader.connect() as conn:
            copies = await registries.dates(conn)
        for code, as_of in copies.items():
            metrics.REGISTRY_AGE_DAYS.labels(code).set((now.date() - as_of).days)
        wrong = registry.unfit(NATIONAL, copies, now.date())
        if not wrong:
            return 0
        reason, paused = f"registry_{wrong}", 0
        for campaign_id in await self._must_ask():
            if await campaigns.pause_for(self._runtime.db, campaign_id, reason, now) is not None:
                metrics.REGISTRY_PAUSES.labels(reason).inc()
                log.warning("campaign.paused", campaign=encode("camp", campaign_id), reason=reason)
                paused += 1
            self._shard.drop(campaign_id)
        return paused

    async def _must_ask(self) -> list[int]:
        """Campaigns of ours that call for marketing under an account that must ask."""
        ids = [
            walk.campaign.id
            for walk in self._shard.dialing()
            if walk.campaign.purpose is Purpose.MARKETING and not walk.campaign.is_direct
        ]
        if not ids:
            return []
        async with self._runtime.reader.connect() as conn:
            rows = (await conn.execute(_MUST_ASK, {"ids": ids})).all()
        return [
            row.id
            for row in rows
            if compliance_of(row.compliance, is_real=row.is_live and not is_simulated(row.carrier)).requires_registry
        ]
