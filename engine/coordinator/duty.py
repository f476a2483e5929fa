"""The one shape of every duty, and the loop around it."""

import asyncio
from typing import Protocol

import structlog
from redis.exceptions import RedisError
from sqlalchemy.exc import InterfaceError, OperationalError

from engine.clock import boottime
from engine.errors import Unavailable

log = structlog.get_logger(__name__)

# What a server that is away, restarting or failing over looks like. Anything else is our bug and ends the process.
AWAY = (RedisError, InterfaceError, OperationalError, Unavailable, OSError)
_LONGEST_BACKOFF_S = 2.0


class Duty(Protocol):
    every_s: float  # real seconds between two runs

    async def run_once(self) -> object:
        """Does what is to be done now. Safe to repeat, to skip, and to run in several coordinators at once."""


class Keeper:
    """Runs one duty until it is stopped or cancelled, through outages of its servers."""

    def __init__(self, duty: Duty, nudge: asyncio.Event | None = None) -> None:
        self._duty = duty
        self._nudge = nudge or asyncio.Event()  # set: run now
        self._failures = 0
        self._is_stopping = False
        self.last_success = boottime()

    def stop(self) -> None:
        """Ends `keep` after the run under way: a cancelled one may lose its connection to the database."""
        self._is_stopping = True
        self._nudge.set()

    async def keep(self) -> None:
        while not self._is_stopping:
            self._nudge.clear()
            await self._run()
            wait_s = self._duty.every_s
            if self._failures:
                wait_s = min(_LONGEST_BACKOFF_S, max(wait_s, 0.05 * 2 ** min(self._failures, 8)))
                await asyncio.sleep(wait_s)
                continue
            try:
                async with asyncio.timeout(wait_s):
                    await self._nudge.wait()
            except TimeoutError:
                pass

    async def _run(self) -> None:
        try:
            await self._duty.run_once()
        except AWAY as error:
            self._failures += 1
            log.warning("duty.failed", duty=type(self._duty).__name__, failures=self._failures, error=str(error)[:300])
        else:
            self._failures = 0
            self.last_success = boottime()
