"""Keeps the numbers' health up, and moves them through the states of the pool when their score or their time says so.

Two duties, each safe to run in every coordinator at once: outcomes are consumed under row locks, a number is judged
and moved under its own lock, and one whose state has already changed is left alone.
"""

from datetime import datetime

from engine.clock import add
from engine.rules import did_health, did_pool
from engine.rules.did_health import Band
from engine.rules.did_policy import Policy
from engine.rules.did_pool import Cause, Move, Standing
from engine.runtime import Runtime
from engine.store import did_health as health_store
from engine.store import did_pool as pool_store
from engine.store import reputation
from engine.store.did_health import Record

_BATCH = 200


class Health:
    """Folds what became of calls and texts into the numbers' windows, then judges those whose turn it is."""

    every_s = 1.0

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._reader = runtime.reader

    async def run_once(self) -> int:
        """Returns how many numbers were moved to another state."""
        folded = _BATCH
        while folded == _BATCH:
            async with self._runtime.db.begin() as conn:
                folded = await health_store.fold(conn, _BATCH)
        async with self._reader.connect() as conn:
            to_judge = await health_store.to_judge(conn)
        return sum([await self._judge(did_id) for did_id in to_judge])

    async def _judge(self, did_id: int) -> bool:
        """One transaction per number: the number's row first, then its health's."""
        now = self._runtime.clock.now()
        async with self._runtime.db.begin() as conn:
            did = await pool_store.lock(conn, did_id)
            record = await health_store.lock(conn, did_id)
            if did is None or record is None:
                return False
            way = judge(did.standing, record, now, did.policy(self._runtime.settings.did_policy))
            await health_store.judged(conn, did_id)
            if way is None:
                return False
            detail: dict[str, object] = {"score": record.score, "smsScore": record.sms_score}
            return await pool_store.move(conn, did, way, now, detail=detail)


class Rests:
    """Ends what ends by itself: warming, and the rests of numbers that cool."""

    every_s = 1.0

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._reader = runtime.reader

    async def run_once(self) -> int:
        """Returns how many numbers were moved to another state."""
        now = self._runtime.clock.now()
        async with self._reader.connect() as conn:
            ids = await pool_store.ended(conn, now)
        return sum([await self._end(did_id, now) for did_id in ids])

    async def _end(self, did_id: int, now: datetime) -> bool:
        setting = self._runtime.settings.did_policy
        async with self._runtime.db.begin() as conn:
            is_labelled = await reputation.is_flagged(conn, did_id)
            moved = await pool_store.decide(
                conn,
                did_id,
                lambda did: did_pool.end_of_time(did.standing, is_labelled, now, did.policy(setting)),
                now,
            )
        return moved is not None


def judge(standing: Standing, record: Record, now: datetime, policy: Policy) -> Move | None:
    """What a number's health means for its state: a flag first, then the texts' score, then the calls'."""
    if record.flag:
        return did_pool.flag(standing, Cause(record.flag), now, policy)
    low_at = record.sms_low_at
    if low_at is not None and add(low_at, did_health.SMS_LOW_FOR_S) <= now:
        return did_pool.flag(standing, Cause.LOW_SMS_SCORE, now, policy)
    match did_health.verdict(record.score, len(record.calls), record.fresh):
        case Band.BURNED:
            return did_pool.simple(standing, Cause.WORN_OUT)
        case Band.TIRED:
            return did_pool.tire(standing, now, policy)
    return None
