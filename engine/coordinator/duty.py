"""The one shape of every duty, and the loop around it."""

import asyncio
from collections.abc import Mapping
from typing import Protocol

import structlog

from engine.clock import boottime
from engine.outages import AWAY, words

log = structlog.get_logger(__name__)

_SHORTEST_BACKOFF_S, _LONGEST_BACKOFF_S = 0.05, 2.0
_SELDOM_S = 0.5  # a duty that is not in a hurry is tried no more often than this
_STOP_S = 3.0  # for the duties to finish; longer only when a server is away
_BACKOFF_SHARE = 0.25  # of the time that the server has been away: a short outage is over as soon as it ends


class Duty(Protocol):
    every_s: float  # real seconds between two runs

    async def run_once(self) -> object:
        """Does what is to be done now. Safe to repeat, to skip, and to run in several coordinators at once."""


class Keeper:
    """Runs one duty until it is stopped or cancelled, through outages of its servers."""

    def __init__(self, duty: Duty, nudge: asyncio.Event | None = None) -> None:
        self._duty = duty
        self._nudge = nudge or asyncio.Event()  # set: run now
        self._failing_since: float | None = None  # boottime
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
            if self._failing_since is not None:
                await asyncio.sleep(backoff_s(boottime() - self._failing_since, self._duty.every_s))
                continue
            try:
                async with asyncio.timeout(self._duty.every_s):
                    await self._nudge.wait()
            except TimeoutError:
                pass

    async def _run(self) -> None:
        try:
            await self._duty.run_once()
        except AWAY as error:  # anything else is our bug, and ends the process
            if self._failing_since is None:
                self._failing_since = boottime()
            away_s = round(boottime() - self._failing_since, 1)
            log.warning("duty.failed", duty=type(self._duty).__name__, away_s=away_s, error=words(error))
        else:
            self._failing_since = None
            self.last_success = boottime()


def backoff_s(away_s: float, every_s: float) -> float:
    """How long to wait before a duty that runs every `every_s` is tried again, whose server has been away so long."""
    return min(_LONGEST_BACKOFF_S, max(_SHORTEST_BACKOFF_S, min(every_s, _SELDOM_S), _BACKOFF_SHARE * away_s))


async def end(tasks: Mapping[Keeper, asyncio.Task[None]]) -> None:
    """Stops the keepers, whose `keep` the tasks run, and lets each finish what it is about.

    One that a server holds up is cancelled. None is before: a statement cut off in its middle may keep its connection
    and its locks, and a client library may take the cancellation for an outage, which would be waited out.
    """
    for keeper in tasks:
        keeper.stop()
    _, late = await asyncio.wait(tasks.values(), timeout=_STOP_S)
    for task in late:
        task.cancel()
