"""What send slots run on: Redis, or its twin under a time that passes when the test says so."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from redis.asyncio import Redis

from engine.clock import boottime
from engine.limits.slots import SendSlots
from engine.simulation.lanes import LaneServer
from engine.simulation.timeline import VirtualTime


class Server(Protocol):
    def client(self) -> SendSlots: ...
    async def until(self, moment: float) -> None:
        """Returns at this moment (boottime s)."""
        ...

    async def flush(self) -> None: ...
    async def become_another(self, key: str) -> None:
        """What it has under `key` was written by another server."""
        ...

    async def knows(self, key: str) -> bool: ...


@dataclass
class RedisServer:
    redis: Redis

    def client(self) -> SendSlots:
        return SendSlots(self.redis)

    async def until(self, moment: float) -> None:
        """Real time is what these limits are about; this waits for a moment, not for an effect."""
        await asyncio.sleep(max(0.0, moment - boottime()))

    async def flush(self) -> None:
        await self.redis.flushall()

    async def become_another(self, key: str) -> None:
        stored = await self.redis.get(key)
        run_id = (await self.redis.info("server"))["run_id"].encode()
        await self.redis.set(key, stored.replace(run_id, run_id[::-1]))

    async def knows(self, key: str) -> bool:
        return bool(await self.redis.exists(key))


class Twin:
    def __init__(self, time: VirtualTime) -> None:
        self._time, self._lanes = time, LaneServer()

    def client(self) -> SendSlots:
        return SendSlots(self._lanes)

    async def until(self, moment: float) -> None:
        self._time.now_us += max(0, round((moment - boottime()) * 1e6))

    async def flush(self) -> None:
        self._lanes.flush()

    async def become_another(self, key: str) -> None:
        self._lanes.restart()

    async def knows(self, key: str) -> bool:
        return self._lanes.knows(key)
