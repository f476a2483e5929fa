"""The tails of all accounts that someone follows, kept up to date by one Redis reader per process.

Redis brings events at once. A look at the heads in PostgreSQL brings what Redis lost, and everything while Redis is
away. Both end in `Tail.accept`, which takes each event once.
"""

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import NoReturn

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from engine.feed import chunks
from engine.feed.chunks import Chunk
from engine.feed.log import EventLog
from engine.feed.tail import Subscription, Tail

READ_CHUNKS = 100  # per stream and reply, usually of a few events each; of 500 when the engine is busy
SEND_BYTES = 65_536  # at a time to each client, before the sockets get their turn
MOST_PAUSE_S = 0.02
BLOCK_S = 1.0  # half the socket timeout of the clients that engine.runtime makes
SWEEP_S = 1.0
SWEEP_WITHOUT_REDIS_S = 0.05
PAUSE_S = 0.1
LINGER_S = 60.0  # a tail outlives its last client: those that lost their connection come back to a warm one

_log = structlog.get_logger()


class Tails:
    """Call `get` for an account's tail; run `read` and `sweep` beside."""

    def __init__(
        self,
        log: EventLog,
        redis: Redis,
        *,
        size: int,
        limit_bytes: int,
        on_lag: Callable[[Subscription], None],
    ) -> None:
        self._log = log
        self._redis = redis
        self._size = size
        self._limit_bytes = limit_bytes
        self._on_lag = on_lag
        self._starting: dict[int, asyncio.Task[Tail]] = {}
        self._tails: dict[int, Tail] = {}
        self._epoch = ""
        self._seen: dict[int, int] = {}  # heads at the last sweep, of this history
        self._redis_answers = True
        self._wake_key = f"ev:wake:{uuid.uuid4().hex}".encode()
        self._wake_id = "0-0"

    def all(self) -> list[Tail]:
        return list(self._tails.values())

    async def get(self, account_id: int) -> Tail:
        """The account's tail, begun when it is new. Raises what the database raises."""
        tail = self._tails.get(account_id)
        if tail is not None:
            tail.used_at = time.monotonic()
            return tail
        task = self._starting.get(account_id)
        if task is None:
            task = self._starting[account_id] = asyncio.create_task(self._start(account_id))
            task.add_done_callback(lambda _: self._starting.pop(account_id, None))
        return await asyncio.shield(task)

    async def refresh(self, tail: Tail) -> None:
        """Brings the tail to the account's newest event as of this call. Raises what the database raises."""
        heads = await self._log.heads([tail.account_id])
        await self._fill(tail, heads.newest[tail.account_id])

    async def read(self) -> NoReturn:
        """Follows Redis for ever."""
        while True:
            try:
                await self._read_once()
                self._redis_answers = True
            except Exception as error:  # of whatever kind: nobody else reads
                self._read_failed(error)
                await asyncio.sleep(PAUSE_S)

    async def sweep(self) -> NoReturn:
        """Looks at the heads for ever."""
        while True:
            await asyncio.sleep(SWEEP_S if self._redis_answers else SWEEP_WITHOUT_REDIS_S)
            try:
                await self.sweep_once()
            except (SQLAlchemyError, OSError) as error:
                _log.warning("streams.database_failed", error=type(error).__name__)
                await asyncio.sleep(SWEEP_S)
            except Exception:
                _log.exception("streams.sweep_failed")
                await asyncio.sleep(SWEEP_S)

    async def _start(self, account_id: int) -> Tail:
        before = self._epoch
        heads = await self._log.heads([account_id])
        self._epoch = self._epoch or heads.epoch
        last = heads.newest[account_id]
        tail = Tail(
            account_id,
            max(0, last - self._size),
            size=self._size,
            limit_bytes=self._limit_bytes,
            on_lag=self._on_lag,
        )
        try:
            async with asyncio.timeout(BLOCK_S):
                cached = await chunks.since(self._redis, heads.epoch, account_id, tail.last)
        except (RedisError, OSError):
            cached = []
        for chunk in cached:
            if chunk.last <= last:
                await self._fill(tail, chunk.first - 1)
                tail.accept(chunk)
        await self._fill(tail, last)
        if self._epoch not in (before, heads.epoch):  # what was read here is of another history
            return await self._start(account_id)
        self._tails[account_id] = tail
        await self._wake()
        return tail

    async def _fill(self, tail: Tail, upto: int) -> None:
        """Reads events up to `upto` from PostgreSQL. Where it has none, numbers are lost: the clients are told.

        When another history is entered meanwhile it stops: there `upto` means nothing, and a tail that believed it
        would take the new events before it for repeats.
        """
        epoch = self._epoch
        while tail.last < upto:
            chunk = await self._log.read(tail.account_id, tail.last, upto)
            if epoch != self._epoch:
                return
            if chunk is None:
                tail.restart(upto)
            elif not tail.accept(chunk):
                tail.restart(chunk.first - 1)

    async def _read_once(self) -> None:
        epoch = self._epoch
        followed = {chunks.stream_key(epoch, tail.account_id).encode(): tail for tail in self._tails.values()}
        positions: dict[chunks.Key, chunks.Position] = {key: f"{tail.last}-0" for key, tail in followed.items()}
        async with asyncio.timeout(2 * BLOCK_S):
            positions[self._wake_key] = self._wake_id
            answer = await chunks.follow(self._redis, positions, READ_CHUNKS, BLOCK_S)
        begun = time.monotonic()
        for key, entries in answer:
            tail = followed.get(key)
            if tail is None:
                self._wake_id = entries[-1][0].decode()
                continue
            for chunk in chunks.joined((chunks.parse(tail.account_id, entry) for entry in entries), SEND_BYTES):
                if epoch != self._epoch:
                    return  # the rest is of another history
                if not tail.accept(chunk):
                    await self._fill(tail, chunk.first - 1)
                    if epoch != self._epoch:
                        return
                    tail.accept(chunk)
                await asyncio.sleep(0)  # lets the sockets drain between two chunks
        # What comes while everybody is being written to waits in Redis, to be sent together: few large writes cost a
        # fraction of many small ones. Who finds several is busy, and leaves as long again to the sockets and to others;
        # who finds one is not, and looks again at once.
        if any(len(entries) > 1 for _, entries in answer):
            await asyncio.sleep(min(time.monotonic() - begun, MOST_PAUSE_S))

    def _read_failed(self, error: Exception) -> None:
        """Until the reader gets on, the sweep brings everything, unless it is PostgreSQL that is away."""
        if self._redis_answers:
            is_expected = isinstance(error, RedisError | OSError | SQLAlchemyError)  # TimeoutError is an OSError
            _log.warning("streams.redis_failed", error=type(error).__name__, exc_info=None if is_expected else error)
        self._redis_answers = isinstance(error, SQLAlchemyError)

    async def _wake(self) -> None:
        """Has the reader, which waits for the streams it knew, look at the new one too."""
        try:
            async with asyncio.timeout(PAUSE_S), self._redis.pipeline(transaction=False) as pipe:
                pipe.xadd(self._wake_key, {"wake": 1}, maxlen=1, approximate=False)
                pipe.expire(self._wake_key, int(LINGER_S))
                await pipe.execute()
        except (RedisError, OSError):
            return  # then the sweep brings its events

    async def sweep_once(self) -> None:
        heads = await self._log.heads(list(self._tails))
        if heads.epoch != self._epoch:
            await self._enter(heads.epoch)
        for tail in self.all():
            head = heads.newest.get(tail.account_id)
            if head is None:
                continue  # begun while we asked
            # With Redis at work only what it has not brought since the last look is missing.
            await self._fill(tail, self._seen.get(tail.account_id, 0) if self._redis_answers else head)
            tail.forget()
            self._drop_idle(tail)
        self._seen = heads.newest

    async def _enter(self, epoch: str) -> None:
        """Follows another history of the database, and tells the clients whom it contradicts.

        After a failover that lost nothing it goes on where the old one ended. What a failover or a restore lost is the
        end of the log, and numbers are given in the order of ids that are not given again: so the new history has the
        newest event that was shown, at its number, only if it has all before it.
        """
        shown: dict[Tail, Chunk | None] = {}
        going_on: set[Tail] = set()
        heads: dict[int, int] = {}
        while begun := [tail for tail in self.all() if tail not in shown]:  # more begin while these are looked at
            heads |= (await self._log.heads([tail.account_id for tail in begun])).newest
            shown |= {tail: tail.newest for tail in begun}
            going_on |= {tail for tail in begun if await self._has(tail, shown[tail])}
        self._epoch, self._seen = epoch, {}
        restarted = [tail for tail in self.all() if tail not in going_on or tail.newest != shown[tail]]
        _log.warning("streams.epoch_changed", epoch=epoch, accounts=len(shown), contradicted=len(restarted))
        for tail in restarted:
            tail.restart(heads[tail.account_id])

    async def _has(self, tail: Tail, newest: Chunk | None) -> bool:
        if newest is None:
            return tail.last == 0
        return await self._log.read(tail.account_id, newest.first - 1, newest.last) == newest

    def _drop_idle(self, tail: Tail) -> None:
        now = time.monotonic()
        if tail.clients:
            tail.used_at = now
        elif now - tail.used_at > LINGER_S:
            del self._tails[tail.account_id]
