"""One process that delivers webhooks: every duty in its own task, from start to SIGTERM. Any number may run."""

import asyncio
import secrets
from collections.abc import Collection, Mapping

import aiohttp
import structlog

from engine.clock import boottime
from engine.coordinator.duty import Duty, Keeper, end
from engine.dispatch.batcher import Batcher
from engine.outages import AWAY, words
from engine.runtime import Runtime
from engine.webhooks.endpoint import Result, Ways
from engine.webhooks.leases import Leases, Renewal
from engine.webhooks.pump import Pump
from engine.webhooks.record import Recorder
from engine.webhooks.scan import Scan
from engine.webhooks.send import Sender
from engine.webhooks.upkeep import Count, Expire, Purge

log = structlog.get_logger(__name__)

POOL_SIZE = 8  # one connection per duty
_STALE_S = 15.0
_BATCH = 500  # results recorded in one transaction
_BATCH_WAIT_S = 0.002


class Deliverer:
    def __init__(self, runtime: Runtime, session: aiohttp.ClientSession, owner: str | None = None) -> None:
        settings = runtime.settings
        self.owner = owner or secrets.token_hex(6)
        sender = Sender(session, allow_private=settings.webhook_allow_private, timeout_s=settings.webhook_timeout_s)
        self._nudge = asyncio.Event()
        self._results: Batcher[Result] = Batcher(
            Recorder(runtime, self.owner).record, limit=_BATCH, lanes=1, wait_s=_BATCH_WAIT_S
        )
        ways = Ways(
            send=sender.send,
            done=lambda result: self._results.submit_many([result]),
            hungry=self._nudge.set,
            permits=asyncio.Semaphore(settings.webhook_connections),
            width=settings.webhook_width,
        )
        self.leases = Leases(runtime, self.owner, ways)
        self.pump = Pump(runtime, self.leases)
        self.scan = Scan(runtime, self._on_found)
        duties: list[Duty] = [self.leases, Expire(runtime), Purge(runtime), Count(runtime)]
        self._keepers = [Keeper(self.scan), Keeper(self.pump, self._nudge), *map(Keeper, duties)]
        self._renewal = Keeper(Renewal(self.leases, settings.lease_s))

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set; then waits for the requests under way and gives its leases up."""
        log.info("webhooks.started", owner=self.owner)
        async with asyncio.TaskGroup() as group:
            tasks = {keeper: group.create_task(keeper.keep()) for keeper in self._keepers}
            renewing = group.create_task(self._renewal.keep())
            await stop.wait()
            await end(tasks)
            await self.leases.close()
            await self._results.finish()
            await end({self._renewal: renewing})  # last: nobody else sends meanwhile
        try:
            await self.leases.release_all()
        except AWAY as error:
            log.warning("webhooks.release_failed", error=words(error))  # they expire
        log.info("webhooks.stopped", owner=self.owner)

    def health(self) -> Mapping[str, bool]:
        """Whether the two duties that all deliveries depend on have lately succeeded."""
        since = boottime() - _STALE_S
        return {"scan": self._keepers[0].last_success > since, "pump": self._keepers[1].last_success > since}

    async def _on_found(self, webhook_ids: Collection[int]) -> None:
        await self.leases.take(webhook_ids)
        self.pump.wake(webhook_ids)
        self._nudge.set()
