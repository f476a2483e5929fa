"""A coordinator: its walks, and its duties as looks. Two of them hold every campaign at once, as if leases failed."""

from datetime import datetime
from typing import TYPE_CHECKING

from engine.clock import boottime
from engine.coordinator import pace
from engine.coordinator.assign import own_number
from engine.coordinator.hold import Hold
from engine.coordinator.senders import LOOK_S
from engine.coordinator.shard import START, Due, Shard, Walk
from engine.coordinator.windows import Closed, sift
from engine.dispatch import opening
from engine.dispatch.campaigns import CampaignFacts
from engine.dispatch.facts import AttemptKey
from engine.dispatch.hints import Hint
from engine.rules.caller_id import DidFacts
from engine.rules.telephony import Channel
from engine.simulation.looks import Look
from engine.simulation.port import SETTINGS, Usable
from engine.simulation.queue import Message
from engine.simulation.timeline import Process

if TYPE_CHECKING:
    from engine.simulation.world import World

_HOLD_S = 2.0
_NUDGE_S = 0.001
_WRITES_S = 0.01  # from the claim until those are put off whom it found outside of their hours


class Coordinator(Process):
    def __init__(self, world: "World", name: str) -> None:
        super().__init__(name)
        self._world = world
        self.looks = [
            Look(world, self, 0.25, self._dispatch),
            Look(world, self, 4.0, self._rescue),
            Look(world, self, 1.0, self._finish),
            Look(world, self, 0.5, self._watch),
        ]
        self.forget()

    def forget(self) -> None:
        self._shard = Shard()
        self._facts: dict[int, CampaignFacts] = {}
        self._numbers: Hold[int] = Hold(_HOLD_S)
        self._attempts: Hold[AttemptKey] = Hold(_HOLD_S)
        self._callbacks: Hold[int] = Hold(_HOLD_S)

    async def take(self, message: Message) -> None:
        """As `coordinator.wake`: a campaign has work, and is looked at as soon as that is noted."""
        if message.campaign_id not in self._shard.walks:
            await self._read_active()
        self._shard.walks[message.campaign_id].begin_again()
        self._world.plan(_NUDGE_S, self, self._hurry)

    async def _hurry(self) -> None:
        if await self._dispatch():
            self._world.stir()

    async def _dispatch(self) -> bool:
        """As `coordinator.dispatch`, without its shares of scarce tokens."""
        world = self._world
        await self._read_active()
        now = boottime()
        ready = [(walk, pace.allowance(walk, now, SETTINGS.queue_depth_s)) for walk in self._shard.dialing()]
        ready = [(walk, count) for walk, count in ready if count > 0 and walk.ask_at <= now]
        wanted = [(walk, count - len(walk.waiting)) for walk, count in ready if walk.look_at <= now]
        wanted = [(walk, count) for walk, count in wanted if count > 0]
        if wanted:
            wanted = [(walk, count * walk.stride) for walk, count in wanted]
            await self._read_facts([walk.campaign.id for walk, _ in wanted if not walk.campaign.is_direct])
            clock, engine_now = world.steps.clock, world.steps.clock.now()
            claims = await world.step(self, "claim", world.steps.claim(wanted))
            closed: list[Closed] = []
            for (walk, count), found in zip(wanted, claims, strict=True):
                due = walk.take_in(found, count, now, clock, engine_now.timestamp(), SETTINGS.hint_lease_s)
                walk.waiting += self._sift(walk, due, engine_now, closed)
            if closed:
                world.plan(_WRITES_S, self, lambda: self._put_off(closed, engine_now))
        pushed = 0
        for walk, count in ready:
            if walk.waiting:
                usable = await world.steps.usable(walk.campaign)
                pushed += self._push(walk, count, usable)
                world.boundary(self, "push")
        return pushed > 0

    async def _read_facts(self, campaign_ids: list[int]) -> None:
        """The hours of a campaign never change."""
        if unknown := [each for each in campaign_ids if each not in self._facts]:
            self._facts |= await self._world.steps.facts(unknown)

    def _sift(self, walk: Walk, due: list[Due], now: datetime, closed: list[Closed]) -> list[Due]:
        """As `Windows.sift`."""
        if walk.campaign.is_direct:
            return due
        takes = opening.takes(SETTINGS.ticket_s, self._world.steps.clock)
        return sift(walk, self._facts[walk.campaign.id], due, now, takes, closed)

    async def _put_off(self, closed: list[Closed], now: datetime) -> None:
        told = [(each.due.prospect_id, str(each.reason), each.next_at.isoformat()) for each in closed]
        self._world.note(self.name, f"puts off {told}")
        await self._world.step(self, "put_off", self._world.steps.put_off(closed, now))

    async def _read_active(self) -> None:
        active = {each.id: each for each in await self._world.steps.active()}
        for campaign_id in list(self._shard.walks):
            if campaign_id not in active:
                self._shard.drop(campaign_id)
        for campaign_id, campaign in active.items():
            if campaign_id in self._shard.walks:
                self._shard.walks[campaign_id].campaign = campaign
            else:
                self._shard.walks[campaign_id] = Walk(campaign, 1)

    def _push(self, walk: Walk, count: int, usable: list[Usable]) -> int:
        now, channel = boottime(), Channel(walk.campaign.channel)
        if walk.keeps_gap:
            engine_s = self._world.steps.clock.now().timestamp()
            free = self._numbers.take([each.id for each in usable if each.free_s <= engine_s], now)
            usable = [each for each in usable if each.id in free]
            count = min(count, len(usable))
        given = _own_numbers(walk, count, usable) if walk.campaign.is_direct else self._any_numbers(walk, count, usable)
        for due, number in given:
            walk.hints[due.prospect_id] = (due.attempt, now)
            account_id, campaign_id = walk.campaign.account_id, walk.campaign.id
            hint = Hint(account_id, campaign_id, due.prospect_id, due.attempt, due.phone, number.id, number.number)
            is_one_off_text = walk.campaign.is_direct and walk.is_sms
            self._world.queue.hint(hint._replace(is_one_off_text=is_one_off_text), channel)
        pushed = len(given)
        walk.backlog += pushed
        if walk.waiting:
            walk.ask_at = now + LOOK_S
        return pushed

    def _any_numbers(self, walk: Walk, count: int, usable: list[Usable]) -> list[tuple[Due, Usable]]:
        """From either end, so that the two meet at numbers and limits, and not only at the same people."""
        take = walk.waiting.popleft if self.name.endswith("0") else walk.waiting.pop
        count = min(count, len(walk.waiting)) if usable else 0
        return [(take(), usable[n % len(usable)]) for n in range(count)]

    async def _rescue(self) -> bool:
        begun, world = boottime(), self._world
        clock = world.steps.clock
        engine_s = clock.now().timestamp()
        walks = [walk for walk in self._shard.dialing() if walk.cursor != START]
        if not walks:
            return False
        behind = await world.step(self, "queued_behind", world.steps.queued_behind(walks))
        found = 0
        for walk in walks:
            lost = walk.left_behind(behind[walk.campaign.id], begun, clock, engine_s, SETTINGS.hint_lease_s)
            if lost:
                again = await world.steps.read_due(walk.campaign, lost)
                walk.waiting.extend(again)
                found += len(again)
        return found > 0

    async def _finish(self) -> bool:
        world, done = self._world, False
        for walk in list(self._shard.walks.values()):
            if not walk.is_dialing:
                done = bool(await world.step(self, "sweep", world.steps.sweep(walk.campaign.id))) or done
            elif not (walk.waiting or walk.campaign.is_direct) and await world.step(
                self, "complete", world.steps.complete(walk.campaign.id)
            ):
                self._shard.drop(walk.campaign.id)
                done = True
        return done

    async def _watch(self) -> bool:
        world, now = self._world, boottime()
        overdue = self._attempts.take(await world.steps.overdue(), now)
        world.queue.watch(overdue)
        world.boundary(self, "overdue")
        unsettled = self._callbacks.take(await world.steps.unsettled(), now)
        world.queue.settle(unsettled)
        world.boundary(self, "unsettled")
        return bool(overdue or unsettled)


def _own_numbers(walk: Walk, count: int, usable: list[Usable]) -> list[tuple[Due, DidFacts]]:
    """As `Assigner.assign`: who waits for another number does not stand in the way."""
    choose = own_number([DidFacts(each.id, each.number, count) for each in usable])
    given: list[tuple[Due, DidFacts]] = []
    for due in list(walk.waiting):
        if len(given) < count and (number := choose(due)) is not None:
            given.append((due, number))
            walk.waiting.remove(due)
    return given
