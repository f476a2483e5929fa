"""What each client does when its server says nothing any more: it gives up within seconds, and comes back by itself."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.runtime import REDIS_TIMEOUT_S, connect_redis
from engine.store.database import CONNECT_S, SILENCE_S, connect
from tests.acceptance.stack import until
from tests.network.namespaces import Machine, Network
from tests.own_servers import Redis, home, new_postgres
from workers import broker

pytestmark = pytest.mark.slow

SLACK_S = 5.0  # of a busy machine; without limits it would be minutes


@dataclass(frozen=True, slots=True)
class Far:
    """Servers on a machine of their own; the test runs on `here`."""

    here: Machine
    there: Machine
    database_url: str
    redis_url: str


@pytest.fixture
def far(network: Network, tmp_path: Path) -> Iterator[Far]:
    here, there = network.plug(), network.plug()
    with home(tmp_path / "far") as made, there.entered():
        postgres = new_postgres(made, "postgres", there.address)
        redis = Redis(made, "redis", there.address)
        postgres.start()
        redis.start()
        try:
            with here.entered():
                yield Far(here, there, postgres.url, redis.url(0))
        finally:
            postgres.stop()
            redis.stop()


async def test_postgres(far: Far) -> None:
    engine = connect(far.database_url, pool_size=3, idle_in_transaction_ms=60_000)
    another = connect(far.database_url)
    try:
        async with engine.connect() as waiting, engine.connect() as asking:
            await asking.execute(text("select 1"))
            answer = asyncio.create_task(_sleep(waiting))
            await _until_asleep(engine)
            far.here.cut(far.there)
            given_up = await asyncio.gather(
                _seconds(lambda: answer, OperationalError),  # its question has arrived
                _seconds(lambda: asking.execute(text("select 1")), OperationalError),  # this one has not
                _seconds(another.connect().start, OperationalError),
            )
        assert given_up[0] < SILENCE_S + SLACK_S
        assert given_up[1] < SILENCE_S + SLACK_S
        assert given_up[2] < CONNECT_S + SLACK_S
        far.here.mend(far.there)
        async with asyncio.timeout(SLACK_S), engine.connect() as conn:
            assert (await conn.execute(text("select 1"))).scalar() == 1
    finally:
        await engine.dispose()
        await another.dispose()


async def test_redis(far: Far) -> None:
    clients = connect_redis(far.redis_url), connect_redis(far.redis_url)
    queues = broker.connect(far.redis_url), broker.connect(far.redis_url)
    asks = [client.ping for client in clients] + [partial(asyncio.to_thread, queue.ping) for queue in queues]
    try:
        await clients[0].ping()
        await asyncio.to_thread(queues[0].ping)
        far.here.cut(far.there)  # the second of each has no connection, and the way to a new one is as silent
        given_up = await asyncio.gather(*(_seconds(ask, RedisError) for ask in asks))
        assert max(given_up[:2]) < REDIS_TIMEOUT_S + SLACK_S
        assert max(given_up[2:]) < broker.SOCKET_TIMEOUT_S + SLACK_S
        far.here.mend(far.there)
        assert all(await asyncio.gather(*(ask() for ask in asks)))
    finally:
        for client in clients:
            await client.aclose()
        for queue in queues:
            queue.close()


async def _seconds(work: Callable[[], Awaitable[object]], error: type[Exception]) -> float:
    begun = time.monotonic()
    with pytest.raises(error):
        async with asyncio.timeout(60.0):
            await work()
    return time.monotonic() - begun


async def _sleep(conn: AsyncConnection) -> None:
    await conn.execute(text("select pg_sleep(25)"))


async def _until_asleep(engine: AsyncEngine) -> None:
    question = text("select count(*) from pg_stat_activity where wait_event = 'PgSleep'")

    async def is_asleep() -> bool:
        async with engine.connect() as conn:
            return (await conn.execute(question)).scalar_one() > 0

    await until(is_asleep, "the statement to be under way")
