"""Everything that is learned of attempts, gathered into batches and settled: answers of creates, callbacks, what the
watch finds, and what comes of commands.

What settling decides a carrier must do (hand over, play, hang up) is commanded after the commit.
"""

import asyncio
import math
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from engine import metrics
from engine.carriers import fence
from engine.carriers.port import Receipt
from engine.clock import boottime
from engine.dispatch.batcher import Batcher
from engine.dispatch.breath import breathing
from engine.dispatch.commands import Carriers, execute
from engine.dispatch.facts import AttemptKey
from engine.dispatch.halving import in_halves
from engine.dispatch.hints import Job, by_queue
from engine.dispatch.intent import Intent
from engine.dispatch.settle import SettleContext, SettleResult, reports_of, settle, settle_callbacks
from engine.dispatch.tempo import BatchSize
from engine.dispatch.watch import Lookups, watch_attempts
from engine.ids import attempt_ref
from engine.jobs import Queue
from engine.outages import AWAY, POSTGRES_AWAY, log_failure, words
from engine.rules.attempt import AttemptState
from engine.rules.decision import AttemptView
from engine.rules.reports import Report

log = structlog.get_logger(__name__)

_SETTLE_EVENTS = "settle.halved", "settle.impossible"
_WATCH_EVENTS = "watch.halved", "watch.impossible"
LANES = 1  # what one call's answer and its callbacks say shares a transaction; a second lane would halve the batches
WATCH_BATCH = 4  # messages of up to 100 attempts
DRAIN_S = 5.0  # platforms kill what does not stop; then, too, the watch takes over
BEHIND_S = 0.5  # what calls tell must be acted on within two seconds of a person's greeting
RETRIES_S = (0.05, 0.2, 1.0, 3.0)  # pauses before trying a failed settle again; after the last, the watch takes over


class Answer(NamedTuple):
    intent: Intent
    receipt: Receipt
    job: Job
    at: float  # boottime of its coming, here and below


class _Callbacks(NamedTuple):
    message_id: str
    ids: Sequence[int]
    at: float


class _Learned(NamedTuple):
    told: Mapping[AttemptKey, Sequence[Report]]
    settled: asyncio.Future[None]
    at: float


_Work = Answer | _Callbacks | _Learned


class _Watch(NamedTuple):
    message_id: str
    keys: Sequence[AttemptKey]


class Settling:
    """`answered` from the loop's thread; `settle` and `watch` from any."""

    def __init__(
        self,
        engine: AsyncEngine,
        carriers: Carriers,
        context: SettleContext,
        finished: Callable[[Queue, Sequence[str]], None],
    ) -> None:
        settings = context.settings
        self._engine = engine
        self._carriers = carriers
        self._context = context
        self._finished = finished
        self._size = BatchSize(settings.batch_size)
        self._commands: set[asyncio.Task[None]] = set()
        self._try_until = math.inf  # boottime
        self._batcher: Batcher[_Work] = Batcher(
            self._settle,
            limit=settings.batch_size,
            lanes=LANES,
            wait_s=settings.settle_wait_s,
            take=lambda waiting, _limit: take_batch(waiting, self._size.rows),
        )
        self._lookups = Lookups(carriers, self._learn, settings.carrier_timeout_s)
        self._watches: Batcher[_Watch] = Batcher(self._watch, limit=WATCH_BATCH, lanes=1, wait_s=settings.settle_wait_s)

    def answered(self, intent: Intent, receipt: Receipt, job: Job) -> None:
        """A create has its answer: to be written, and its message acknowledged."""
        self._batcher.submit_many([Answer(intent, receipt, job, boottime())])

    def settle(self, message_id: str, callback_ids: Sequence[int]) -> None:
        """Stored callbacks are to be folded into their attempts."""
        self._batcher.submit(_Callbacks(message_id, callback_ids, boottime()))

    def watch(self, message_id: str, keys: Sequence[AttemptKey]) -> None:
        """These attempts' time has come."""
        self._watches.submit(_Watch(message_id, keys))

    @property
    def is_behind(self) -> bool:
        """Whether something has waited for `BEHIND_S`. From the loop's own thread."""
        oldest = self._batcher.oldest
        return oldest is not None and boottime() - oldest.at > BEHIND_S

    async def drain(self) -> None:
        """Returns when everything submitted is written and commanded, but for look-ups that have not begun, and what
        PostgreSQL does not take within `DRAIN_S`."""
        self._try_until = boottime() + DRAIN_S
        await self._lookups.close()
        await self._watches.finish()
        await self._batcher.flush()
        while self._commands:  # what comes of them may lead to further ones
            await asyncio.wait(self._commands)
            await self._batcher.flush()
        await self._batcher.close()

    async def _learn(self, told: Mapping[AttemptKey, Sequence[Report]]) -> None:
        learned = _Learned(told, asyncio.get_running_loop().create_future(), boottime())
        self._batcher.submit_many([learned])
        await learned.settled

    async def _settle(self, work: list[_Work], _lane: int) -> None:
        """Its messages are finished, whatever became of them: kept, they would take their place in the prefetch for
        ever. What is not settled is left to the watch and to the sweep of the inbox.

        What cannot be folded or written is halved within messages too: those that share one are other tenants'.
        """
        await in_halves(_SETTLE_EVENTS, work, self._settle_together, _subject, split=singles)
        self._finish(work)

    async def _settle_together(self, work: Sequence[_Work]) -> None:
        answers = [each for each in work if isinstance(each, Answer)]
        callbacks = [each for each in work if isinstance(each, _Callbacks)]
        learned = [each for each in work if isinstance(each, _Learned)]
        ids = {callback_id for message in callbacks for callback_id in message.ids}
        # A row that its own intent has just written need not be read, unless others of the batch must be.
        is_known = not callbacks and not learned
        told: dict[AttemptKey, list[Report]] = {}
        known: dict[AttemptKey, AttemptView] = {}
        async for intent, receipt, *_ in breathing(answers):
            key = intent.key
            told[key] = reports_of(receipt, intent.try_no)
            if is_known:
                known[key] = view_of(intent)
        for each in learned:
            for key, found in each.told.items():
                told.setdefault(key, []).extend(found)
        await self._carry_out(told, known, ids)
        _count(answers)

    def _finish(self, work: Sequence[_Work]) -> None:
        for queue, ids in by_queue(each.job for each in work if isinstance(each, Answer)).items():
            self._finished(queue, ids)
        if ids := [each.message_id for each in work if isinstance(each, _Callbacks)]:
            self._finished(Queue.SETTLE, ids)
        for each in work:
            if isinstance(each, _Learned) and not each.settled.done():
                each.settled.set_result(None)

    async def _carry_out(
        self,
        told: Mapping[AttemptKey, Sequence[Report]],
        known: Mapping[AttemptKey, AttemptView],
        callback_ids: Collection[int],
    ) -> None:
        """Settles, trying again while PostgreSQL is away, and starts the commands that it decided."""

        def attempt() -> Awaitable[SettleResult]:
            if callback_ids:
                return settle_callbacks(self._engine, callback_ids, self._context, besides=told)
            return settle(self._engine, told, self._context, known)

        begun = boottime()
        result = await self._persist(attempt)
        taken_s = boottime() - begun
        self._size.took(taken_s)
        metrics.SETTLE_SECONDS.observe(taken_s)
        if result is not None and result.commands:
            self._start(execute(result.commands, self._carriers, self._context.settings, self._learn))

    async def _persist(self, attempt: Callable[[], Awaitable[SettleResult]]) -> SettleResult | None:
        """None when PostgreSQL stays away. Raises whatever else it says: the same batch would meet the same again."""
        for pause_s in (*RETRIES_S, None):
            try:
                return await attempt()
            except POSTGRES_AWAY as error:
                if pause_s is None or boottime() + pause_s > self._try_until:
                    log_failure(log, "settle.failed", error)
                    return None
                log.warning("settle.retried", error=words(error), pause_s=pause_s)
                await asyncio.sleep(pause_s)
        return None

    def _start(self, commanding: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(commanding)
        self._commands.add(task)
        task.add_done_callback(self._commands.discard)

    async def _watch(self, work: list[_Watch], _lane: int) -> None:
        """Its messages are finished while look-ups are under way, and also when it fails: the coordinator asks again
        for as long as nothing is written."""
        try:
            keys = sorted({key for message in work for key in message.keys})
            await in_halves(_WATCH_EVENTS, keys, self._watch_together, _of_attempt, spared=AWAY)
        finally:
            self._finished(Queue.SETTLE, [message.message_id for message in work])

    async def _watch_together(self, keys: Sequence[AttemptKey]) -> None:
        await watch_attempts(self._engine, keys, self._context, self._lookups, self._learn)


def take_batch(waiting: deque[_Work], limit: int) -> list[_Work]:
    """Splits off the oldest items that together speak of about `limit` attempts."""
    batch: list[_Work] = []
    weight = 0
    while waiting and weight < limit:
        each = waiting.popleft()
        batch.append(each)
        weight += len(each.ids) if isinstance(each, _Callbacks) else 1
    return batch


def singles(work: Iterable[_Work]) -> list[_Work]:
    """The same, each item with a single callback or attempt."""
    found: list[_Work] = []
    for each in work:
        if isinstance(each, _Callbacks):
            found += [each._replace(ids=[callback_id]) for callback_id in each.ids]
        elif isinstance(each, _Learned):
            found += [each._replace(told={key: told}) for key, told in each.told.items()]
        else:
            found.append(each)
    return found


def _subject(single: _Work) -> dict[str, object]:
    """What the log calls it."""
    if isinstance(single, _Callbacks):
        return {"callbacks": single.ids}
    keys = [single.intent.key] if isinstance(single, Answer) else single.told
    return {"attempts": [attempt_ref(*key) for key in keys]}


def _of_attempt(key: AttemptKey) -> dict[str, object]:
    return {"attempts": [attempt_ref(*key)]}


def _count(answers: Sequence[Answer]) -> None:
    outcomes = Counter((each.intent.campaign.carrier, each.receipt.outcome) for each in answers)
    for (carrier, outcome), count in outcomes.items():
        metrics.CREATES.labels(carrier, outcome).inc(count)
    errors = (each.receipt.error for each in answers)
    metrics.TICKETS_EXPIRED.inc(sum(error is not None and error.code == fence.TICKET_EXPIRED for error in errors))


def view_of(intent: Intent) -> AttemptView:
    """The attempt's row as its intent has just written it."""
    hint = intent.hint
    return AttemptView(
        campaign_id=hint.campaign_id,
        prospect_id=hint.prospect_id,
        attempt=hint.attempt,
        try_no=intent.try_no,
        account_id=hint.account_id,
        phone=hint.phone,
        did_id=hint.did_id,
        from_number=hint.from_number,
        carrier=intent.campaign.carrier,
        carrier_id=None,
        state=AttemptState.RESERVED,
        agent_state=0,
        amd=None,
        outcome=None,
        reason=None,
        intent_at=intent.intent_at,
        answered_at=None,
        greeting_ended_at=None,
        ended_at=None,
        duration_s=None,
        check_at=intent.check_at,
        command=None,
        command_no=0,
        segments=intent.message and intent.message.segments,
        encoding=intent.message and intent.message.encoding,
    )
