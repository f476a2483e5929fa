"""Carries out operations: numbers searched, bought and given back at a carrier, reputations asked for.

Each is safe to carry out twice. What a carrier is asked to do bears a ref made of the operation's own id, and it
answers a repeat of that ref as it answered the first. So a worker may be killed at any point: another takes the
operation when the lease is over, and does what is left of it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine import metrics
from engine.carriers.port import Carrier, CarrierError, Fault, NumberOffer, NumberSearch, Outcome, Receipt
from engine.carriers.reputation import ReputationProvider
from engine.clock import Clock
from engine.ids import encode
from engine.jobs import Queue
from engine.outages import words
from engine.rules import did_pool, operation, reputation
from engine.rules.did_pool import USABLE, Cause, DidState
from engine.rules.operation import Kind
from engine.rules.reputation import EngineVerdict, Reputation
from engine.settings import Settings
from engine.store import did_health, did_trade, operations
from engine.store import did_pool as pool_store
from engine.store import reputation as reputation_store
from engine.store.database import autocommit
from engine.store.did_pool import Numbered
from engine.store.operations import Operation

log = structlog.get_logger(__name__)


class Later(Exception):
    """The carrier gave no answer that settles it: try again. Never leaves this module."""

    def __init__(self, error: CarrierError | None) -> None:
        super().__init__(error.text if error else "")
        self.error = error


class Refused(Exception):
    """The carrier will not do it. Never leaves this module."""

    def __init__(self, error: CarrierError) -> None:
        super().__init__(error.text or error.code)
        self.error = error


class Operating:
    """`run` from any thread; `drain` at the end."""

    def __init__(
        self,
        engine: AsyncEngine,
        carriers: Mapping[str, Carrier],
        providers: Mapping[str, ReputationProvider],
        clock: Clock,
        settings: Settings,
        finished: Callable[[Queue, Sequence[str]], None],
    ) -> None:
        self._engine = engine
        self._carriers, self._providers = carriers, providers
        self._clock, self._settings = clock, settings
        self._finished = finished
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, message_id: str, operation_id: int) -> None:
        self._loop.call_soon_threadsafe(self._start, message_id, operation_id)

    async def drain(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _start(self, message_id: str, operation_id: int) -> None:
        task = asyncio.create_task(self._carry_out(message_id, operation_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_out(self, message_id: str, operation_id: int) -> None:
        try:
            await self.carry_out(operation_id)
        except DBAPIError as error:
            log.warning("operation.interrupted", operation=encode("op", operation_id), error=words(error))
        except Exception:
            log.exception("operation.failed", operation=encode("op", operation_id))
        finally:
            self._finished(Queue.SETTLE, [message_id])

    async def carry_out(self, operation_id: int) -> None:
        """Does what is left of an operation that is due. Raises what PostgreSQL raises; it is then tried again."""
        async with self._engine.begin() as conn:
            op = await operations.take(conn, operation_id)
        if op is None:
            return
        try:
            result = await _ACTIONS[op.kind](self, op)
        except Later as later:
            await self._postpone(op, later.error)
        except Refused as refused:
            await self._finish(op, error=refused.error)
        else:
            await self._finish(op, result=result)

    async def _postpone(self, op: Operation, error: CarrierError | None) -> None:
        if operation.gives_up(op.kind, op.age_s):
            await self._finish(op, error=error or CarrierError(Fault.UNKNOWN, "no_answer"))
            return
        pause_s = operation.pause_s(op.tries, error.retry_after_s if error else None)
        async with self._engine.begin() as conn:
            await operations.postpone(conn, op.id, pause_s)
        log.info("operation.postponed", operation=op.public_id, kind=op.kind, pause_s=pause_s)

    async def _finish(
        self, op: Operation, *, result: Mapping[str, object] | None = None, error: CarrierError | None = None
    ) -> None:
        told: dict[str, object] | None = None
        if error is not None:
            told = {"code": error.code or error.fault, "message": error.text or f"the carrier says {error.fault}"}
        async with self._engine.begin() as conn:
            is_first = await operations.finish(conn, op.id, result=result, error=told)
        if is_first:
            metrics.OPERATIONS.labels(op.kind, "failed" if error else "done").inc()
            log.info("operation.finished", operation=op.public_id, kind=op.kind, error=error and error.code)

    async def _search(self, op: Operation) -> dict[str, object]:
        found = await self._carrier(op).search_numbers(NumberSearch(**op.request))
        if found.error is not None:
            raise Later(found.error) if found.error.retryable else Refused(found.error)
        return {"available": [_show(offer) for offer in found.numbers]}

    async def _purchase(self, op: Operation) -> dict[str, object] | None:
        """Number by number, each with its own ref; what an earlier try has settled is left alone."""
        done = op.result or {}
        doubtful: CarrierError | None = None
        for index, (number, did_id) in enumerate(op.request["numbers"]):
            if number in done:
                continue
            receipt = await self._carrier(op).buy_number(number, f"{op.public_id}-{index}")
            if _is_doubtful(receipt):
                doubtful = receipt.error or CarrierError(Fault.UNKNOWN, "no_answer")
            else:
                await self._settle_purchase(op, number, did_id, receipt)
        if doubtful is not None:
            raise Later(doubtful)
        return None

    async def _settle_purchase(self, op: Operation, number: str, did_id: int, receipt: Receipt) -> None:
        now = self._clock.now()
        async with self._engine.begin() as conn:
            if receipt.outcome is Outcome.ACCEPTED:
                policy = self._settings.did_policy
                await did_trade.bought(conn, did_id, receipt.carrier_id, now, policy, op.actor)
                said = ""
            else:
                await did_trade.not_bought(conn, did_id, now, op.actor)
                said = (receipt.error and receipt.error.text) or "the carrier does not sell it"
            await operations.note(conn, op.id, {number: said})

    async def _release(self, op: Operation) -> dict[str, object]:
        number, did_id = op.request["number"], op.request["did_id"]
        async with autocommit(self._engine).connect() as conn:
            carrier_id = await did_trade.carrier_id(conn, did_id)
        receipt = await self._carrier(op).release_number(number, carrier_id, op.public_id)
        if _is_doubtful(receipt):
            raise Later(receipt.error)
        if receipt.error is not None:
            raise Refused(receipt.error)
        async with self._engine.begin() as conn:
            await did_trade.released(conn, did_id, self._clock.now(), op.actor)
        return {"number": number, "state": DidState.RELEASED}

    async def _check_reputation(self, op: Operation) -> dict[str, object]:
        number, did_id = op.request["number"], op.request["did_id"]
        found = await self._providers[op.carrier].check(number)
        if found.error is not None:
            raise Later(found.error) if found.error.retryable else Refused(found.error)
        folded = reputation.fold(found.verdicts)
        async with self._engine.begin() as conn:
            await self._take_reputation(conn, op, did_id, folded, found.verdicts)
        return {"number": number, "flagged": folded.flagged}

    async def _take_reputation(
        self, conn: AsyncConnection, op: Operation, did_id: int, found: Reputation, verdicts: Sequence[EngineVerdict]
    ) -> None:
        """Writes what was found, tells what is new, and lets the number react."""
        now = self._clock.now()
        did = await pool_store.lock(conn, did_id)
        if did is None or did.account_id != op.account_id:
            return
        before = await reputation_store.write(conn, did.account_id, did_id, found, verdicts, now)
        await did_health.relabel(conn, did_id)
        if event := reputation.event_of(before, found.flagged):
            told = {"flagged": found.flagged, "overallScore": found.overall_score, "reason": found.reason}
            await pool_store.tell(conn, did, event, now, told)
        way = _reaction(did, found.flagged, now, self._settings.did_policy)
        if way is not None:
            await pool_store.move(conn, did, way, now, actor=op.actor, detail={"label": found.reason})

    def _carrier(self, op: Operation) -> Carrier:
        return self._carriers[op.carrier]


_ACTIONS: Mapping[Kind, Callable[[Operating, Operation], Any]] = {
    Kind.SEARCH: Operating._search,
    Kind.PURCHASE: Operating._purchase,
    Kind.RELEASE: Operating._release,
    Kind.REPUTATION: Operating._check_reputation,
}


def _reaction(did: Numbered, is_flagged: bool, now: datetime, setting: str) -> did_pool.Move | None:
    """A labelled number does not go on calling; one that waited for its label to go warms again."""
    standing, policy = did.standing, did.policy(setting)
    if is_flagged:
        is_at_work = standing.state in USABLE or standing.state is DidState.COOLING
        return did_pool.flag(standing, Cause.LABEL, now, policy) if is_at_work else None
    if standing.state is DidState.QUARANTINE and standing.reason == Cause.STILL_LABELLED:
        return did_pool.warm(standing, Cause.CLEARED, now, policy)
    return None


def _is_doubtful(receipt: Receipt) -> bool:
    """Nobody knows, nothing was sent, or not now: to be tried again under the same ref."""
    if receipt.outcome in (Outcome.UNKNOWN, Outcome.NOT_SENT):
        return True
    return receipt.error is not None and receipt.error.retryable


def _show(offer: NumberOffer) -> dict[str, object]:
    return {
        "number": offer.number,
        "areaCode": offer.area_code,
        "city": offer.city,
        "state": offer.state,
        "cost": offer.monthly_cost,
    }
