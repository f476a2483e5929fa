"""Our consumer and our message format against Dramatiq itself, on a real Redis."""

import threading
from collections.abc import Iterator
from contextlib import closing

import dramatiq
import pytest
from dramatiq.brokers.redis import RedisBroker
from dramatiq.message import Message
from dramatiq.middleware import CurrentMessage, Retries
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from engine.embedded.servers import Servers
from engine.errors import Misconfigured
from engine.jobs import Actor, Queue, depth, enqueue
from workers.broker import CarillonBroker
from workers.consumer import BatchConsumer
from workers.encoder import OrjsonEncoder

HINT = [1, 2, 3, 1, "+12125550100", 4, "+12135550100"]


@pytest.fixture
def broker(servers: Servers, queue_redis: Redis) -> Iterator[CarillonBroker]:
    with closing(CarillonBroker(servers.redis_queue_url, middleware=[CurrentMessage()])) as broker:
        broker.declare_queue(Queue.DIAL)
        yield broker


@pytest.fixture
def client(servers: Servers) -> Iterator[SyncRedis]:
    with SyncRedis.from_url(servers.redis_queue_url) as client:
        yield client


def consume(broker: CarillonBroker, prefetch: int = 100) -> BatchConsumer:
    consumer = broker.consume(Queue.DIAL, prefetch=prefetch)
    assert isinstance(consumer, BatchConsumer)
    return consumer


def take(consumer: BatchConsumer, count: int) -> list[Message[None]]:
    return [message for message in (next(consumer) for _ in range(count)) if message is not None]


async def test_dramatiq_reads_what_we_enqueue(servers: Servers, queue_redis: Redis) -> None:
    """The rival implementation of the wire format is Dramatiq's own broker, worker and encoder."""
    await enqueue(queue_redis, Queue.DIAL, Actor.PLACE_CALL, [HINT, HINT])
    seen: list[tuple[object, ...]] = []
    both = threading.Semaphore(0)
    stock = RedisBroker(url=servers.redis_queue_url)

    @dramatiq.actor(broker=stock, queue_name=Queue.DIAL, actor_name=Actor.PLACE_CALL)
    def place_call(*args: object) -> None:
        seen.append(args)
        both.release()

    worker = dramatiq.Worker(stock, worker_threads=1)
    worker.start()
    try:
        assert both.acquire(timeout=5)
        assert both.acquire(timeout=5)
    finally:
        worker.stop()
        stock.client.close()
    assert seen == [tuple(HINT), tuple(HINT)]


def test_our_encoder_and_dramatiqs_agree() -> None:
    from dramatiq.encoder import JSONEncoder

    data = Message("dial", "place_call", tuple(HINT), {}, {"redis_message_id": "x"}).asdict()
    assert JSONEncoder().decode(OrjsonEncoder().encode(data)) == JSONEncoder().decode(JSONEncoder().encode(data))


async def test_a_message_is_kept_until_it_is_finished(
    broker: CarillonBroker, queue_redis: Redis, client: SyncRedis
) -> None:
    await enqueue(queue_redis, Queue.DIAL, Actor.PLACE_CALL, [HINT] * 3)
    consumer = consume(broker)
    messages = take(consumer, 3)

    for message in messages:
        consumer.ack(message)
    consumer.flush()
    assert client.hlen("dramatiq:dial.msgs") == 3  # the actor's return acknowledges nothing

    consumer.finished([message.options["redis_message_id"] for message in messages])
    consumer.flush()
    assert client.hlen("dramatiq:dial.msgs") == 0
    assert client.keys("dramatiq:__acks__*") == []
    assert await depth(queue_redis, Queue.DIAL) == 0


async def test_prefetch_bounds_what_is_under_way(broker: CarillonBroker, queue_redis: Redis) -> None:
    await enqueue(queue_redis, Queue.DIAL, Actor.PLACE_CALL, [HINT] * 5)
    consumer = consume(broker, prefetch=2)

    first = take(consumer, 2)
    assert next(consumer) is None
    consumer.finished([first[0].options["redis_message_id"]])
    assert len(take(consumer, 4)) == 1


async def test_a_new_consumer_takes_over_what_the_old_one_held(
    broker: CarillonBroker, queue_redis: Redis, client: SyncRedis
) -> None:
    """Dramatiq makes a new consumer after a lost connection; finishing then goes to the new one."""
    await enqueue(queue_redis, Queue.DIAL, Actor.PLACE_CALL, [HINT] * 2)
    held = take(consume(broker, prefetch=2), 1)
    after = consume(broker, prefetch=2)
    held += take(after, 1)

    broker.finished(Queue.DIAL, [message.options["redis_message_id"] for message in held])
    after.flush()
    assert client.hlen("dramatiq:dial.msgs") == 0


async def test_what_is_handed_back_is_read_by_another_worker(
    servers: Servers, broker: CarillonBroker, queue_redis: Redis
) -> None:
    await enqueue(queue_redis, Queue.DIAL, Actor.PLACE_CALL, [HINT])
    consumer = consume(broker)
    consumer.requeue(take(consumer, 1))
    with closing(CarillonBroker(servers.redis_queue_url, middleware=[])) as other:
        other.declare_queue(Queue.DIAL)
        assert len(take(consume(other), 1)) == 1


async def test_a_message_whose_body_is_gone_is_passed_over(
    broker: CarillonBroker, queue_redis: Redis, client: SyncRedis
) -> None:
    """A worker given up for dead finished it after it was queued again."""
    await enqueue(queue_redis, Queue.DIAL, Actor.PLACE_CALL, [HINT] * 2)
    client.hdel("dramatiq:dial.msgs", client.lindex("dramatiq:dial", 0))
    assert len(take(consume(broker), 2)) == 1


def test_middleware_that_would_schedule_or_repeat_is_refused(servers: Servers) -> None:
    with pytest.raises(Misconfigured, match="Retries"):
        CarillonBroker(servers.redis_queue_url, middleware=[Retries()])


def test_a_delay_is_refused(broker: CarillonBroker) -> None:
    message: Message[None] = Message(Queue.DIAL, Actor.PLACE_CALL, (), {}, {})
    with pytest.raises(Misconfigured, match="next_attempt_at"):
        broker.enqueue(message, delay=1000)
