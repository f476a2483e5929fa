"""The event streams of one process: history before live, heartbeats, slow readers.

A client is either *up to date*, written to by its account's tail as events arrive, or *catching up*: a coroutine writes
slices from a cursor on, waits for the network between them, and hands the client over in the same step of the loop in
which it wrote the newest event, so that nothing can come between. Who falls behind goes back to catching up; who does
not drain, or falls out of what is worth fetching, is cut and resumes by id.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from types import TracebackType
from typing import Self

import structlog
from redis.asyncio import Redis
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from engine import metrics
from engine.feed.dialect import Dialect, Encoded, Filter
from engine.feed.log import EventLog
from engine.feed.replay import Replay, matching, parse_id, plan
from engine.feed.tail import SLICE_BYTES, Sink, Subscription, Tail
from engine.feed.tails import Tails

STALL_S = 10.0
CANCEL_AGAIN_S = 0.2  # redis-py has been seen to swallow a cancellation while it reads
DEEP_REPLAYS = 4  # at a time and process, each of another account: they may search the whole log in PostgreSQL

Greeting = Callable[[int], bytes]
"""The frame that a stream begins with, given the number after which it goes on."""

_log = structlog.get_logger()


class Hub:
    """Use `async with Hub(…) as hub`; it ends with every client cut."""

    def __init__(
        self,
        db: AsyncEngine,
        redis: Redis,
        *,
        replay_limit: int = 1000,
        memory_events: int = 2000,
        max_behind: int = 10_000,
        heartbeat_s: float = 30.0,
        slow_reader_bytes: int = 262_144,
        stall_s: float = STALL_S,
    ) -> None:
        """`memory_events` per account are kept encoded; a client that falls `max_behind` events behind is cut."""
        self._event_log = EventLog(db)
        self._replay_limit = replay_limit
        self._max_behind = max_behind
        self._heartbeat_s = heartbeat_s
        self._stall_s = stall_s
        self._deep_replays = asyncio.Semaphore(DEEP_REPLAYS)
        self._subscriptions: dict[Subscription, Tail] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._tails = Tails(
            self._event_log,
            redis,
            size=memory_events,
            limit_bytes=slow_reader_bytes,
            on_lag=self._lagged,
        )

    async def __aenter__(self) -> Self:
        for duty in (self._tails.read(), self._tails.sweep(), self._beat()):
            self._spawn(duty)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut_all()
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=CANCEL_AGAIN_S)

    async def subscribe(
        self,
        account_id: int,
        sink: Sink,
        dialect: Dialect,
        wish: Filter,
        last_event_id: str | None,
        greeting: Greeting | None = None,
    ) -> Subscription:
        """Writes the greeting and the replay that `last_event_id` asks for; live events follow without gap or repeat.

        Returns once live. Pair it with `unsubscribe`. Raises what the database raises.
        """
        tail = await self._tails.get(account_id)
        after = None if last_event_id is None else parse_id(last_event_id)
        if after is not None and after > tail.last:  # another process may have been ahead of this one
            await self._tails.refresh(tail)
        subscription = Subscription(account_id, sink, dialect, wish)
        self._subscriptions[subscription] = tail
        tail.clients += 1
        metrics.STREAMS_OPEN.labels(dialect.name).inc()
        try:
            await self._begin(tail, subscription, last_event_id, after, greeting)
        except BaseException:
            self.unsubscribe(subscription)
            raise
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forgets a client that has gone; a second call does nothing."""
        tail = self._subscriptions.pop(subscription, None)
        if tail is not None:
            subscription.ended = True
            tail.clients -= 1
            tail.leave(subscription)
            metrics.STREAMS_OPEN.labels(subscription.dialect.name).dec()

    def cut_all(self) -> None:
        """Aborts every connection, so that each client comes back, to another process if there is one."""
        for subscription in list(self._subscriptions):
            subscription.cut("shutdown")

    async def _begin(
        self,
        tail: Tail,
        subscription: Subscription,
        last_event_id: str | None,
        after: int | None,
        greeting: Greeting | None,
    ) -> None:
        is_known = after is not None and after <= tail.last
        if greeting is not None:
            subscription.write(greeting(after if after is not None and is_known else tail.last))
        if after is not None and is_known:
            await self._resume(tail, subscription, after)
            return
        if last_event_id is not None:
            subscription.write(subscription.dialect.reset(last_event_id, tail.last))
        tail.join(subscription)

    async def _resume(self, tail: Tail, subscription: Subscription, after: int) -> None:
        history = tail.history
        replay = await self._plan(tail, subscription, after)
        if replay.oldest is not None:
            subscription.write(subscription.dialect.truncated(after, replay.oldest, tail.last))
        await self._write(subscription, replay.older)
        await self._catch_up(tail, subscription, replay.cursor, history)

    async def _plan(self, tail: Tail, subscription: Subscription, after: int) -> Replay:
        limit = self._replay_limit
        if after >= tail.first - 1:
            return await plan(self._event_log, tail, subscription, after, limit)
        async with tail.searching, self._deep_replays:
            return await plan(self._event_log, tail, subscription, after, limit)

    async def _catch_up(self, tail: Tail, subscription: Subscription, cursor: int, history: int) -> None:
        """Writes what follows `cursor` until the subscription is up to date, or has ended.

        `history` is the tail's of the moment that the cursor is from: another one may have begun while somebody waited.
        """
        while subscription.is_open:
            if tail.history != history or cursor > tail.last:
                subscription.write(subscription.dialect.reset(str(cursor), tail.last))
                history, cursor = tail.history, tail.last
            if tail.last - cursor > self._max_behind + self._replay_limit:
                subscription.cut("behind")
            elif cursor < tail.first - 1:
                cursor = await self._write_recorded(tail, subscription, cursor)
            else:
                frames, cursor = tail.slice(subscription, cursor)
                if frames:
                    subscription.write(frames)
                if cursor == tail.last:
                    tail.join(subscription)
                    return
                await self._drain(subscription)

    async def _write_recorded(self, tail: Tail, subscription: Subscription, cursor: int) -> int:
        """Writes what left memory while the client drained; answers the new cursor."""
        upto = tail.first - 1
        async with tail.searching, self._deep_replays:
            most = self._max_behind + self._replay_limit
            events = await matching(self._event_log, tail, subscription, cursor, upto, most)
        await self._write(subscription, events)
        return upto

    async def _write(self, subscription: Subscription, events: Iterable[Encoded]) -> None:
        wanted, size = [], 0
        for event in events:
            wanted.append(event.frame)
            size += len(event.frame)
            if size >= SLICE_BYTES:
                subscription.write(b"".join(wanted))
                wanted, size = [], 0
                await self._drain(subscription)
        if wanted:
            subscription.write(b"".join(wanted))

    async def _drain(self, subscription: Subscription) -> None:
        try:
            async with asyncio.timeout(self._stall_s):
                await subscription.sink.drained()
        except TimeoutError:
            subscription.cut("slow")

    def _lagged(self, subscription: Subscription) -> None:
        tail = self._subscriptions.get(subscription)
        if tail is not None:
            self._spawn(self._recover(tail, subscription, tail.last, tail.history))

    async def _recover(self, tail: Tail, subscription: Subscription, cursor: int, history: int) -> None:
        try:
            await self._drain(subscription)
            await self._catch_up(tail, subscription, cursor, history)
        except (SQLAlchemyError, OSError):
            subscription.cut("database")
        except Exception:
            subscription.fail()

    async def _beat(self) -> None:
        """One timer for all clients. One that catches up gets it too: it may wait long for its turn at the database,
        and between two writes, which are whole frames, there is always room."""
        while True:
            await asyncio.sleep(self._heartbeat_s)
            for subscription in list(self._subscriptions):
                subscription.write(subscription.dialect.heartbeat)

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("streams.task_failed", exc_info=error)
