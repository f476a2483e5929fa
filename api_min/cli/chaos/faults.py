"""Carries a plan out. What cannot be done at its moment, such as a kill of what is being started, is left out."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from api_min.cli.chaos.ending import Ending
from api_min.cli.chaos.plan import BACKGROUND, STORMS, Fault, Kind
from api_min.cli.chaos.stage import Stage
from engine.carriers.network.config import Faults

_SERVERS = {Kind.REDIS: "redis", Kind.POSTGRES: "postgres"}
# With these the service goes on elsewhere, so recovery counts from the blow itself; the others take all of it away.
_LEAVE_OTHERS = (Kind.KILL, Kind.STOP, Kind.DRAIN, Kind.FLUSH)


@dataclass(frozen=True, slots=True)
class Blow:
    """A fault as it was carried out: from when on the service can be expected back (epoch seconds)."""

    fault: Fault
    healed: float


class Injector:
    def __init__(self, stage: Stage, session: aiohttp.ClientSession, ending: Ending) -> None:
        self._stage, self._session, self._ending = stage, session, ending
        self._away: set[str] = set()
        self.blows: list[Blow] = []

    async def run(self, plan: Sequence[Fault]) -> None:
        """Returns when the last fault is over."""
        begun = time.monotonic()
        await self.set_rates({})
        async with asyncio.TaskGroup() as group:
            for fault in plan:
                await self._ending.sleep(max(0.0, begun + fault.at_s - time.monotonic()))
                if self._ending.is_asked:
                    break
                group.create_task(self._strike(fault))

    async def set_rates(self, storm: "dict[str, float]") -> None:
        """The carrier's faults: those of the background, and the storm's."""
        rates = {**dict.fromkeys(_RATES, 0.0), **BACKGROUND, **storm}
        async with self._session.post(f"{self._stage.network.carrier_url}/control/faults", json=rates) as answer:
            answer.raise_for_status()

    async def _strike(self, fault: Fault) -> None:
        if _SERVERS.get(fault.kind) in self._away:
            return  # it is not back yet: on a busy machine a start takes longer than the plan knows
        begun = time.time()
        await self._do(fault)
        healed = begun if fault.kind in _LEAVE_OTHERS else time.time()
        self.blows.append(Blow(fault, healed))

    async def _do(self, fault: Fault) -> None:
        stage = self._stage
        match fault.kind:
            case Kind.KILL:
                await asyncio.to_thread(stage.kill, fault.target)
            case Kind.DRAIN:
                await asyncio.to_thread(stage.drain, fault.target)
            case Kind.FLUSH:
                await asyncio.to_thread(stage.flush)
            case Kind.STOP:
                stage.freeze(fault.target)
                await asyncio.sleep(fault.for_s)
                stage.thaw(fault.target)
            case Kind.REDIS | Kind.POSTGRES:
                await self._restart(_SERVERS[fault.kind], fault.for_s)
            case Kind.POOL:
                taken = await asyncio.to_thread(stage.take_all_connections)
                await asyncio.sleep(fault.for_s)
                for connection in taken:
                    with contextlib.suppress(Exception):
                        connection.close()
            case Kind.CARRIER:
                await self.set_rates(dict(STORMS[fault.target]))
                await asyncio.sleep(fault.for_s)
                await self.set_rates({})

    async def _restart(self, server: str, away_s: float) -> None:
        self._away.add(server)
        await asyncio.to_thread(self._stage.end_server, server)
        await asyncio.sleep(away_s)
        await asyncio.to_thread(self._stage.start_server, server)
        self._away.discard(server)


_RATES = tuple(name for name in Faults.model_fields if not name.endswith("_s"))
