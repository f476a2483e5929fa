"""A duty that looks at the store again and again: often while something happens, else ever more seldom."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from engine.simulation.timeline import Died, Process

if TYPE_CHECKING:
    from engine.simulation.world import World

LONGEST_S = 6 * 3_600.0
SLOWER = 4  # times, after each look that found nothing


class Look:
    """`act` says whether it found anything."""

    def __init__(self, world: "World", process: Process, every_s: float, act: Callable[[], Awaitable[bool]]) -> None:
        self._world, self._process, self._every_s, self._act = world, process, every_s, act
        self.wait_s = every_s
        self._due_us = 0
        self._turn = 0

    def begin(self) -> None:
        self._plan(self._every_s)

    def stir(self) -> None:
        self.wait_s = self._every_s
        if self._due_us > self._world.time.now_us + 2e6 * self._every_s:
            self._plan(self._every_s)

    def _plan(self, wait_s: float) -> None:
        self._turn += 1
        turn = self._turn
        self._due_us = self._world.time.now_us + round(wait_s * 1e6)
        self._world.timeline.after(wait_s, self._process, lambda: self._look(turn), is_look=True)

    async def _look(self, turn: int) -> None:
        if turn != self._turn:
            return
        found = False
        if self._process.is_up:
            try:
                found = await self._act()
            except Died:
                found = True
        self.wait_s = self._every_s if found else min(SLOWER * self.wait_s, LONGEST_S)
        if turn == self._turn:
            self._plan(self.wait_s)
        if found:
            self._world.stir()
