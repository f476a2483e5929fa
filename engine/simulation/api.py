"""The api's part of a history: what clients ask for, and the inbox of the carrier's callbacks."""

from typing import TYPE_CHECKING

from engine.clock import boottime
from engine.errors import Conflict
from engine.rules.campaign import Action
from engine.rules.telephony import CarrierEvent
from engine.simulation.asking import Asking
from engine.simulation.port import DOCUMENT_CARRIER, SETTINGS, Imported
from engine.simulation.script import Contact, Script
from engine.simulation.timeline import Process
from engine.store.callbacks import Report as Callback
from engine.store.tickets import TICKET_GRACE_S, Ticket

if TYPE_CHECKING:
    from engine.simulation.world import World

_AGAIN_S = 5.0  # a carrier whose callback was not taken calls again
_MOST_TRIES = 5
_POLL_S = 0.04
_ADDED_S = 0.01


class Api(Process):
    def __init__(self, world: "World") -> None:
        super().__init__("api")
        self._world = world

    def plan(self, script: Script) -> None:
        groups: dict[tuple[float, int, bool], list[Contact]] = {}
        for contact in script.contacts:
            groups.setdefault((contact.added_s, contact.campaign_id, contact.column is None), []).append(contact)
        for (added_s, campaign_id, is_plain), some in groups.items():
            self._ask(_ADDED_S + added_s, "add" if is_plain else "import", str(campaign_id), some)
        for deed in script.deeds:
            self._ask(*deed)
        for one_off in script.one_offs:
            Asking(self._world, self, one_off).plan()

    def deed(self, verb: str, subject: str) -> None:
        """An operator's, now."""
        self._ask(0.001, verb, subject)

    def called_back(self, event: CarrierEvent, n: int) -> None:
        parsed_to = self._world.carrier.of(event).to
        wrong = self._world.script.fault("callback", parsed_to, n)
        wait_s = self._world.timeline.spread(0.005, 0.3, "callback", event.key)
        if wrong is not None:
            self._world.note("carrier", f"{wrong.kind} {event.kind} of {parsed_to}")
            if wrong.kind == "callback.lost":
                return
            if wrong.kind == "callback.twice":
                self._arrive(event, wait_s + wrong.amount / 10, _MOST_TRIES)
            elif wrong.kind == "callback.late":
                wait_s += wrong.amount
            else:
                wait_s += 200 * wrong.amount
        self._arrive(event, wait_s, _MOST_TRIES)

    def _arrive(self, event: CarrierEvent, wait_s: float, tries: int) -> None:
        callback = Callback(self._world.carrier.of(event).carrier, event)
        is_answered = False

        async def arrive() -> None:
            if self._is_there():
                self._world.plan(0.001, self, receive)
            self._world.timeline.after(_AGAIN_S, None, again)

        async def again() -> None:
            if not is_answered and tries > 1:
                self._arrive(event, 0.0, tries - 1)

        async def receive() -> None:
            nonlocal is_answered
            ids = await self._world.step(self, "receive", self._world.steps.receive([callback]))
            if callback.carrier == DOCUMENT_CARRIER:
                self._world.plan(0.005, self, answer)
                return
            is_answered = True
            self._world.queue.settle(ids)
            self._world.stir()

        async def answer() -> None:
            """Workers hear nothing of it: one that was faster would order what belongs into the answer."""
            nonlocal is_answered
            plan = await self._world.step(self, "answer", self._world.steps.answer(callback))
            is_answered = True
            self._world.carrier.answered(event, plan)
            self._world.stir()

        self._world.timeline.after(wait_s, None, arrive)

    def _is_there(self) -> bool:
        return self.is_up and self.stopped_until_us <= self._world.time.now_us

    def _ask(self, wait_s: float, verb: str, subject: str, contacts: list[Contact] | None = None) -> None:
        async def arrive() -> None:
            if self._is_there():
                self._world.plan(0.001, self, lambda: self._do(verb, subject, contacts or []))
            else:
                self._ask(1.0, verb, subject, contacts)

        self._world.timeline.after(wait_s, None, arrive)

    async def _do(self, verb: str, subject: str, contacts: list[Contact]) -> None:
        world = self._world
        try:
            if verb == "stop":
                account_id, _, phone = subject.partition(":")
                doing = world.steps.opt_out(int(account_id), phone)
                await world.step(self, "opt_out", doing, lambda _: world.witness.stopped(int(account_id), phone))
            elif verb == "add":
                phones = [contact.phone for contact in contacts]
                await world.step(self, "add_prospects", world.steps.add_prospects(int(subject), phones))
            elif verb == "import":
                await self._import(int(subject), contacts)
            else:
                await self._move(int(subject), Action(verb))
        except Conflict as error:
            world.note(self.name, f"{verb} {subject} refused: {error.fields}")
        world.stir()

    async def _import(self, campaign_id: int, contacts: list[Contact]) -> Imported:
        lines = ["phone,Name", *(f"{contact.phone},{contact.column}" for contact in contacts), "12,Eve", ""]
        body = "\n".join(lines).encode()
        return await self._world.step(self, "import_csv", self._world.steps.import_csv(campaign_id, body))

    async def _move(self, campaign_id: int, action: Action) -> None:
        world = self._world
        world.note(self.name, f"asked to {action} {campaign_id}")
        await world.step(
            self, "move", world.steps.move(campaign_id, action), lambda _: world.witness.moved(campaign_id, action)
        )
        if action in (Action.PAUSE, Action.CANCEL):
            deadline = boottime() + SETTINGS.ticket_s + TICKET_GRACE_S
            moves = world.witness.moves(campaign_id)
            world.plan(0.002, self, lambda: self._look_for_tickets(campaign_id, moves, deadline))

    async def _look_for_tickets(self, campaign_id: int, moves: int, deadline: float) -> None:
        """As `tickets.await_tickets`."""
        world = self._world
        tickets = await world.step(self, "open_tickets", world.steps.open_tickets(campaign_id))
        await self._await(campaign_id, moves, tickets, deadline)

    async def _await(self, campaign_id: int, moves: int, tickets: list[Ticket], deadline: float) -> None:
        world = self._world
        if not tickets or boottime() >= deadline or not await world.steps.are_open(tickets):
            world.note(self.name, f"campaign {campaign_id} is answered to be still")
            world.witness.answered(campaign_id, moves)
        else:
            world.plan(_POLL_S, self, lambda: self._await(campaign_id, moves, tickets, deadline))
