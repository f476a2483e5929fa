"""From a hint to a recorded answer: slots, intent, create, settle, acknowledge. One pipeline per channel and worker.

    hints ─▶ batch ─▶ send slots ─▶ intent transaction ─▶ creates, each at its slot ─▶ answers ─▶ settle ─▶ finished

Nothing waits after the intent but the slot, at most a second ahead. A create that misses its slot takes another while
its ticket is good; one that cannot begin in time is `not_sent` and goes through the whole intent again. A message is
acknowledged when its answer is durable, so what is in flight is bounded by the consumer's prefetch.
"""

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import structlog
from redis.exceptions import RedisError
from sqlalchemy.ext.asyncio import AsyncEngine

from engine import metrics
from engine.carriers import fence
from engine.carriers.port import Carrier, Outcome, Receipt, SendMessage, Ticket
from engine.clock import Clock, boottime, until
from engine.dispatch.batcher import Batcher
from engine.dispatch.campaigns import read_campaigns
from engine.dispatch.create import create_request
from engine.dispatch.halving import in_halves
from engine.dispatch.hints import Job, take_batch
from engine.dispatch.intent import Intent, IntentBatch, IntentContext, commit_intents
from engine.dispatch.lanes import LaneBook, Lanes
from engine.dispatch.slotted import Granted, Slotted, name_of, near_slots
from engine.dispatch.tempo import Punctuality, Tempo
from engine.ids import attempt_ref, encode
from engine.limits.slots import Grant, SendSlots, Slot
from engine.outages import AWAY, log_failure
from engine.rules.decision import DEFAULT_RETRY_AFTER_S
from engine.rules.telephony import Channel, Fault
from engine.settings import Settings
from engine.store.database import autocommit

log = structlog.get_logger(__name__)

LANES = 2  # while a batch waits for PostgreSQL the next may be decided; what is not waiting is this process's own CPU
ASK_GRID_S = 0.05
RETRY_S = 0.02
AGAIN_S = 0.5  # before intents whose transaction broke are tried again
_BEHIND_GLANCE_S = 0.02
_LATE_WAIT_S = 0.005  # who missed a slot asks for the next one at once, together with those who miss theirs just then
LAST_S = 0.3  # of a ticket: no new slot is taken so late, for the way to the carrier takes its time too
_INTENT_EVENTS = "intents.halved", "intent.impossible"
GROUP = 64  # creates that share a lead
_MISSED = fence.not_sent(fence.SLOT_MISSED)
ONE_OFF_LATE_S = 0.01  # of the 15 ms that a create may be late
SHORTEST_ONE_OFF_S = 0.002
# Whose slot lies further ahead is not kept: the coordinator enqueues it again, every 15 s or so.
LONGEST_WAIT_S = 20.0


class Answers(Protocol):
    """Where answered creates go; see `engine.dispatch.settling`."""

    @property
    def is_behind(self) -> bool: ...

    def answered(self, intent: Intent, receipt: Receipt, job: Job) -> None: ...


_Committed = tuple[Sequence[Slotted], IntentBatch]


class _Late(NamedTuple):
    intent: Intent
    slot: asyncio.Future[Slot | float | None]  # a slot, when to ask again (boottime), or none


class Pipeline:
    """The pipeline of one channel. Call `submit` from any thread; `finished` receives the jobs to acknowledge."""

    def __init__(
        self,
        channel: Channel,
        engine: AsyncEngine,
        clock: Clock,
        settings: Settings,
        slots: SendSlots,
        carriers: Mapping[str, Carrier],
        answers: Answers,
        finished: Callable[[Sequence[Job]], None],
        writer: int,
    ) -> None:
        self._channel = channel
        self._engine = engine
        self._clock = clock
        self._settings = settings
        self._slots = slots
        self._carriers = carriers
        self._answers = answers
        self._finished = finished
        self._writer = writer
        self._lanes = LaneBook(partial(read_campaigns, autocommit(engine)), settings)
        self._tempo = Tempo(settings.batch_size)
        self._punctuality = Punctuality()
        self._creates: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        self._is_draining = False
        self._batcher: Batcher[Job] = Batcher(
            self._dispatch,
            limit=settings.batch_size,
            lanes=LANES,
            wait_s=settings.batch_wait_s,
            take=lambda waiting, _limit: take_batch(waiting, self._tempo.batch_size),
        )
        self._late: Batcher[_Late] = Batcher(
            self._slots_for_late, limit=settings.batch_size, lanes=1, wait_s=_LATE_WAIT_S
        )

    def submit(self, job: Job) -> None:
        """Takes one hint; safe from any thread."""
        self._batcher.submit(job)

    async def drain(self) -> None:
        """Begins nothing new, and waits until every ticket is answered or expired. Jobs never begun, also those that
        wait for their slots, are not finished."""
        self._is_draining = True
        await self._batcher.close()
        while self._creates:
            await asyncio.wait(self._creates)
        await self._late.close()

    async def _dispatch(self, jobs: list[Job], lane: int) -> None:
        if not await self._has_caught_up():
            return
        oldest_ms = min(job.enqueued_ms for job in jobs)
        metrics.QUEUE_AGE_SECONDS.labels(jobs[0].queue).observe(max(0.0, time.time() - oldest_ms / 1000))
        slotted = await self._take_slots(jobs)
        if not slotted:
            return
        context = IntentContext(
            channel=self._channel,
            clock=self._clock,
            ticket_s=self._settings.ticket_s,
            answer_s=self._settings.carrier_timeout_s + self._settings.reconcile_after_s,
            writer=self._writer + lane,
            caps_test_calls=self._settings.did_caps == "all",
            did_policy=self._settings.did_policy,
            calls_at_carrier=self._settings.carrier_concurrent_calls,
        )
        begun = boottime()
        committed: list[_Committed] = []
        wrong = await in_halves(_INTENT_EVENTS, slotted, partial(self._commit, context, committed), name_of)
        if len(committed) == 1 and not wrong:  # parts of a batch say nothing of how long one takes
            self._tempo.committed(boottime() - begun)
        for some, batch in committed:
            await self._begin_creates(some, batch)
        self._finished([item.job for item in wrong])
        await self._give_back(wrong)

    async def _commit(self, context: IntentContext, committed: list[_Committed], slotted: Sequence[Slotted]) -> None:
        begun = boottime()
        try:
            batch = await commit_intents(self._engine, [item.job.hint for item in slotted], context)
        except AWAY as error:
            log_failure(log, "intents.failed", error, size=len(slotted))
            self._give_up([item.job for item in slotted], error)  # nothing was committed, so nothing may be sent
            return
        metrics.INTENT_SECONDS.observe(boottime() - begun)
        committed.append((slotted, batch))

    async def _has_caught_up(self) -> bool:
        """Finishes what was begun before beginning more: nobody is called while those who are on the line wait for us.

        Else a worker with more to do than it can would call as many as ever, and do each a little later. False when it
        is to stop meanwhile.
        """
        while self._answers.is_behind:
            if self._is_draining:
                return False
            metrics.HELD_BACK_SECONDS.labels(self._channel).inc(_BEHIND_GLANCE_S)
            await asyncio.sleep(_BEHIND_GLANCE_S)
        return True

    def _give_up(self, jobs: Sequence[Job], error: Exception) -> None:
        """Ends what failed before anything was committed: the coordinator enqueues these prospects again, at once after
        an outage that it has met too, else when their hints' lease is over. Until then a broken session or a server
        that is away is tried again here."""
        since_ms = (time.time() - self._settings.hint_lease_s) * 1000 if isinstance(error, AWAY) else math.inf
        again = [job for job in jobs if job.enqueued_ms > since_ms]
        self._finished([job for job in jobs if job.enqueued_ms <= since_ms])
        if again:
            asyncio.get_running_loop().call_later(AGAIN_S, self._batcher.submit_many, again)

    async def _take_slots(self, jobs: list[Job]) -> list[Slotted]:
        """A slot for each job, at least the intent's usual time ahead; the jobs without one wait outside and return.

        Creates take their time to begin, so a large batch asks for its slots in groups, each a little later. Where that
        fails, those that have one go on, and the rest is given up.
        """
        slotted: list[Slotted] = []
        groups = [jobs[start : start + GROUP] for start in range(0, len(jobs), GROUP)]
        rest = jobs
        try:
            await self._lanes.refresh({job.hint.campaign_id for job in jobs})
            for number, group in enumerate(groups):
                slotted += await self._slots_for(group, self._tempo.lead_of_group_s(number, len(groups)))
                rest = rest[len(group) :]
        except Exception as error:
            log_failure(log, "slots.failed", error, size=len(rest))
            self._give_up(rest, error)  # no slot, no create
        return slotted

    async def _slots_for(self, jobs: list[Job], lead_s: float) -> list[Slotted]:
        by_lanes: dict[Lanes, list[Job]] = {}
        for job in jobs:
            by_lanes.setdefault(self._lanes.of(job.hint), []).append(job)
        slotted: list[Slotted] = []
        if all(job.hint.is_one_off_text for job in jobs):
            # Somebody waits for it: a slot may be used a little late, so its first moments may pass with the intent.
            lead_s = max(SHORTEST_ONE_OFF_S, lead_s - ONE_OFF_LATE_S)
        grants = await self._acquire([(lanes, len(some)) for lanes, some in by_lanes.items()], lead_s)
        for some, grant in zip(by_lanes.values(), grants, strict=True):
            slotted += map(Slotted, some, grant.slots)
            self._ask_again(some[len(grant.slots) :], grant.ask_at)
        return slotted

    async def _acquire(self, wanted: Sequence[tuple[Lanes, int]], lead_s: float) -> list[Grant]:
        return await self._slots.acquire(wanted, lead_s=lead_s, is_wide=self._punctuality.is_late)

    def _ask_again(self, jobs: Sequence[Job], ask_at: Sequence[float]) -> None:
        """Submits the jobs once more when their slots come near, in a few groups rather than one timer each."""
        now = boottime()
        groups: dict[int, list[Job]] = {}
        self._finished([job for job, at in zip(jobs, ask_at, strict=True) if at > now + LONGEST_WAIT_S])
        for job, at in zip(jobs, ask_at, strict=True):
            if at > now + LONGEST_WAIT_S:
                break
            groups.setdefault(math.ceil((at - now) / ASK_GRID_S), []).append(job)
        for grid, group in groups.items():
            metrics.LIMITER_WAIT_SECONDS.observe(grid * ASK_GRID_S)
            asyncio.get_running_loop().call_later(grid * ASK_GRID_S, self._batcher.submit_many, group)

    async def _begin_creates(self, slotted: Sequence[Slotted], batch: IntentBatch) -> None:
        by_prospect = {item.job.hint.prospect_id: item for item in slotted}
        self._schedule([(intent, by_prospect.pop(intent.hint.prospect_id)) for intent in batch.granted])
        if not by_prospect:
            return
        for _, reason in batch.refused:
            metrics.INTENTS_REFUSED.labels(reason).inc()
        self._finished([item.job for item in by_prospect.values()])
        await self._give_back(by_prospect.values())

    async def _give_back(self, unused: Iterable[Slotted]) -> None:
        by_lanes: dict[Lanes, list[Slot]] = {}
        try:
            for item in unused:
                by_lanes.setdefault(self._lanes.of(item.job.hint), []).append(item.slot)
            for lanes, slots in by_lanes.items():
                await self._slots.give_back(lanes, slots)
        except Exception as error:  # then they pass unused; those who were granted theirs must not wait for that
            log_failure(log, "slots.not_given_back", error)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._creates.add(task)
        task.add_done_callback(self._creates.discard)

    def _schedule(self, granted: list[Granted]) -> None:
        granted.sort(key=lambda each: each[1].slot.at)
        for group in near_slots(granted):
            self._start(self._create_at(group[-1][1].slot.at, group))

    async def _create_at(self, at: float, group: Sequence[Granted]) -> None:
        """One timer for slots that lie close together; `at` is the last of them, so that none is early.

        Groups begin one after another, each when the one before has: a late one is then renewed as a whole, instead of
        create by create.
        """
        await until(at)
        async with self._turn:
            now = boottime()
            self._began(len(group), now - at)
            if now <= group[0][1].slot.until:
                await self._begin(group)
                return
        await self._begin(await self._renewed(group))

    def _began(self, creates: int, late_s: float) -> None:
        if self._punctuality.began(creates, late_s):
            is_late = self._punctuality.is_late
            log.warning("slots.widened" if is_late else "slots.narrowed", channel=self._channel)

    async def _begin(self, group: Sequence[Granted]) -> None:
        for intent, item in group:
            self._start(self._create(intent, item))
        await asyncio.sleep(0)

    async def _renewed(self, group: Sequence[Granted]) -> Sequence[Granted]:
        """The intents took longer than slots were asked ahead: other slots for all of the group, asked for in one go.

        Returns those that got none, to be told so one by one.
        """
        metrics.SLOTS_FORFEITED.inc(len(group))
        by_lanes: dict[Lanes, list[Granted]] = {}
        for each in group:
            by_lanes.setdefault(self._lanes.of(each[0].hint), []).append(each)
        try:
            grants = await self._prompt_slots([(lanes, len(some)) for lanes, some in by_lanes.items()])
        except Exception as error:
            log_failure(log, "slots.not_renewed", error)
            return group
        rest: list[Granted] = []
        renewed: list[Granted] = []
        for some, grant in zip(by_lanes.values(), grants, strict=True):
            for (intent, item), slot in zip(some, grant.slots, strict=False):
                into = renewed if slot.until < intent.deadline - LAST_S else rest
                into.append((intent, item._replace(slot=slot)))
            rest += some[len(grant.slots) :]
        self._schedule(renewed)
        return rest

    async def _prompt_slots(self, wanted: Sequence[tuple[Lanes, int]]) -> list[Grant]:
        begun = boottime()
        grants = await self._acquire(wanted, self._tempo.prompt_lead_s)
        self._tempo.asked(boottime() - begun)
        return grants

    async def _create(self, intent: Intent, item: Slotted) -> None:
        slot: Slot | None = item.slot
        receipt = _MISSED
        while slot is not None:
            receipt = await self._send(intent, Ticket(intent.deadline, slot.at, slot.until))
            if receipt.error is None or receipt.error.code != fence.SLOT_MISSED:
                break
            metrics.SLOTS_FORFEITED.inc()
            self._began(1, math.inf)
            slot = await self._another_slot(intent)
        if receipt.error is not None and receipt.error.fault is Fault.RATE_LIMITED:
            await self._close_lane(intent, receipt.error.retry_after_s)
        self._answers.answered(intent, receipt, item.job)

    async def _send(self, intent: Intent, ticket: Ticket) -> Receipt:
        carrier = self._carriers[intent.campaign.carrier]
        try:
            request = create_request(intent, self._settings)
            if isinstance(request, SendMessage):
                return await carrier.send_message(request, ticket)
            return await carrier.place_call(request, ticket)
        except Exception:
            log.exception("create.failed", **_named(intent))
            return Receipt(Outcome.UNKNOWN)

    async def _close_lane(self, intent: Intent, retry_after_s: float | None) -> None:
        """The carrier wants no more for a while: not from this attempt, and not from the others of its account."""
        for_s = DEFAULT_RETRY_AFTER_S if retry_after_s is None else retry_after_s
        metrics.LANES_CLOSED.labels(intent.campaign.carrier).inc()
        try:
            await self._slots.close((self._lanes.of(intent.hint).carrier,), for_s)
        except (RedisError, OSError) as error:  # the answer must be written; the next refusal closes the lane
            log.warning("lane.not_closed", **_named(intent), error=str(error))

    async def _another_slot(self, intent: Intent) -> Slot | None:
        """For a create that was late for its slot: the next one that comes while the ticket is still good."""
        while boottime() < intent.deadline - LAST_S:
            future: asyncio.Future[Slot | float | None] = asyncio.get_running_loop().create_future()
            self._late.submit_many([_Late(intent, future)])
            answer = await future
            if not isinstance(answer, float):
                return answer
            await asyncio.sleep(max(RETRY_S, answer - boottime()))
        return None

    async def _slots_for_late(self, late: list[_Late], _lane: int) -> None:
        by_lanes: dict[Lanes, list[_Late]] = {}
        for each in late:
            by_lanes.setdefault(self._lanes.of(each.intent.hint), []).append(each)
        try:
            grants = await self._prompt_slots([(lanes, len(some)) for lanes, some in by_lanes.items()])
        except Exception:
            for each in late:
                each.slot.set_result(None)
            raise
        for some, grant in zip(by_lanes.values(), grants, strict=True):
            answers: list[Slot | float] = [*grant.slots, *grant.ask_at]
            for each, answer in zip(some, answers, strict=True):
                is_too_late = isinstance(answer, Slot) and answer.until > each.intent.deadline - LAST_S
                each.slot.set_result(None if is_too_late else answer)


def _named(intent: Intent) -> dict[str, str]:
    """What a log line about a create names."""
    hint = intent.hint
    return {
        "campaign": encode("camp", hint.campaign_id),
        "attempt": attempt_ref(hint.campaign_id, hint.prospect_id, hint.attempt),
        "carrier": intent.campaign.carrier,
    }
