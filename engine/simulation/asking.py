"""One-off contacts in a history: what a client of them does, and the api for it.

A client that gets no answer asks again, if its request has a name, which makes a repeat no second contact. The api's
own look at hours and persons is left out: it only tells clients early what the intent judges anyway.
"""

from datetime import datetime
from typing import TYPE_CHECKING

from engine.rules.telephony import Channel
from engine.simulation.port import Request
from engine.simulation.script import OneOff
from engine.simulation.timeline import Process

if TYPE_CHECKING:
    from engine.simulation.world import World

_PATIENCE_S = 10.0
_MOST_TRIES = 10


class Asking:
    """One request and its repeats."""

    def __init__(self, world: "World", api: Process, one_off: OneOff) -> None:
        self._world, self._api, self._one_off = world, api, one_off
        self._is_answered = False

    def plan(self) -> None:
        """What its script says, whether it was answered or not."""
        asked = self._one_off.asked
        self._send(asked, self._one_off.at_s, _MOST_TRIES)
        for at_s in self._one_off.again_s:
            self._send(asked._replace(carrier=self._one_off.moved_to or asked.carrier), at_s, _MOST_TRIES)

    def _send(self, asked: Request, wait_s: float, tries: int) -> None:
        async def arrive() -> None:
            if not self._api.is_up:  # nobody listens
                self._send(asked, 1.0, tries)
                return
            self._world.plan(0.001, self._api, lambda: self._take(asked))
            if asked.name and tries > 1:
                self._world.timeline.after(_PATIENCE_S, None, again)

        async def again() -> None:
            if not self._is_answered:
                self._send(asked, 0.001, tries - 1)

        self._world.timeline.after(wait_s, None, arrive)

    async def _take(self, asked: Request) -> None:
        """The engine time of a request is read before its transaction begins."""
        world, now = self._world, self._world.steps.clock.now()
        world.note(self._api.name, f"is asked for {asked.name or 'a contact'}")
        world.boundary(self._api, "asked")
        doing = self._direct if asked.channel is Channel.VOICE else self._queue_text
        wait_s = world.timeline.spread(0.001, 0.05, "asked", asked, now)
        world.plan(wait_s, self._api, lambda: doing(asked, now))

    async def _direct(self, asked: Request, now: datetime) -> None:
        world, doing = self._world, self._world.steps.direct(asked, now)
        home = await world.step(self._api, "direct", doing)
        world.plan(0.002, self._api, lambda: self._create_call(asked, home, now))

    async def _create_call(self, asked: Request, home: int, now: datetime) -> None:
        world, doing = self._world, self._world.steps.create_call(asked, now)
        await world.step(self._api, "create_call", doing, self._note)
        self._answer(home)

    async def _queue_text(self, asked: Request, now: datetime) -> None:
        world, doing = self._world, self._world.steps.queue_text(asked, now)
        kept = await world.step(self._api, "queue_text", doing, lambda kept: self._note(kept.prospect_id))
        self._answer(kept.campaign_id)

    def _note(self, prospect_id: int) -> None:
        """It is durable, whether the client will hear of it or not."""
        self._world.witness.one_offs.kept(self._one_off, prospect_id)
        self._world.carrier.expect(prospect_id, self._one_off)

    def _answer(self, home: int) -> None:
        self._is_answered = True
        self._world.queue.wake(home)
        self._world.stir()
