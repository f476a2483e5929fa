"""Callbacks on their way into PostgreSQL, many to a commit.

A campaign's callbacks arrive by the thousand a second and each must be committed before it is answered. One at a time
would be one disk flush each; together they share it. What arrives while one batch commits is the next batch, and more
of it may come for a few times as long as that commit took: the busier the machine, the larger the batches. When nothing
is under way, nobody waits for company.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.errors import Unavailable
from engine.jobs import Actor, Queue, enqueue
from engine.outages import log_failure
from engine.store import callbacks
from engine.store.callbacks import Report
from engine.store.database import autocommit

log = structlog.get_logger(__name__)

MOST_ROWS = 100
PAUSES = 3.0  # after a commit, as long as it took: a batch costs half a millisecond, however many share it
LONGEST_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class _Waiting:
    reports: Sequence[Report]
    done: asyncio.Future[None]


class Inbox:
    """`put` returns once its reports are committed. `close` waits for what is under way."""

    def __init__(self, db: AsyncEngine, queue: Redis | None) -> None:
        """Without `queue` no worker is told: whoever puts a report settles it."""
        self._db = autocommit(db)  # one statement: it begins and commits by itself
        self._queue = queue
        self._waiting: list[_Waiting] = []
        self._writer: asyncio.Task[None] | None = None
        self._hints: set[asyncio.Task[None]] = set()

    async def put(self, reports: Sequence[Report]) -> None:
        """Raises Unavailable when they could not be stored: the carrier then sends them again."""
        if not reports:
            return
        waiting = _Waiting(reports, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        await waiting.done

    async def close(self) -> None:
        """Returns when everything put so far is committed or refused."""
        if self._writer is not None:
            await self._writer
        await asyncio.gather(*self._hints)

    async def _write(self) -> None:
        while self._waiting:
            batch = self._next()
            began = time.monotonic()
            try:
                ids = await self._commit([report for waiting in batch for report in waiting.reports])
            except Exception as error:
                log_failure(log, "inbox.refused", error, reports=sum(len(waiting.reports) for waiting in batch))
                _finish(batch, Unavailable(f"not stored ({type(error).__name__}); send it again"))
            else:
                _finish(batch, None)
                self._start_hint(ids)
            if 0 < len(self._waiting) < MOST_ROWS:
                await asyncio.sleep(min(PAUSES * (time.monotonic() - began), LONGEST_PAUSE_S))

    def _next(self) -> list[_Waiting]:
        size, count = 0, 0
        while count < len(self._waiting) and (count == 0 or size + len(self._waiting[count].reports) <= MOST_ROWS):
            size += len(self._waiting[count].reports)
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    async def _commit(self, reports: Sequence[Report]) -> list[int]:
        async with self._db.connect() as conn:
            return await callbacks.insert_many(conn, reports)

    def _start_hint(self, ids: list[int]) -> None:
        """Beside the next commit: a Redis that hangs must not hold up callbacks."""
        if ids and self._queue is not None:
            task = asyncio.create_task(self._hint(self._queue, ids))
            self._hints.add(task)
            task.add_done_callback(self._hints.discard)

    async def _hint(self, queue: Redis, ids: list[int]) -> None:
        """Asks a worker to settle them. A lost hint costs seconds: the coordinator sweeps the inbox."""
        try:
            await enqueue(queue, Queue.SETTLE, Actor.SETTLE_CALLBACKS, [[ids]])
        except (RedisError, OSError) as error:
            log.warning("inbox.hint_lost", callbacks=len(ids), error=str(error))


def _finish(batch: Sequence[_Waiting], error: Exception | None) -> None:
    for waiting in batch:
        if waiting.done.done():
            continue  # its request was cancelled
        if error is None:
            waiting.done.set_result(None)
        else:
            waiting.done.set_exception(error)
