"""The consumer of the batched queues: one fetch for many messages, acknowledged in bulk once their work is durable.

Dramatiq hands each message to another thread and acknowledges it when its actor returns, one round trip each: four
fifths of a stock worker's cost. Here the consumer's own thread calls the actor, which only hands its hint to the
pipeline, and `finished` marks the message when the pipeline is done with it. The keys are Dramatiq's own, so its tools
still read the queues. Losing an acknowledgement is harmless: the hint comes back and loses at the intent (P2).
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Event, Lock
from typing import Any, NamedTuple

import orjson
import structlog
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.common import current_millis
from dramatiq.errors import ConnectionClosed
from redis import Redis, RedisError

log = structlog.get_logger(__name__)

FLUSH_SIZE = 500
FLUSH_S = 0.02
FULL_POLL_S = 0.005  # prefetch is used up: work is being finished at this moment
BUSY_POLL_S = (0.005, 0.01, 0.02, 0.03)  # between looks at a drained queue while its messages are under way; growing
PROMPT_POLL_S = (0.005, 0.008)  # of a queue whose clients wait for what they sent: 2 % of a core
IDLE_S = 0.25  # nothing is under way: Redis says when something comes, and a worker that is to stop waits no longer
HEARTBEAT_S = 5.0


class Received(NamedTuple):
    """The message that an actor is called for: the id to finish it by, and when it was sent (real, epoch ms)."""

    id: str
    sent_ms: int


_RECEIVED: ContextVar[Received] = ContextVar("received")


def received() -> Received:
    """For an actor of a batched queue: its own message. Raises LookupError when called by anybody else."""
    return _RECEIVED.get()


class BatchConsumer(Consumer):
    """Consumes one queue for one process: `actor_of` names the function to call for a message. Only the consumer's own
    thread talks to Redis and calls actors; `finished` and `await_actor` may be called from any thread.

    When `closed` is set it fetches nothing more and calls no actor, not even for what it fetches at this moment."""

    def __init__(
        self,
        client: Redis,
        namespace: str,
        broker_id: str,
        queue_name: str,
        prefetch: int,
        fetch: Callable[[int], list[bytes | None]],
        actor_of: Callable[[str], Callable[..., Any]],
        closed: Event,
        poll_s: tuple[float, ...] = BUSY_POLL_S,
    ) -> None:
        self._client = client
        self._fetch = fetch
        self._actor_of = actor_of
        self._closed = closed
        self._calling = Lock()
        self._poll_s = poll_s
        self._messages_key = f"{namespace}:{queue_name}.msgs"
        self._queue_key = f"{namespace}:{queue_name}"
        self._acks_key = f"{namespace}:__acks__.{broker_id}.{queue_name}"
        self._heartbeats_key = f"{namespace}:__heartbeats__"
        self._broker_id = broker_id
        self.prefetch = prefetch
        self._held: set[str] = set()  # ids fetched and not yet acknowledged
        self._finished: deque[str] = deque()
        self._flushed_at = time.monotonic()
        self._misses = 0
        self._is_drained = False  # the last look took all that there was

    def __next__(self) -> None:
        """One round: acknowledges, waits where there is nothing to do, fetches and calls. Dramatiq's loop gets nothing
        to pass on."""
        with _in_dramatiqs_words():
            self._flush_if_due()
            self._wait()
            self._fill()

    def _fill(self) -> None:
        room = self.prefetch - len(self._held) + len(self._finished)
        if room <= 0 or self._closed.is_set():
            return
        fetched = self._fetch(room)
        self._misses = 0 if fetched else self._misses + 1
        self._is_drained = len(fetched) < room
        with self._calling:
            for data in fetched:
                if data is not None:  # else a worker that we had given up for dead has finished it
                    self._call(data)

    def _call(self, data: bytes) -> None:
        """A message that cannot be read, or whose actor raises, is dropped: its prospect will be enqueued again. One
        that comes when the intake is closed is only held."""
        id_: str | None = None
        try:
            message = orjson.loads(data)
            id_ = message["options"]["redis_message_id"]
            self._held.add(id_)
            if self._closed.is_set():
                return
            _RECEIVED.set(Received(id_, message["message_timestamp"]))
            self._actor_of(message["actor_name"])(*message["args"], **message["kwargs"])
        except Exception:
            log.exception("message.dropped", queue=self._queue_key)
            if id_ is not None:
                self.finished([id_])

    def _wait(self) -> None:
        if self._closed.is_set():
            time.sleep(self._poll_s[-1])
        elif not self._held:
            self._await_message()
        elif self._is_drained:
            time.sleep(self._poll_s[min(self._misses, len(self._poll_s) - 1)])
        elif len(self._held) >= self.prefetch:
            time.sleep(FULL_POLL_S)

    def _await_message(self) -> None:
        """Returns at once when the queue holds a message: the move from its head to its head changes nothing."""
        self._client.blmove(self._queue_key, self._queue_key, IDLE_S, src="LEFT", dest="LEFT")  # type: ignore[arg-type]

    def finished(self, message_ids: Iterable[str]) -> None:
        """Marks messages as done; they are acknowledged with the next flush."""
        self._finished.extend(message_ids)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Called by Dramatiq at shutdown, with nothing: it was given none."""

    def await_actor(self) -> None:
        """Returns when `closed`, which has been set, is noticed: no actor is being called, and none will be."""
        with self._calling:
            pass

    def hand_back(self) -> int:
        """Puts whatever is not finished back on the queue, for another worker; returns how much that was. Only when
        nothing of it will be begun any more. Order is lost, and does not matter."""
        ids = self._held.difference(self._finished)
        if not ids:
            return 0
        with _in_dramatiqs_words(), self._client.pipeline(transaction=True) as pipe:
            pipe.srem(self._acks_key, *ids)
            pipe.rpush(self._queue_key, *ids)
            pipe.execute()
        self._held.difference_update(ids)
        return len(ids)

    def take_over(self, previous: "BatchConsumer") -> None:
        """After a lost connection Dramatiq makes a new consumer: what the old one holds is still under way."""
        self._held = previous._held
        self._finished = previous._finished

    def close(self) -> None:
        """Raises nothing: it would end Dramatiq's thread for good."""
        try:
            self.flush()
        except RedisError:
            pass  # as Dramatiq has just logged; what is finished stays so, for the next consumer
        except Exception:
            log.exception("consumer.not_flushed", queue=self._queue_key)

    def _flush_if_due(self) -> None:
        waited = time.monotonic() - self._flushed_at
        if len(self._finished) >= FLUSH_SIZE or (self._finished and waited >= FLUSH_S) or waited >= HEARTBEAT_S:
            self.flush()

    def flush(self) -> None:
        """Acknowledges everything finished so far and tells the broker that this worker lives.

        What cannot be acknowledged now stays finished: forgotten, it would take its place in the prefetch for ever.
        """
        ids = [self._finished[n] for n in range(len(self._finished))]
        self._flushed_at = time.monotonic()
        with self._client.pipeline(transaction=True) as pipe:
            pipe.zadd(self._heartbeats_key, {self._broker_id: current_millis()})
            if ids:
                pipe.srem(self._acks_key, *ids)
                pipe.hdel(self._messages_key, *ids)
            pipe.execute()
        for _ in ids:
            self._finished.popleft()
        self._held.difference_update(ids)


@contextmanager
def _in_dramatiqs_words() -> Iterator[None]:
    """Dramatiq begins again after its own errors only. Every error of Redis is taken for an outage: one that is full,
    loads, cannot save or was made a replica will take writes again, or another in its place."""
    try:
        yield
    except RedisError as error:
        raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]
