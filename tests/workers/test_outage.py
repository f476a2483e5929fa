"""A worker outlives its Redis: it goes on with the next one, and has forgotten no message that it holds."""

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import dramatiq
import pytest
from dramatiq.errors import ConnectionClosed
from redis import Redis as SyncRedis
from redis import RedisError
from redis.asyncio import Redis

from engine.embedded.servers import RunningServers, start_servers
from engine.jobs import Actor, Queue, enqueue
from engine.runtime import connect_redis
from workers.broker import CarillonBroker
from workers.consumer import BatchConsumer, Received, received

pytestmark = pytest.mark.slow  # servers of its own, which it may end

HINT = [1, 2, 3, 1, "+12125550100", 4, "+12135550100"]


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningServers]:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("REDIS_URL", raising=False)
    with start_servers(tmp_path / "servers", keep=False) as running:
        yield running


async def send(running: RunningServers, count: int) -> None:
    client = connect_redis(running.servers.redis_queue_url)
    await enqueue(client, Queue.DIAL, Actor.PLACE_CALL, [HINT] * count)
    await client.aclose()


@contextmanager
def working(url: str) -> Iterator[threading.Semaphore]:
    """A worker, and how many messages have come to its actor."""
    came = threading.Semaphore(0)
    with closing(CarillonBroker(url, middleware=[])) as broker:

        @dramatiq.actor(broker=broker, queue_name=Queue.DIAL, actor_name=Actor.PLACE_CALL)
        def place_call(*args: object) -> None:
            came.release()

        worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=50)
        worker.start()
        try:
            yield came
        finally:
            worker.stop()


async def test_a_worker_takes_work_again_after_redis_was_away(running: RunningServers) -> None:
    with working(running.servers.redis_queue_url) as came:
        await send(running, 1)
        assert came.acquire(timeout=20)
        running.end("redis", signal.SIGKILL)
        running.start_again("redis")
        await send(running, 1)
        assert came.acquire(timeout=20)


@pytest.mark.parametrize(
    ("refuse", "accept"),
    [
        ("config set maxmemory 1", "config set maxmemory 0"),  # OOM
        ("replicaof 127.0.0.1 1", "replicaof no one"),  # READONLY, as after a failover
    ],
)
async def test_a_worker_takes_work_again_after_redis_refused_to_write(
    running: RunningServers, refuse: str, accept: str
) -> None:
    url = running.servers.redis_queue_url
    with working(url) as came, SyncRedis.from_url(url) as client:
        await send(running, 1)
        assert came.acquire(timeout=20)
        client.execute_command(refuse)
        try:
            await until_refused(client, 6)  # the fetch and, twice, the flush of its close: two rounds
        finally:
            client.execute_command(accept)
        await send(running, 1)
        assert came.acquire(timeout=20)


async def _set(client: Redis) -> None:
    await client.set("key", 1)


async def _run_a_script(client: Redis) -> None:
    await client.register_script("return redis.call('incr', KEYS[1])")(keys=["key"])


async def _enqueue(client: Redis) -> None:
    await enqueue(client, Queue.DIAL, Actor.PLACE_CALL, [HINT])


@pytest.mark.parametrize("write", [_set, _run_a_script, _enqueue])
async def test_nobody_stays_connected_to_a_server_that_was_made_a_replica(
    running: RunningServers, write: Callable[[Redis], Awaitable[None]]
) -> None:
    """The name leads to another server by then, but only who connects again meets it."""
    url = running.servers.redis_queue_url
    client = connect_redis(url)
    await write(client)
    demoted = await client.client_id()
    with SyncRedis.from_url(url) as server:
        server.replicaof("127.0.0.1", "1")
        with pytest.raises(RedisError):
            await write(client)
        assert await client.client_id() != demoted
        server.replicaof("no", "one")
    await write(client)
    await client.aclose()


async def until_refused(client: SyncRedis, times: int) -> None:
    client.config_resetstat()
    async with asyncio.timeout(20):
        while client.info("stats")["total_error_replies"] < times:  # noqa: ASYNC110 — Redis tells nobody
            await asyncio.sleep(0)


async def test_what_was_finished_while_redis_was_away_is_acknowledged_later(running: RunningServers) -> None:
    with closing(CarillonBroker(running.servers.redis_queue_url, middleware=[])) as broker:
        calls: list[Received] = []

        @dramatiq.actor(broker=broker, queue_name=Queue.DIAL, actor_name=Actor.PLACE_CALL)
        def place_call(*args: object) -> None:
            calls.append(received())

        await send(running, 2)
        consumer = broker.consume(Queue.DIAL, prefetch=2)
        assert isinstance(consumer, BatchConsumer)
        next(consumer)
        running.end("redis", signal.SIGKILL)
        consumer.finished([each.id for each in calls])
        with pytest.raises(ConnectionClosed):
            next(consumer)
        consumer.close()
        running.start_again("redis")
        await send(running, 2)
        again = broker.consume(Queue.DIAL, prefetch=2)
        next(again)
        assert len(calls) == 4  # the two that were finished leave it room
        with SyncRedis.from_url(running.servers.redis_queue_url) as client:
            assert client.hlen("dramatiq:dial.msgs") == 2
