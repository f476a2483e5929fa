"""Everything that is learned of attempts, gathered into batches and settled: answers of creates, callbacks, watches.

What settling decides a carrier must do (hand over, play, hang up) is commanded after the commit, and what comes of that
is settled in turn.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine

from engine import metrics
from engine.carriers import fence
from engine.carriers.port import Receipt
from engine.clock import boottime
from engine.dispatch.batcher import Batcher
from engine.dispatch.commands import Carriers, execute
from engine.dispatch.facts import AttemptKey
from engine.dispatch.hints import Job, by_queue
from engine.dispatch.intent import Intent
from engine.dispatch.settle import SettleContext, SettleResult, reports_of, settle, settle_callbacks
from engine.dispatch.watch import watch_attempts
from engine.jobs import Queue
from engine.rules.attempt import AttemptState
from engine.rules.decision import AttemptView
from engine.rules.reports import Report

log = structlog.get_logger(__name__)

ANSWER_LANES = 1  # a second lane would only halve the batches
CALLBACK_LANES = 2
WATCH_LANES = 1
COMMAND_LANE = ANSWER_LANES + CALLBACK_LANES + WATCH_LANES
LANES = COMMAND_LANE + 1
CALLBACK_BATCH = 50  # messages of up to 100 callbacks
WATCH_BATCH = 4  # messages of up to 100 attempts
RETRIES_S = (0.05, 0.2, 1.0, 3.0)  # pauses before trying a failed settle again; after the last, the watch takes over


class Answer(NamedTuple):
    intent: Intent
    receipt: Receipt
    job: Job


class _Callbacks(NamedTuple):
    message_id: str
    ids: Sequence[int]


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
        batch_size, wait_s = context.settings.batch_size, context.settings.settle_wait_s
        self._engine = engine
        self._carriers = carriers
        self._context = context
        self._finished = finished
        self._commands: set[asyncio.Task[None]] = set()
        self._answers: Batcher[Answer] = Batcher(
            self._settle_answers, limit=batch_size, lanes=ANSWER_LANES, wait_s=wait_s
        )
        self._callbacks: Batcher[_Callbacks] = Batcher(
            self._settle_callbacks, limit=CALLBACK_BATCH, lanes=CALLBACK_LANES, wait_s=wait_s
        )
        self._watches: Batcher[_Watch] = Batcher(self._watch, limit=WATCH_BATCH, lanes=WATCH_LANES, wait_s=wait_s)

    def answered(self, intent: Intent, receipt: Receipt, job: Job) -> None:
        """A create has its answer: to be written, and its message acknowledged."""
        self._answers.submit_many([Answer(intent, receipt, job)])

    def settle(self, message_id: str, callback_ids: Sequence[int]) -> None:
        """Stored callbacks are to be folded into their attempts."""
        self._callbacks.submit(_Callbacks(message_id, callback_ids))

    def watch(self, message_id: str, keys: Sequence[AttemptKey]) -> None:
        """These attempts' time has come."""
        self._watches.submit(_Watch(message_id, keys))

    async def drain(self) -> None:
        """Returns when everything submitted is written and commanded."""
        for batcher in (self._answers, self._callbacks, self._watches):
            await batcher.finish()
        while self._commands:
            await asyncio.wait(self._commands)

    async def _settle_answers(self, answers: list[Answer], lane: int) -> None:
        context = self._lane(lane)
        told: dict[AttemptKey, list[Report]] = {}
        known: dict[AttemptKey, AttemptView] = {}
        for intent, receipt, _ in answers:
            key = intent.key
            told[key] = reports_of(receipt, intent.try_no)
            known[key] = view_of(intent)
        _count(answers)
        await self._carry_out(lambda: settle(self._engine, told, context, known))
        for queue, ids in by_queue(answer.job for answer in answers).items():
            self._finished(queue, ids)

    async def _settle_callbacks(self, work: list[_Callbacks], lane: int) -> None:
        context = self._lane(ANSWER_LANES + lane)
        ids = {callback_id for message in work for callback_id in message.ids}
        await self._carry_out(lambda: settle_callbacks(self._engine, ids, context))
        self._finished(Queue.SETTLE, [message.message_id for message in work])

    async def _watch(self, work: list[_Watch], lane: int) -> None:
        context = self._lane(ANSWER_LANES + CALLBACK_LANES + lane)
        keys = {key for message in work for key in message.keys}
        await self._carry_out(lambda: watch_attempts(self._engine, keys, self._carriers, context))
        self._finished(Queue.SETTLE, [message.message_id for message in work])

    def _lane(self, lane: int) -> SettleContext:
        """Each lane counts into rows of its own, so lanes do not wait for one another."""
        return replace(self._context, writer=self._context.writer + lane)

    async def _carry_out(self, attempt: Callable[[], Awaitable[SettleResult]]) -> None:
        """Settles, trying again while PostgreSQL is away, and starts the commands that it decided."""
        begun = boottime()
        result = await _persist(attempt)
        metrics.SETTLE_SECONDS.observe(boottime() - begun)
        if result is None or not result.commands:
            return
        commanding = execute(self._engine, result.commands, self._carriers, self._lane(COMMAND_LANE))
        task = asyncio.create_task(_log_failure(commanding))
        self._commands.add(task)
        task.add_done_callback(self._commands.discard)


def _count(answers: Sequence[Answer]) -> None:
    outcomes = Counter((each.intent.campaign.carrier, each.receipt.outcome) for each in answers)
    for (carrier, outcome), count in outcomes.items():
        metrics.CREATES.labels(carrier, outcome).inc(count)
    errors = (each.receipt.error for each in answers)
    metrics.TICKETS_EXPIRED.inc(sum(error is not None and error.code == fence.TICKET_EXPIRED for error in errors))


async def _persist(attempt: Callable[[], Awaitable[SettleResult]]) -> SettleResult | None:
    for pause_s in (*RETRIES_S, None):
        try:
            return await attempt()
        except (DBAPIError, PoolTimeout) as error:
            if pause_s is None:
                log.exception("settle.failed")
                return None
            log.warning("settle.retried", error=_words(error), pause_s=pause_s)
            await asyncio.sleep(pause_s)
    return None


def _words(error: DBAPIError | PoolTimeout) -> str:
    """What the driver said, without the statement and its parameters."""
    return str(error.orig if isinstance(error, DBAPIError) else error)


async def _log_failure(commanding: Awaitable[None]) -> None:
    """A command that is lost with PostgreSQL is sent again by the watch, under its number."""
    try:
        await commanding
    except (DBAPIError, PoolTimeout) as error:
        log.warning("commands.interrupted", error=_words(error))


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
