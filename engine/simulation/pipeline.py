"""A worker's way from a hint to an answer, as `engine.dispatch.pipeline`: slots, the intent, the create at its slot."""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from engine.carriers import fence
from engine.carriers.port import Receipt, Ticket
from engine.clock import boottime
from engine.dispatch.hints import Job, take_batch
from engine.dispatch.intent import Intent
from engine.dispatch.lanes import LaneBook, Lanes
from engine.dispatch.pipeline import LAST_S, LONGEST_WAIT_S, ONE_OFF_LATE_S, RETRY_S, SHORTEST_ONE_OFF_S
from engine.dispatch.slotted import Slotted
from engine.dispatch.tempo import Tempo
from engine.limits.slots import SendSlots, Slot
from engine.rules.decision import DEFAULT_RETRY_AFTER_S
from engine.rules.telephony import Channel, Fault
from engine.simulation.port import SETTINGS

if TYPE_CHECKING:
    from engine.simulation.worker import Worker
    from engine.simulation.world import World

_MOST = 4  # jobs of one batch
_LATE_S = 0.02  # a create may be ready so long after its slot: a few then miss it


class Pipeline:
    """One channel's, for one life of a worker."""

    def __init__(self, world: "World", worker: "Worker", channel: Channel) -> None:
        self._world, self._worker, self._channel = world, worker, channel
        self._lanes = LaneBook(world.steps.facts, SETTINGS)
        self._slots = SendSlots(world.lanes)
        self._tempo = Tempo(_MOST)
        self._waiting: deque[Job] = deque()
        self._is_planned = False

    async def submit(self, job: Job) -> None:
        self._waiting.append(job)
        self._plan()

    def _plan(self) -> None:
        if self._waiting and not self._is_planned:
            self._is_planned = True
            self._worker.plan(0.002, 0.04, self._dispatch, "batch", self._channel, len(self._world.history.lines))

    async def _dispatch(self) -> None:
        self._is_planned = False
        jobs = take_batch(self._waiting, _MOST)
        self._plan()
        slotted = await self._take_slots(jobs)
        self._world.boundary(self._worker, "slots")
        if slotted:
            begun = boottime()
            self._worker.plan(0.005, 0.06, lambda: self._intend(slotted, begun), "intend", slotted[0].job.message_id)

    async def _take_slots(self, jobs: Sequence[Job]) -> list[Slotted]:
        """The jobs without one ask again when their slots come near."""
        await self._lanes.refresh({job.hint.campaign_id for job in jobs})
        by_lanes: dict[Lanes, list[Job]] = {}
        for job in jobs:
            by_lanes.setdefault(self._lanes.of(job.hint), []).append(job)
        wanted = [(lanes, len(some)) for lanes, some in by_lanes.items()]
        lead_s = self._tempo.lead_s
        if all(job.hint.is_one_off_text for job in jobs):
            lead_s = max(SHORTEST_ONE_OFF_S, lead_s - ONE_OFF_LATE_S)
        grants = await self._slots.acquire(wanted, lead_s=lead_s)
        slotted: list[Slotted] = []
        for some, grant in zip(by_lanes.values(), grants, strict=True):
            slotted += map(Slotted, some, grant.slots)
            self._ask_again(some[len(grant.slots) :], grant.ask_at)
        self._world.note(self._worker.name, f"slots {[_told(each.slot) for each in slotted]} for {len(jobs)}")
        return slotted

    def _ask_again(self, jobs: Sequence[Job], ask_at: Sequence[float]) -> None:
        for job, at in zip(jobs, ask_at, strict=True):
            if (wait_s := at - boottime()) > LONGEST_WAIT_S:
                self._worker.acknowledge(int(job.message_id))
            else:
                self._world.plan(wait_s, self._worker, lambda job=job: self.submit(job))  # type: ignore[misc]

    async def _intend(self, slotted: Sequence[Slotted], begun: float) -> None:
        world = self._world
        doing = world.steps.commit_intents([each.job.hint for each in slotted], self._channel)
        batch = await world.step(self._worker, "commit_intents", doing, world.witness.intended)
        self._tempo.committed(boottime() - begun)
        unused = {each.job.hint.prospect_id: each for each in slotted}
        for intent in batch.granted:
            item = unused.pop(intent.hint.prospect_id)
            self._send_at(item.slot, intent, int(item.job.message_id))
        for item in unused.values():
            self._worker.acknowledge(int(item.job.message_id))
        await self._give_back(unused.values())
        world.stir()

    async def _give_back(self, unused: Iterable[Slotted]) -> None:
        for item in unused:
            await self._slots.give_back(self._lanes.of(item.job.hint), [item.slot])

    def _send_at(self, slot: Slot, intent: Intent, message_id: int) -> None:
        late_s = self._world.timeline.spread(0.0, _LATE_S, "send", intent.hint.prospect_id, slot.stamp_us)
        wait_s = max(0.0, slot.at - boottime()) + late_s
        self._world.plan(wait_s, self._worker, lambda: self._send(slot, intent, message_id))

    async def _send(self, slot: Slot, intent: Intent, message_id: int) -> None:
        world = self._world
        refused = fence.refusal(Ticket(intent.deadline, slot.at, slot.until), boottime())
        if refused == fence.SLOT_MISSED:
            await self._another_slot(intent, message_id)
            return
        if refused:
            receipt, took_s = fence.not_sent(refused), 0.0
        else:
            world.witness.begun(intent)
            receipt, took_s = world.carrier.create(intent)
        name = f"{intent.hint.prospect_id}-{intent.hint.attempt}"
        world.note(self._worker.name, f"send {name} try {intent.try_no}: {receipt.outcome}")
        world.boundary(self._worker, "send")
        world.plan(took_s, self._worker, lambda: self._answered(intent, receipt, message_id))

    async def _another_slot(self, intent: Intent, message_id: int) -> None:
        """For a create that was late for its slot: the next one that comes while the ticket is still good."""
        last = intent.deadline - LAST_S
        slots: list[Slot] = []
        if boottime() < last:
            (grant,) = await self._slots.acquire([(self._lanes.of(intent.hint), 1)], lead_s=self._tempo.prompt_lead_s)
            slots = grant.slots
            if not slots:
                wait_s = max(RETRY_S, grant.ask_at[0] - boottime())
                self._world.plan(wait_s, self._worker, lambda: self._another_slot(intent, message_id))
                return
        told = ", ".join(map(_told, slots)) or "too late"
        self._world.note(self._worker.name, f"slot_missed {intent.hint.prospect_id}-{intent.hint.attempt}: {told}")
        if slots and slots[0].until <= last:
            self._send_at(slots[0], intent, message_id)
        else:
            await self._answered(intent, fence.not_sent(fence.SLOT_MISSED), message_id)

    async def _answered(self, intent: Intent, receipt: Receipt, message_id: int) -> None:
        error = receipt.error
        if error is not None and error.fault is Fault.RATE_LIMITED:
            for_s = DEFAULT_RETRY_AFTER_S if error.retry_after_s is None else error.retry_after_s
            await self._slots.close((self._lanes.of(intent.hint).carrier,), for_s)
        self._worker.answered(intent, receipt, message_id)


def _told(slot: Slot) -> str:
    return f"+{slot.at - boottime():.3f}"
