"""A coordinator: its walks, and its duties as looks. Two of them hold every campaign at once, as if leases failed.

It puts nobody off at the claim (`coordinator.windows`): here every closed window is found by the intent.
"""

from typing import TYPE_CHECKING

from engine.clock import boottime
from engine.coordinator import pace
from engine.coordinator.hold import Hold
from engine.coordinator.senders import LOOK_S
from engine.coordinator.shard import START, Shard, Walk
from engine.dispatch.facts import AttemptKey
from engine.dispatch.hints import Hint
from engine.rules.telephony import Channel
from engine.simulation.looks import Look
from engine.simulation.port import SETTINGS, Usable
from engine.simulation.timeline import Process

if TYPE_CHECKING:
    from engine.simulation.world import World

_HOLD_S = 2.0


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
        self._numbers: Hold[int] = Hold(_HOLD_S)
        self._attempts: Hold[AttemptKey] = Hold(_HOLD_S)
        self._callbacks: Hold[int] = Hold(_HOLD_S)

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
            engine_s = world.steps.clock.now().timestamp()
            claims = await world.step(self, "claim", world.steps.claim(wanted))
            for (walk, count), found in zip(wanted, claims, strict=True):
                walk.waiting += walk.take_in(found, count, now, world.steps.clock, engine_s, SETTINGS.hint_lease_s)
        pushed = 0
        for walk, count in ready:
            if walk.waiting:
                usable = await world.steps.usable(walk.campaign)
                pushed += self._push(walk, count, usable)
                world.boundary(self, "push")
        return pushed > 0

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
        if channel is Channel.SMS:
            engine_s = self._world.steps.clock.now().timestamp()
            free = self._numbers.take([each.id for each in usable if each.free_s <= engine_s], now)
            usable = [each for each in usable if each.id in free]
            count = min(count, len(usable))
        pushed = 0
        # From either end, so that the two meet at numbers and limits, and not only at the same people.
        take = walk.waiting.popleft if self.name.endswith("0") else walk.waiting.pop
        while walk.waiting and pushed < count and usable:
            due, number = take(), usable[pushed % len(usable)]
            walk.hints[due.prospect_id] = (due.attempt, now)
            account_id, campaign_id = walk.campaign.account_id, walk.campaign.id
            hint = Hint(account_id, campaign_id, due.prospect_id, due.attempt, due.phone, number.id, number.number)
            self._world.queue.hint(hint, channel)
            pushed += 1
        walk.backlog += pushed
        if walk.waiting:
            walk.ask_at = now + LOOK_S
        return pushed

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
                again = await world.steps.read_due(walk.campaign.id, lost)
                walk.waiting.extend(again)
                found += len(again)
        return found > 0

    async def _finish(self) -> bool:
        world, done = self._world, False
        for walk in list(self._shard.walks.values()):
            if not walk.is_dialing:
                done = bool(await world.step(self, "sweep", world.steps.sweep(walk.campaign.id))) or done
            elif not walk.waiting and await world.step(self, "complete", world.steps.complete(walk.campaign.id)):
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
