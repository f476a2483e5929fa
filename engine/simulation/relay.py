"""A relay process of the simulation: one of two, whose lease runs out by the simulation's time."""

from typing import TYPE_CHECKING

from engine.clock import boottime
from engine.feed.relay import LEASE_S
from engine.simulation.looks import Look
from engine.simulation.timeline import Process

if TYPE_CHECKING:
    from engine.simulation.world import World


class Lead:
    """Who leads, as the database's row has it."""

    owner = ""
    until = 0.0


class RelayProcess(Process):
    def __init__(self, world: "World", name: str) -> None:
        super().__init__(name)
        self._world = world
        self.looks = [Look(world, self, 1.0, self._number)]

    async def _number(self) -> bool:
        world, lead, me = self._world, self._world.lead, f"{self.name}.{self.life}"
        if lead.owner not in ("", me) and boottime() > lead.until:
            await world.steps.depose()
            lead.owner = ""

        def led(count: int | None) -> None:
            if count:
                lead.owner, lead.until = me, boottime() + LEASE_S

        count = await world.step(self, "number", world.steps.number(me), led)
        return bool(count)
