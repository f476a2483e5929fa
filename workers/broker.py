"""The Dramatiq broker: Redis, with a consumer of our own on every queue."""

from collections.abc import Callable, Sequence
from functools import partial
from threading import Event
from typing import Any

from dramatiq.brokers.redis import RedisBroker
from dramatiq.message import Message
from dramatiq.middleware import Middleware
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from engine.errors import Misconfigured
from engine.jobs import NAMESPACE, Queue
from workers.consumer import BUSY_POLL_S, PROMPT_POLL_S, BatchConsumer

# No message passes through these. And what usually hooks in here would act when the actor returns, long before the work
# is done; a retry would schedule calls outside PostgreSQL, where no pause could reach them.
_HOOKS = ("before_process_message", "after_process_message", "after_skip_message")

SOCKET_TIMEOUT_S = 5.0
MAINTENANCE_PPM = 20_000  # of commands: with the default, a dead worker's messages wait twelve minutes
HEARTBEAT_TIMEOUT_MS = 30_000


def connect(url: str, *, socket_timeout_s: float = SOCKET_TIMEOUT_S) -> Redis:
    """A client without retries: redis-py 8 repeats timed-out commands by itself, which strands or doubles messages."""
    return Redis.from_url(url, socket_timeout=socket_timeout_s, retry=Retry(NoBackoff(), 0), max_connections=64)


class CarillonBroker(RedisBroker):
    """Each queue gets a `BatchConsumer`, kept in `consumers`. Delays are refused."""

    def __init__(self, url: str, *, middleware: list[Middleware]) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            client=connect(url),
            middleware=middleware,
            namespace=NAMESPACE,
            maintenance_chance=MAINTENANCE_PPM,
            heartbeat_timeout=HEARTBEAT_TIMEOUT_MS,
        )
        self.consumers: dict[str, BatchConsumer] = {}
        self.intake_closed = Event()  # of all of them, also those that are yet to be made
        if wrong := [type(each).__name__ for each in self.middleware if _hooks_in(each)]:
            raise Misconfigured(f"the batched queues cannot run with {', '.join(wrong)}: remove it from the middleware")

    def close(self) -> None:
        """Dramatiq leaves the connections of a client that it was given to the garbage collector."""
        super().close()
        self.client.close()

    def declare_queue(self, queue_name: str) -> None:
        """Without Dramatiq's delayed twin: nothing may be scheduled outside PostgreSQL."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        if delay is not None:
            raise Misconfigured("delayed messages are not used here: set next_attempt_at in PostgreSQL")
        return super().enqueue(message, delay=delay)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> BatchConsumer:  # noqa: ARG002
        """Dramatiq asks for another one after each error."""
        fetch = partial(self.do_fetch, queue_name)
        poll_s = PROMPT_POLL_S if queue_name == Queue.SEND else BUSY_POLL_S
        consumer = BatchConsumer(
            self.client,
            self.namespace,
            self.broker_id,
            queue_name,
            prefetch,
            fetch,
            self._function_of,
            self.intake_closed,
            poll_s,
        )
        if (previous := self.consumers.get(queue_name)) is not None:
            consumer.take_over(previous)
            # A server that was made a replica keeps its connections: only new ones lead to the one in its place.
            self.client.connection_pool.disconnect(inuse_connections=False)
        self.consumers[queue_name] = consumer
        return consumer

    def _function_of(self, actor_name: str) -> Callable[..., Any]:
        return self.get_actor(actor_name).fn

    def finished(self, queue_name: str, message_ids: Sequence[str]) -> None:
        """The pipeline is done with these messages. Safe from any thread."""
        self.consumers[queue_name].finished(message_ids)

    def close_intake(self) -> None:
        """When it returns, no actor is called any more. It waits for one at most, never for Redis. Safe from any
        thread."""
        self.intake_closed.set()
        for consumer in tuple(self.consumers.values()):
            consumer.await_actor()

    def hand_back(self) -> int:
        """Puts what is not finished back on the queues; see `BatchConsumer.hand_back`."""
        return sum(consumer.hand_back() for consumer in self.consumers.values())


def _hooks_in(middleware: Middleware) -> bool:
    return any(getattr(type(middleware), hook) is not getattr(Middleware, hook) for hook in _HOOKS)
