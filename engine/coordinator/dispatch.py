"""The tick: how much may go, what is due, which number carries it, and one message per prospect into the queue.

Six round trips at most, however many campaigns: calls that are up, where they are limited, queue lengths, claim,
buckets, messages, unused tokens. Nothing is done per slot or per waiting prospect, so a tick with nothing due costs
nothing at any size.
"""

from collections.abc import Sequence

import structlog

from engine import metrics
from engine.clock import add, boottime
from engine.coordinator import pace
from engine.coordinator.assign import Assigned, Assigner, cut_to_tokens, take_back
from engine.coordinator.claim import claim
from engine.coordinator.headroom import Headroom
from engine.coordinator.senders import Senders, Wish
from engine.coordinator.shard import IDLE_S, Shard, Walk
from engine.coordinator.windows import Closed, Windows
from engine.ids import encode
from engine.jobs import NAMESPACE, Actor, Queue, enqueue
from engine.limits.buckets import Buckets
from engine.rules.events import Event
from engine.runtime import Runtime
from engine.store import campaigns, senders

log = structlog.get_logger(__name__)

NO_DIDS = "no_dids"
# A campaign whose numbers all rest waits for one that is back within a quarter of an hour, as long as a number that
# has sent a text is busy anyway. For longer it pauses, so that somebody hears of it.
BACK_SOON_S = 900.0
_ACTORS = {Queue.DIAL: Actor.PLACE_CALL, Queue.SEND: Actor.SEND_MESSAGE}


class Dispatch:
    def __init__(self, runtime: Runtime, shard: Shard) -> None:
        self._runtime, self._shard = runtime, shard
        self._reader = runtime.reader
        self._senders = Senders(runtime, Buckets(runtime.redis))
        self._headroom = Headroom(runtime)
        self._windows = Windows(runtime)
        self._depth_s = runtime.settings.queue_depth_s
        self._hint_lease_s = runtime.settings.hint_lease_s
        self._rooms = {queue: pace.Room(self._depth_s) for queue in _ACTORS}
        self._turn = 0
        self.every_s = runtime.settings.tick_s

    async def run_once(self) -> int:
        """Returns how many prospects were enqueued."""
        now = boottime()
        ready = [(walk, pace.allowance(walk, now, self._depth_s)) for walk in self._shard.dialing() if _may(walk, now)]
        ready = await self._headroom.cut([(walk, count) for walk, count in ready if count > 0])
        if not ready:
            return 0
        self._turn = (self._turn + 1) % len(ready)  # scarce tokens go to another campaign first each time
        ready = ready[self._turn :] + ready[: self._turn]
        with metrics.TICK_SECONDS.time():
            shares = await self._share(ready)
            await self._claim(shares, now)
            return await self._send([(walk, count) for walk, count in shares if walk.waiting and count])

    async def _share(self, ready: Sequence[tuple[Walk, int]]) -> list[tuple[Walk, int]]:
        """Cuts the campaigns' allowances to the room in their queues."""
        queues = list(self._rooms)
        async with self._runtime.queue.pipeline(transaction=False) as pipe:
            for queue in queues:
                pipe.llen(f"{NAMESPACE}:{queue}")
            lengths = await pipe.execute()
        shares: list[tuple[Walk, int]] = []
        for queue, length in zip(queues, lengths, strict=True):
            metrics.QUEUE_DEPTH.labels(queue).set(length)
            some = [(walk, count) for walk, count in ready if _queue(walk) is queue]
            is_urgent = any(walk.campaign.is_direct for walk, _ in some)
            room = min(pace.MOST_PER_TICK, self._rooms[queue].measure(length, boottime(), is_urgent=is_urgent))
            counts = pace.divide(room, [count for _, count in some])
            shares += zip((walk for walk, _ in some), counts, strict=True)
        return shares

    async def _claim(self, shares: Sequence[tuple[Walk, int]], now: float) -> None:
        lacking = [(walk, count - len(walk.waiting)) for walk, count in shares if walk.look_at <= now]
        lacking = [(walk, count) for walk, count in lacking if count > 0]
        if not lacking:
            return
        # Longer strides share what one tick may read; nobody's is shorter than what it lacks.
        strides = pace.divide(pace.MOST_PER_TICK, [count * walk.stride for walk, count in lacking])
        wanted = [(walk, max(count, stride)) for (walk, count), stride in zip(lacking, strides, strict=True)]
        await self._windows.refresh([walk for walk, _ in wanted])
        engine_now = self._runtime.clock.now()
        clock, engine_s = self._runtime.clock, engine_now.timestamp()
        claims = await claim(self._reader, wanted, engine_now, clock.speed)
        closed: list[Closed] = []
        for (walk, count), found in zip(wanted, claims, strict=True):
            # At once, for the rescue, which runs beside this, looks for whoever is neither waiting nor hinted.
            due = walk.take_in(found, count, now, clock, engine_s, self._hint_lease_s)
            walk.waiting.extend(self._windows.sift(walk, due, engine_now, closed))
        await self._windows.put_off(closed, engine_now)

    async def _send(self, shares: Sequence[tuple[Walk, int]]) -> int:
        numbers = await self._senders.load(self._reader, [walk for walk, _ in shares])
        wishes = []
        for (walk, count), found in zip(shares, numbers, strict=True):
            if found.usable:
                wishes.append(Wish(walk, found.usable, min(count, len(walk.waiting)), found.blocked))
            elif self._is_one_back_soon(found):
                walk.ask_at = boottime() + IDLE_S
            else:
                await self._pause_without_numbers(walk)
        if not wishes:
            return 0
        tokens = await self._senders.take(wishes, self._runtime.clock.now())
        assigner = Assigner(tokens, self._senders)
        now = boottime()
        assigned = [assigner.assign(wish, now) for wish in cut_to_tokens(wishes, tokens, now)]
        try:
            await self._enqueue(assigned)
        except BaseException:
            for each in assigned:
                take_back(each)
            raise
        await self._senders.put_back(tokens)
        return sum(len(each.due) for each in assigned)

    async def _enqueue(self, assigned: Sequence[Assigned]) -> None:
        for queue, actor in _ACTORS.items():
            some = [each for each in assigned if _queue(each.wish.walk) is queue]
            messages = [message for each in some for message in each.messages]
            await enqueue(self._runtime.queue, queue, actor, messages)
            for each in some:
                each.wish.walk.backlog += len(each.due)
            self._rooms[queue].add(len(messages))
            metrics.CLAIMED.labels("sms" if queue is Queue.SEND else "voice").inc(len(messages))

    def _is_one_back_soon(self, found: senders.Senders) -> bool:
        soon = add(self._runtime.clock.now(), BACK_SOON_S)
        return any(each.until is not None and each.until <= soon for each in found.resting.values())

    async def _pause_without_numbers(self, walk: Walk) -> None:
        campaign = walk.campaign
        if campaign.is_direct:
            walk.ask_at = boottime() + IDLE_S  # its number was checked when the call was accepted; it may come back
            return
        now = self._runtime.clock.now()
        payload = {"campaignId": encode("camp", campaign.id), "name": campaign.name, "reason": NO_DIDS}
        event = Event("campaign.paused.no_dids", now, payload, unique_id=encode("camp", campaign.id))
        if await campaigns.pause_for(self._runtime.db, campaign.id, NO_DIDS, now, [event.encode()]):
            log.warning("campaign.paused", campaign=campaign.public_id, reason=NO_DIDS)
        self._shard.drop(campaign.id)


def _may(walk: Walk, now: float) -> bool:
    """Whether the campaign may have something to send: due and not read yet, or read and its numbers worth asking."""
    return walk.ask_at <= now and (bool(walk.waiting) or walk.look_at <= now)


def _queue(walk: Walk) -> Queue:
    return Queue.SEND if walk.is_sms else Queue.DIAL
