"""Upkeep of the tables: counters of past minutes folded, log partitions made ahead and dropped, old keys purged."""

from datetime import timedelta
from itertools import groupby
from operator import attrgetter

from engine.clock import real_now
from engine.coordinator.shard import Shard
from engine.rules import suppression
from engine.rules.relationship import LONGEST
from engine.rules.usage import day_of
from engine.runtime import Runtime
from engine.store import call_hours, counts, idempotency, operations, partitions, people, suppressions, usage

_OPEN_MINUTES = 2  # a lane may still be writing to the present and the past one
_CONTACTS_AT_ONCE = 50_000
_SUPPRESSIONS_AT_ONCE = 2_000
_OPEN_DAYS = 10  # usage of a day may still change while its last texts wait for their reports


class Fold:
    """Keeps the read of a campaign's counters at a handful of rows."""

    every_s = 60.0

    def __init__(self, runtime: Runtime, shard: Shard) -> None:
        self._db, self._clock, self._shard = runtime.db, runtime.clock, shard

    async def run_once(self) -> None:
        before = int(real_now().timestamp() // 60) - _OPEN_MINUTES
        for campaign_id in list(self._shard.walks):
            async with self._db.begin() as conn:
                await counts.fold(conn, campaign_id, before)
            async with self._db.begin() as conn:
                await call_hours.fold(conn, campaign_id, self._clock.now())


class Partitions:
    every_s = 3600.0

    def __init__(self, runtime: Runtime) -> None:
        self._db, self._keep_days = runtime.db, runtime.settings.event_keep_days

    async def run_once(self) -> None:
        today = real_now().date()
        async with self._db.begin() as conn:
            await conn.run_sync(partitions.create_ahead, today)
        async with self._db.begin() as conn:
            await conn.run_sync(partitions.drop_older, today, self._keep_days)


class Purge:
    every_s = 3600.0

    def __init__(self, runtime: Runtime) -> None:
        self._db, self._clock = runtime.db, runtime.clock

    async def run_once(self) -> None:
        async with self._db.begin() as conn:
            await idempotency.purge(conn)
        async with self._db.begin() as conn:
            await usage.fold(conn, day_of(self._clock.now() - timedelta(days=_OPEN_DAYS)))
        async with self._db.begin() as conn:
            await operations.purge(conn)
        async with self._db.begin() as conn:
            await suppressions.forget_lifted(conn, self._clock.now() - LONGEST)
        try:
            await self._forget_contacts()
        finally:  # one that takes too long does not keep the other from its legal term
            await self._forget_suppressions()

    async def _forget_contacts(self) -> None:
        """Those that count for no cap any more."""
        forgotten = _CONTACTS_AT_ONCE
        while forgotten == _CONTACTS_AT_ONCE:
            async with self._db.begin() as conn:
                forgotten = await people.forget_contacts(conn, self._clock.now(), _CONTACTS_AT_ONCE)

    async def _forget_suppressions(self) -> int:
        """Numbers whose legal term is over; returns how many."""
        now = self._clock.now()
        before = suppression.term_end(now, -suppression.least_years())
        after, forgotten = (-1, ""), 0
        while True:
            async with self._db.begin() as conn:
                some = await suppressions.old(conn, before, _SUPPRESSIONS_AT_ONCE, after)
                over = [each for each in some if suppression.may_forget(each.phone, each.created_at, now)]
                for account_id, group in groupby(over, attrgetter("account_id")):
                    phones = [each.phone for each in group]
                    forgotten += await suppressions.forget(conn, account_id, phones, before, now)
            if len(some) < _SUPPRESSIONS_AT_ONCE:
                return forgotten
            after = some[-1].account_id, some[-1].phone
