"""A worker: hints go through its pipelines, answers, callbacks and watches are settled, commands carried out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.carriers.port import Ack, Lookup, LookupState, Receipt
from engine.dispatch.facts import AttemptKey
from engine.dispatch.hints import Job
from engine.dispatch.intent import Intent
from engine.dispatch.orders import Order
from engine.dispatch.settle import SettleResult, reports_of
from engine.dispatch.settling import view_of
from engine.dispatch.watch import Watched, is_hopeless, needs_lookup
from engine.ids import attempt_ref
from engine.rules import reports
from engine.rules.reports import Report
from engine.rules.telephony import Channel
from engine.simulation.pipeline import Pipeline
from engine.simulation.queue import Message
from engine.simulation.timeline import Act, Process

if TYPE_CHECKING:
    from engine.simulation.world import World


class Worker(Process):
    def __init__(self, world: "World", name: str) -> None:
        super().__init__(name)
        self._world = world
        self._held: dict[int, Message] = {}
        self._start_empty()

    def forget(self) -> None:
        """Its memory is gone; its messages are delivered again, to whoever is there."""
        held = list(self._held.values())
        self._start_empty()
        self._world.queue.again(held)

    def _start_empty(self) -> None:
        self._held = {}
        self._pipelines = {each: Pipeline(self._world, self, each) for each in Channel}
        self._answers: list[tuple[Intent, Receipt, int]] = []
        self._is_settling = False

    async def take(self, message: Message) -> None:
        self._held[message.id] = message
        if message.hint is not None:
            await self._pipelines[message.channel].submit(Job(message.hint, message.channel, str(message.id)))
        elif message.callbacks:
            self.plan(0.002, 0.03, lambda: self._settle_callbacks(message), "settle", message.id)
        else:
            self.plan(0.002, 0.03, lambda: self._watch(message), "watch", message.id)

    def plan(self, least_s: float, most_s: float, act: Act, *about: object) -> None:
        self._world.plan(self._world.timeline.spread(least_s, most_s, self.name, *about), self, act)

    def acknowledge(self, message_id: int) -> None:
        """The message is acknowledged."""
        self._held.pop(message_id, None)

    def answered(self, intent: Intent, receipt: Receipt, message_id: int) -> None:
        """Answers are settled together."""
        self._answers.append((intent, receipt, message_id))
        if not self._is_settling:
            self._is_settling = True
            self._world.plan(0.02, self, self._settle_answers)

    async def _settle_answers(self) -> None:
        self._is_settling = False
        answers, self._answers = self._answers, []
        told: dict[AttemptKey, Sequence[Report]] = {}
        known = {}
        for intent, receipt, _ in answers:
            key = AttemptKey(intent.hint.campaign_id, intent.hint.prospect_id, intent.hint.attempt)
            told[key], known[key] = reports_of(receipt, intent.try_no), view_of(intent)
        result = await self._world.step(self, "settle", self._world.steps.settle(told, known))
        for _, _, message_id in answers:
            self.acknowledge(message_id)
        self._carry_out(result)

    async def _settle_callbacks(self, message: Message) -> None:
        steps = self._world.steps
        result = await self._world.step(self, "settle_callbacks", steps.settle_callbacks(message.callbacks))
        self.acknowledge(message.id)
        self._carry_out(result)

    async def _watch(self, message: Message) -> None:
        """As `dispatch.watch.watch_attempts`."""
        world = self._world
        due = await world.step(self, "due_attempts", world.steps.due_attempts(message.attempts))
        now = world.steps.clock.now()
        asked = [each for each in due if needs_lookup(*each, now)]
        prompt = {_key(each): [reports.CHECK] for each in due if not needs_lookup(*each, now)}
        if prompt:
            result = await world.step(self, "settle", world.steps.settle(prompt))
            self._carry_out(result)
        if not asked:
            self.acknowledge(message.id)
            return
        hopeless = [is_hopeless(*each, now) for each in asked]
        self.plan(0.02, 0.5, lambda: self._look_up(message, asked, hopeless), "lookup", message.id)

    async def _look_up(self, message: Message, asked: list[Watched], hopeless: list[bool]) -> None:
        world, found = self._world, dict[AttemptKey, Sequence[Report]]()
        for each, is_last in zip(asked, hopeless, strict=True):
            view, is_authoritative = each[0], world.script.is_authoritative
            try:
                lookup = world.carrier.lookup(attempt_ref(*_key(each)), view.phone)
            except RuntimeError:
                lookup, is_authoritative = Lookup(LookupState.STILL_UNKNOWN), False
            world.note(self.name, f"lookup {view.prospect_id}-{view.attempt}: {lookup.state}")
            world.boundary(self, "lookup")
            found[_key(each)] = world.learn(view, lookup, is_authoritative, is_last)
        result = await world.step(self, "settle", world.steps.settle(found))
        self.acknowledge(message.id)
        self._carry_out(result)

    def _carry_out(self, result: SettleResult) -> None:
        for order in result.commands:
            about = ("command", order.ref, order.command["number"])
            self.plan(0.01, 0.05, lambda order=order: self._command(order), *about)  # type: ignore[misc]
        self._world.stir()

    async def _command(self, order: Order) -> None:
        world, number = self._world, order.command["number"]
        ack: Ack = world.carrier.command(order)
        world.note(self.name, f"command {order.ref} {order.command['kind']} #{number}: {ack.ok} {ack.gone}")
        world.boundary(self, "command")
        told = (
            reports.command_done(number) if ack.ok else reports.command_failed(number, gone=ack.gone, error=ack.error)
        )

        async def settle() -> None:
            self._carry_out(await world.step(self, "settle", world.steps.settle({order.key: [told]})))

        world.plan(0.03, self, settle)


def _key(each: Watched) -> AttemptKey:
    view = each[0]
    return AttemptKey(view.campaign_id, view.prospect_id, view.attempt)
