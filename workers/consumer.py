"""The consumer of the batched queues: one fetch for many messages, acknowledged in bulk once their work is durable.

Dramatiq acknowledges a message when its actor returns, one round trip each: four fifths of a stock worker's cost. Here
the actor only hands its hint to the pipeline, and `finished` marks the message when the pipeline is done with it. The
keys are Dramatiq's own, so its tools still read the queues. Losing an acknowledgement is harmless: the hint comes back
and loses at the intent (P2).
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from dramatiq.broker import Consumer, MessageProxy
from dramatiq.common import current_millis
from dramatiq.errors import ConnectionClosed
from dramatiq.message import Message
from redis import ConnectionError as RedisConnectionError
from redis import Redis
from redis import TimeoutError as RedisTimeoutError

FLUSH_SIZE = 200
FLUSH_S = 0.005
FULL_POLL_S = 0.001  # prefetch is used up: work is being finished at this moment
IDLE_POLL_S = (0.005, 0.01, 0.02, 0.03)  # between looks at a queue that held no more than was fetched; growing
PROMPT_POLL_S = (0.005, 0.008)  # of a queue whose clients wait for what they sent: 2 % of a core
HEARTBEAT_S = 5.0


class BatchConsumer(Consumer):
    """Consumes one queue for one process. Only the consumer's own thread talks to Redis; `finished` may be called from
    any thread."""

    def __init__(
        self,
        client: Redis,
        namespace: str,
        broker_id: str,
        queue_name: str,
        prefetch: int,
        fetch: Callable[[int], list[bytes | None]],
        idle_poll_s: tuple[float, ...] = IDLE_POLL_S,
    ) -> None:
        self._client = client
        self._fetch = fetch
        self._idle_poll_s = idle_poll_s
        self._messages_key = f"{namespace}:{queue_name}.msgs"
        self._queue_key = f"{namespace}:{queue_name}"
        self._acks_key = f"{namespace}:__acks__.{broker_id}.{queue_name}"
        self._heartbeats_key = f"{namespace}:__heartbeats__"
        self._broker_id = broker_id
        self.prefetch = prefetch
        self._ready: deque[bytes] = deque()
        self._held: set[str] = set()  # ids fetched and not yet acknowledged
        self._finished: deque[str] = deque()
        self._flushed_at = time.monotonic()
        self._misses = 0
        self._is_drained = False  # the last look took all that there was
        self.is_closed_for_intake = False

    def __next__(self) -> MessageProxy | None:
        with _in_dramatiqs_words():
            return self._next()

    def _next(self) -> MessageProxy | None:
        if not self._ready:
            self._flush_if_due()
            self._wait()
            self._fill()
        if not self._ready:
            return None
        message = Message.decode(self._ready.popleft())
        self._held.add(message.options["redis_message_id"])
        return MessageProxy(message)

    def _fill(self) -> None:
        room = self.prefetch - len(self._held) + len(self._finished)
        if room <= 0 or self.is_closed_for_intake:
            return
        fetched = self._fetch(room)
        self._misses = 0 if fetched else self._misses + 1
        self._is_drained = len(fetched) < room
        # A message whose body is gone was finished by a worker that we had given up for dead.
        self._ready.extend(data for data in fetched if data is not None)

    def _wait(self) -> None:
        if self._is_drained or self.is_closed_for_intake:
            time.sleep(self._idle_poll_s[min(self._misses, len(self._idle_poll_s) - 1)])
        elif len(self._held) >= self.prefetch:
            time.sleep(FULL_POLL_S)

    def ack(self, message: MessageProxy) -> None:
        """The actor has returned, so the hint is the pipeline's now: `finished` is the real one."""

    def nack(self, message: MessageProxy) -> None:
        """An actor that raised: the hint is dropped, and the coordinator will enqueue the prospect again."""
        self.finished([message.options["redis_message_id"]])

    def finished(self, message_ids: Iterable[str]) -> None:
        """Marks messages as done; they are acknowledged with the next flush."""
        self._finished.extend(message_ids)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Called by Dramatiq at shutdown with what it never began."""
        self.hand_back([message.options["redis_message_id"] for message in messages])

    def hand_back(self, ids: Sequence[str]) -> None:
        """Puts messages back on the queue for another worker. Order is lost, and does not matter."""
        if not ids:
            return
        with _in_dramatiqs_words(), self._client.pipeline(transaction=True) as pipe:
            pipe.srem(self._acks_key, *ids)
            pipe.rpush(self._queue_key, *ids)
            pipe.execute()
        self._held.difference_update(ids)

    def take_over(self, previous: "BatchConsumer") -> None:
        """After a lost connection Dramatiq makes a new consumer: what the old one holds is still under way."""
        self._held = previous._held
        self._finished = previous._finished
        self._ready = previous._ready
        self.is_closed_for_intake = previous.is_closed_for_intake

    def close(self) -> None:
        """Raises ConnectionClosed without a server: anything else would end Dramatiq's thread for good."""
        with _in_dramatiqs_words():
            self.flush()

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
    """Dramatiq connects again after its own errors only."""
    try:
        yield
    except (RedisConnectionError, RedisTimeoutError) as error:
        raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]
