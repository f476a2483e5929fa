"""The coordinator's loop: every duty in its own task, from start to SIGTERM."""

import asyncio
import secrets
from collections.abc import Mapping
from functools import partial

import structlog

from engine import metrics
from engine.clock import boottime
from engine.coordinator.census import Census
from engine.coordinator.complete import Complete
from engine.coordinator.dispatch import Dispatch
from engine.coordinator.duty import Duty, Keeper, end
from engine.coordinator.forecast import Forecasts
from engine.coordinator.health import Health, Rests
from engine.coordinator.inbox import Inbox
from engine.coordinator.lease import Lease
from engine.coordinator.operations import Audit, Operations
from engine.coordinator.registries import Registries
from engine.coordinator.rescue import Loss, Rescue
from engine.coordinator.shard import Shard
from engine.coordinator.stats import Stats
from engine.coordinator.sweep import Sweep
from engine.coordinator.upkeep import Fold, Partitions, Purge
from engine.coordinator.usage import Usage
from engine.coordinator.wake import Wake
from engine.coordinator.watch import Watch
from engine.outages import AWAY, words
from engine.runtime import Runtime

log = structlog.get_logger(__name__)

POOL_SIZE = 19  # one connection per duty
_STALE_S = 15.0


class Coordinator:
    def __init__(self, runtime: Runtime, owner: str | None = None) -> None:
        self.owner = owner or secrets.token_hex(6)
        self.shard = Shard()
        nudge, lost = asyncio.Event(), asyncio.Event()
        self.lease = Lease(runtime, self.shard, self.owner)
        self.dispatch = Dispatch(runtime, self.shard)
        self.wake = Wake(runtime, self.shard, self.lease, self.owner, nudge)
        rescue = Rescue(runtime, self.shard)
        duties: list[Duty] = [
            self.lease,
            self.wake,
            Loss(runtime, rescue, lost),
            Complete(runtime, self.shard),
            Sweep(runtime, self.shard),
            Stats(runtime, self.shard),
            Usage(runtime, self.shard),
            Forecasts(runtime, self.shard),
            Watch(runtime),
            Inbox(runtime),
            Fold(runtime, self.shard),
            Partitions(runtime),
            Purge(runtime),
            Health(runtime),
            Rests(runtime),
            Census(runtime),
            Registries(runtime, self.shard),
            Operations(runtime),
            Audit(runtime),
        ]
        self._keepers = [Keeper(self.dispatch, nudge), *map(Keeper, duties), Keeper(rescue, lost)]
        for name, keeper in self._vital().items():
            metrics.DUTY_AGE_SECONDS.labels(name).set_function(partial(_age_s, keeper))

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set, then gives its leases up. Raises what no outage explains."""
        log.info("coordinator.started", owner=self.owner)
        async with asyncio.TaskGroup() as group:
            tasks = {keeper: group.create_task(keeper.keep()) for keeper in self._keepers}
            await stop.wait()
            await end(tasks)
        try:
            await self.wake.hand_over(await self.lease.release_all())
        except AWAY as error:
            log.warning("lease.release_failed", error=words(error))  # others find them when they look
        log.info("coordinator.stopped", owner=self.owner)

    def health(self) -> Mapping[str, bool]:
        """Whether the two duties that all work depends on have lately succeeded."""
        return {name: _age_s(keeper) < _STALE_S for name, keeper in self._vital().items()}

    def _vital(self) -> Mapping[str, Keeper]:
        return {"dispatch": self._keepers[0], "lease": self._keepers[1]}


def _age_s(keeper: Keeper) -> float:
    return boottime() - keeper.last_success
