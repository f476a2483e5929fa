"""Our consumer and our message format against Dramatiq itself, on a real Redis."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import dramatiq
import pytest
from dramatiq.brokers.redis import RedisBroker
from dramatiq.message import Message
from dramatiq.middleware import CurrentMessage, Middleware, Retries, TimeLimit
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from engine.embedded.servers import Servers
from engine.errors import Misconfigured
from engine.jobs import Actor, Queue, enqueue
from workers.broker import CarillonBroker
from workers.consumer import BatchConsumer, Received, received
from workers.encoder import OrjsonEncoder

HINT = [1, 2, 3, 1, "+12125550100", 4, "+12135550100"]


@pytest.fixture
def calls() -> list[Received]:
    """The messages for which the actor was called and did not raise."""
    return []


@pytest.fixture
def broker(servers: Servers, queue_redis: Redis, calls: list[Received]) -> Iterator[CarillonBroker]:
    with closing(declared(servers, calls)) as broker:
        yield broker


def declared(servers: Servers, calls: list[Received]) -> CarillonBroker:
    broker = CarillonBroker(servers.redis_queue_url, middleware=[])

    @dramatiq.actor(broker=broker, queue_name=Queue.DIAL, actor_name=Actor.PLACE_CALL)
    def place_call(*hint: object) -> None:
        assert list(hint) == HINT
        calls.append(received())

    return broker


@pytest.fixture
def client(servers: Servers) -> Iterator[SyncRedis]:
    with SyncRedis.from_url(servers.redis_queue_url) as client:
        yield client


def consume(broker: CarillonBroker, prefetch: int = 100) -> BatchConsumer:
    return broker.consume(Queue.DIAL, prefetch=prefetch)


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
    broker: CarillonBroker, queue_redis: Redis, client: SyncRedis, calls: list[Received]
) -> None:
    await enqueue(queue_redis, Queue.DIAL, Actor.PLACE_CALL, [HINT] * 3)
    consumer = consume(broker)
    next(consumer)
    consumer.flush()
    assert len(calls) == 3
    assert client.hlen("dramatiq:dial.msgs") == 3  # the actor's return acknowledges nothing

    consumer.finished([each.id for each in calls])
    consumer.flush()
    assert client.hlen("dramatiq:dial.msgs") == 0
    assert client.keys("dramatiq:__acks__*") == []
    assert await queue_redis.llen("dramatiq:dial") == 0


async def test_an_idle_consumer_waits_in_redis_and_returns_with_the_first_message(
    broker: CarillonBroker, queue_redis: Redis, client: SyncRedis, calls: list[Received]
) -> None:
    consumer = consume(broker)
    waiting = asyncio.create_task(asyncio.to_thread(next, consumer))
    while not client.info("clients")["blocked_clients"]:
        await asyncio.sleep(0)
        assert not waiting.done()
    await enqueue(queue_redis, Queue.DIAL, Actor.PLACE_CALL, [HINT] * 2)
    await waiting
    assert len(calls) == 2
    assert await queue_redis.llen("dramatiq:dial") == 0


async def test_prefetch_bounds_what_is_under_way(
    broker: CarillonBroker, queue_redis: Redis, calls: list[Received]
) -> None:
    await enqueue(queue_redis, Queue.DIAL, Actor.PLACE_CALL, [HINT] * 5)
    consumer = consume(broker, prefetch=2)

    next(consumer)
    next(consumer)
    assert len(calls) == 2
    consumer.finished([calls[0].id])
    next(consumer)
    assert len(calls) == 3


async def test_a_new_consumer_takes_over_what_the_old_one_held(
    broker: CarillonBroker, queue_redis: Redis, client: SyncRedis, calls: list[Received]
) -> None:
    """Dramatiq makes a new consumer after a lost connection; finishing then goes to the new one."""
    await enqueue(queue_redis, Queue.DIAL, Actor.PLACE_CALL, [HINT] * 3)
    next(consume(broker, prefetch=2))
    after = consume(broker, prefetch=2)
    next(after)
    assert len(calls) == 2

    broker.finished(Queue.DIAL, [each.id for each in calls])
    after.flush()
    assert client.hlen("dramatiq:dial.msgs") == 1


def test_a_new_consumer_uses_no_connection_of_the_old_one(broker: CarillonBroker) -> None:
    """Their server may have been made a replica, which keeps them and refuses every write."""
    consume(broker)
    before = broker.client.client_id()
    assert broker.client.client_id() == before
    consume(broker)
    assert broker.client.client_id() != before


async def test_what_is_handed_back_is_read_by_another_worker(
    servers: Servers, broker: CarillonBroker, queue_redis: Redis, calls: list[Received]
) -> None:
    await enqueue(queue_redis, Queue.DIAL, Actor.PLACE_CALL, [HINT] * 3)
    next(consume(broker))
    broker.finished(Queue.DIAL, [calls.pop().id])
    assert broker.hand_back() == 2
    again: list[Received] = []
    with closing(declared(servers, again)) as other:
        next(consume(other))
    assert sorted(again) == sorted(calls)


async def test_after_its_intake_is_closed_a_consumer_calls_no_actor(
    broker: CarillonBroker, queue_redis: Redis, monkeypatch: pytest.MonkeyPatch, calls: list[Received]
) -> None:
    """The intake is closed while the consumer fetches: what it got is handed back, and nothing more is fetched."""
    fetch: Callable[[str, int], list[bytes | None]] = broker.do_fetch

    def fetch_and_close(queue: str, room: int) -> list[bytes | None]:
        found = fetch(queue, room)
        broker.close_intake()
        return found

    await enqueue(queue_redis, Queue.DIAL, Actor.PLACE_CALL, [HINT] * 3)
    monkeypatch.setattr(broker, "do_fetch", fetch_and_close)
    consumer = consume(broker)
    next(consumer)
    assert await queue_redis.llen("dramatiq:dial") == 0
    assert broker.hand_back() == 3
    next(consumer)
    next(consume(broker))  # as after a lost connection
    assert calls == []
    assert await queue_redis.llen("dramatiq:dial") == 3


async def test_the_intake_is_closed_when_the_actor_under_way_has_returned(
    servers: Servers, queue_redis: Redis, calls: list[Received]
) -> None:
    """And the consumer has noticed: of what it holds it calls for no other message."""
    begun, go_on = threading.Event(), threading.Event()
    with closing(CarillonBroker(servers.redis_queue_url, middleware=[])) as broker:

        @dramatiq.actor(broker=broker, queue_name=Queue.DIAL, actor_name=Actor.PLACE_CALL)
        def place_call(*hint: object) -> None:
            calls.append(received())
            begun.set()
            assert go_on.wait(20)

        await enqueue(queue_redis, Queue.DIAL, Actor.PLACE_CALL, [HINT] * 3)
        filling = asyncio.create_task(asyncio.to_thread(next, consume(broker)))
        assert await asyncio.to_thread(begun.wait, 20)
        closing_intake = asyncio.create_task(asyncio.to_thread(broker.close_intake))
        assert await asyncio.to_thread(broker.intake_closed.wait, 20)
        assert not closing_intake.done()
        go_on.set()
        await closing_intake
        await filling
        broker.finished(Queue.DIAL, [each.id for each in calls])
        assert (len(calls), broker.hand_back()) == (1, 2)


async def test_a_message_whose_body_is_gone_is_passed_over(
    broker: CarillonBroker, queue_redis: Redis, client: SyncRedis, calls: list[Received]
) -> None:
    """A worker given up for dead finished it after it was queued again."""
    await enqueue(queue_redis, Queue.DIAL, Actor.PLACE_CALL, [HINT] * 2)
    client.hdel("dramatiq:dial.msgs", client.lindex("dramatiq:dial", 0))
    next(consume(broker))
    assert len(calls) == 1


@pytest.mark.parametrize("what", ["not json", "{}", '{"options":{"redis_message_id":"x"},"actor_name":"nobody"}'])
async def test_what_is_no_message_of_ours_holds_up_no_other(
    broker: CarillonBroker, queue_redis: Redis, client: SyncRedis, calls: list[Received], what: str
) -> None:
    client.rpush("dramatiq:dial", "x")
    client.hset("dramatiq:dial.msgs", "x", what)
    await enqueue(queue_redis, Queue.DIAL, Actor.PLACE_CALL, [HINT])
    next(consume(broker))
    assert len(calls) == 1


async def test_a_message_whose_actor_raises_is_dropped(
    broker: CarillonBroker, queue_redis: Redis, client: SyncRedis, calls: list[Received]
) -> None:
    await enqueue(queue_redis, Queue.DIAL, Actor.PLACE_CALL, [["no", "hint"], HINT])
    consumer = consume(broker)
    next(consumer)
    consumer.flush()
    assert len(calls) == 1
    assert client.hkeys("dramatiq:dial.msgs") == [calls[0].id.encode()]


@pytest.mark.parametrize("middleware", [Retries(), TimeLimit(), CurrentMessage()], ids=lambda each: type(each).__name__)
def test_middleware_that_no_message_passes_through_is_refused(servers: Servers, middleware: Middleware) -> None:
    with pytest.raises(Misconfigured, match=type(middleware).__name__):
        CarillonBroker(servers.redis_queue_url, middleware=[middleware])


def test_a_delay_is_refused(broker: CarillonBroker) -> None:
    message: Message[None] = Message(Queue.DIAL, Actor.PLACE_CALL, (), {}, {})
    with pytest.raises(Misconfigured, match="next_attempt_at"):
        broker.enqueue(message, delay=1000)
