"""The relay gives every event its number and shows it to the streams (P6).

Rows of the outbox are taken in the order of their ids, which their writers drew after they had locked what the event is
about: so an event's row is visible, and earlier, before anything that it caused. One transaction takes rows, numbers
their events after the account's head, records them and moves the head: there is no cursor that could miss a row which
committed late, and no number that could be given twice or left out.

Leadership is a row, held for `LEASE_S` by the database's clock and locked in each numbering transaction. A session lock
would survive SIGSTOP: a stopped leader wakes, finds another's name in the row, and has done nothing. What a killed,
stopped or Redis-less relay did not show, readers fetch from PostgreSQL.
"""

import asyncio
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.feed import chunks
from engine.feed.chunks import Chunk
from engine.feed.log import EPOCH
from engine.store.database import autocommit
from engine.store.event_chunks import CHUNK_EVENTS

LEASE_S = 3.0
BATCH_EVENTS = 5000  # about 20 ms of the database's time: the millisecond that any batch costs is spread over them
BATCH_ROWS = 1000
IDLE_POLL_S = 0.025
PAUSES = 4.0  # after a batch, as long as it took: a fifth of the time is spent on batches, the busier the larger ones
LONGEST_PAUSE_S = 0.02
EVENT_PAUSE_S = 0.0001  # for each event: when more than 10,000 come in a second, few large batches matter more than
LONGEST_BUSY_PAUSE_S = 0.05  # the 30 ms by which this is longer
STANDBY_POLL_S = 0.5
REDIS_TIMEOUT_S = 1.0
FAILURE_PAUSE_S = 1.0
FULL_LOOK_S = 10.0

_SNAPSHOT = (
    "pg_snapshot_xmin(pg_current_snapshot())::text::bigint, pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
)
_LOOK = text(f"select exists (select from outbox where id > :floor order by id limit 1), {_SNAPSHOT}")

_LEAD = text(
    f"""
    insert into leaders as held (name, owner, epoch, expires_at)
    values ('relay', :owner, 1, clock_timestamp() + make_interval(secs => :lease_s))
    on conflict (name) do update
       set owner = excluded.owner,
           epoch = held.epoch + (held.owner <> excluded.owner)::int,
           expires_at = clock_timestamp() + make_interval(secs => :lease_s)
     where held.owner = excluded.owner or held.expires_at < clock_timestamp()
    returning epoch, {EPOCH}, {_SNAPSHOT}
    """
)

# A later statement than _LEAD's, so that it sees what the last leader committed before it let the row go.
#
# Small rows of an account become one chunk. A chunk may hold `:chunk` events and a row has no more, so let a boundary
# be at every such number: rows between the same two boundaries fit together, and one that lies across a boundary
# stays alone. Twice the count of boundaries before a row, and one if it lies across the next, tells these groups apart.
# A row that stays alone is passed on as it lies in the outbox, compressed, which `string_agg` would undo and do again.
_SEQUENCE = text(
    """
    with taken as (
        delete from outbox where id in (
            select id from (
                select id, sum(count) over (order by id) - count as before
                  from (select id, count from outbox where id > :floor order by id limit :rows) oldest
            ) counted where before < :events
        ) returning id, account_id, count, body
    ), numbered as (
        select account_id, coalesce(head.seq, 0) + sum(count) over (partition by account_id order by id) as last,
               count, body
          from taken left join event_heads head using (account_id)
    ), grouped as (
        select account_id, last - count + 1 as first, last, body, part,
               count(*) over (partition by account_id, part) as rows
          from (select *, (last - count) / :chunk + (last - 1) / :chunk as part from numbered) parted
    ), chunks as (
        select account_id, min(first) as first, max(last) as last,
               coalesce(any_value(body) filter (where rows = 1),
                        string_agg(body, chr(10) order by last) filter (where rows > 1)) as body
          from grouped group by account_id, part
    ), recorded as (
        insert into event_chunks (account_id, first, last, recorded_on, body)
        select account_id, first, last, current_date, body from chunks
    ), moved as (
        insert into event_heads as h (account_id, seq)
        select account_id, max(last) from chunks group by account_id order by account_id
        on conflict (account_id) do update set seq = excluded.seq
    )
    select account_id, first, last, body, (select max(id) from taken) from chunks order by account_id, first
    """
)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction numbered."""

    stream_epoch: str
    chunks: list[Chunk]

    @property
    def count(self) -> int:
        return sum(chunk.last - chunk.first + 1 for chunk in self.chunks)


class Floor:
    """An outbox id up to which all was taken and nothing can appear any more: the search begins there.

    Without it, each look would step over all rows that were ever taken, as long as any old snapshot (a dump, a report)
    keeps the database from forgetting them. An id is safe once every transaction that had begun to write when it was
    taken has ended, and what these have written was taken too. A writer without a transaction id of its own yet, frozen
    between drawing its row's id and writing the row, would slip through: so the search begins at zero every
    `FULL_LOOK_S`.
    """

    def __init__(self) -> None:
        self.value = 0
        self._taken = 0  # the highest id taken by the last batch
        self._candidate: tuple[int, int] | None = None  # (id, first transaction that cannot have drawn a lower one)
        self._is_ripe = False  # every lower row that will ever be is in sight
        self._full_at = time.monotonic() + FULL_LOOK_S

    def lower_when_due(self) -> None:
        """Before a look at the outbox."""
        if time.monotonic() >= self._full_at:
            self._full_at = time.monotonic() + FULL_LOOK_S
            self.value, self._candidate = 0, None

    def look(self, xmin: int, xmax: int) -> None:
        """Before a search that sees at least the snapshot of which `xmin` and `xmax` are."""
        self._candidate = self._candidate or (self._taken, xmax)
        self._is_ripe = xmin >= self._candidate[1]

    def searched(self, newest: int | None) -> None:
        """After it: all rows in sight up to the id `newest` are taken; None: there were none."""
        if self._is_ripe and self._candidate is not None:
            self.value = self._candidate[0] if newest is None else min(self._candidate[0], newest)
            self._candidate = None
        self._taken = newest or self._taken


def _ignore(count: int, lag_s: float) -> None: ...


class Relay:
    """One of any number of relays; at any time one of them leads.

    `on_batch(count, lag_s)` hears of each look at the outbox: `lag_s` is an upper bound of how long its events waited,
    the real time since this relay last found the outbox empty.
    """

    def __init__(
        self,
        db: AsyncEngine,
        redis: Redis,
        *,
        keep: int,
        poll_s: float = 0.005,
        on_batch: Callable[[int, float], None] = _ignore,
        lease_s: float = LEASE_S,
    ) -> None:
        self.owner = uuid.uuid4().hex
        self._db = db
        self._reader = autocommit(db)
        self._redis = redis
        self._keep = keep
        self._poll_s = poll_s
        self._on_batch = on_batch
        self._lease_s = lease_s
        self._epoch = 0  # of the leadership, for the log
        self._floor = Floor()
        self._is_idle = True
        self._drained_at = time.monotonic()
        self._redis_again_at = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Relays until `stop` is set; survives the loss of either server."""
        wait_s = self._poll_s
        while not stop.is_set():
            try:
                began = time.monotonic()
                count = await self.run_once()
            except (SQLAlchemyError, OSError) as error:
                _log.warning("relay.failed", error=type(error).__name__)
                count, wait_s = None, FAILURE_PAUSE_S
            if count is None:
                wait_s = max(wait_s, STANDBY_POLL_S)
            elif count >= BATCH_EVENTS:
                continue
            elif count:
                wait_s = self._pause_s(count, time.monotonic() - began)
            else:
                wait_s = min(wait_s * 1.2, max(IDLE_POLL_S, self._poll_s))
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await stop.wait()

    async def run_once(self) -> int | None:
        """Numbers and shows one batch; answers how many events, None when another relay leads.

        Raises what the database raises; then nothing was numbered, or what was is in PostgreSQL to read.
        """
        batch = await self.number()
        if batch is None:
            return None
        if not batch.chunks:
            self._drained_at = time.monotonic()
            self._on_batch(0, 0.0)
            return 0
        await self._show(batch)
        self._on_batch(batch.count, time.monotonic() - self._drained_at)
        return batch.count

    async def number(self) -> Batch | None:
        """The transaction of `run_once`: an empty batch when nothing waits, None when another relay leads."""
        self._floor.lower_when_due()
        if self._is_idle and not await self._look():
            return Batch("", [])
        newest: int | None = None
        async with self._db.begin() as conn:
            epoch = await self._lead(conn)
            if epoch is not None:
                numbered, newest = await self._sequence(conn)
        self._is_idle = newest is None
        if epoch is None:
            return None
        self._floor.searched(newest)
        return Batch(epoch, numbered)

    def _pause_s(self, count: int, took_s: float) -> float:
        """After a batch of so many events that took so long."""
        return max(
            self._poll_s, min(PAUSES * took_s, LONGEST_PAUSE_S), min(EVENT_PAUSE_S * count, LONGEST_BUSY_PAUSE_S)
        )

    async def _look(self) -> bool:
        """Whether anything waits. Only an idle relay asks: a busy one would find something, mostly.

        Outside of any transaction: at the end of one that is rolled back psycopg forgets what it has prepared.
        """
        async with self._reader.connect() as conn:
            pending, xmin, xmax = (await conn.execute(_LOOK, {"floor": self._floor.value})).one()
        if not pending:
            self._floor.look(xmin, xmax)
            self._floor.searched(None)
        return bool(pending)

    async def _lead(self, conn: AsyncConnection) -> str | None:
        """The stream epoch, once the leader's row is ours and locked; None when it is another's."""
        lead = (await conn.execute(_LEAD, {"owner": self.owner, "lease_s": self._lease_s})).one_or_none()
        if lead is None:
            return None
        epoch, stream_epoch, xmin, xmax = lead
        if epoch != self._epoch:
            self._epoch = epoch
            _log.info("relay.leadership_taken", epoch=epoch)
        self._floor.look(xmin, xmax)
        return str(stream_epoch)

    async def _sequence(self, conn: AsyncConnection) -> tuple[list[Chunk], int | None]:
        """The numbered events, and the highest id of their rows in the outbox."""
        limits = {"floor": self._floor.value, "rows": BATCH_ROWS, "events": BATCH_EVENTS, "chunk": CHUNK_EVENTS}
        rows = (await conn.execute(_SEQUENCE, limits)).all()
        numbered = [Chunk(account_id, first, last, body.encode()) for account_id, first, last, body, _ in rows]
        return numbered, rows[0][-1] if rows else None

    async def _show(self, batch: Batch) -> None:
        """Fills a cache: a failure costs readers a look into PostgreSQL, and the relay one second of trying."""
        if time.monotonic() < self._redis_again_at:
            return
        try:
            async with asyncio.timeout(REDIS_TIMEOUT_S):
                await chunks.add(self._redis, batch.stream_epoch, batch.chunks, self._keep)
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            self._redis_again_at = time.monotonic() + FAILURE_PAUSE_S
            _log.warning("relay.redis_failed", error=type(error).__name__)


_log = structlog.get_logger()
