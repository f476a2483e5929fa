"""Fixtures: real servers behind the api, real clients before it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import pytest
import structlog
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import Clock
from engine.embedded.servers import Servers
from engine.settings import Settings
from engine.store import clock as clock_store
from tests.api.harness import Api, Client, serving


@pytest.fixture(autouse=True, scope="session")
def plain_logs() -> Iterator[None]:
    """As in production, tracebacks without local variables: rich ones hold secrets, and take seconds to print."""
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, renderer]
    )
    yield
    structlog.reset_defaults()


Serve = Callable[..., Awaitable[Api]]


@pytest.fixture
async def serve(
    servers: Servers, database_url: str, redis: Redis, queue_redis: Redis, clock: Clock, db: AsyncEngine
) -> AsyncIterator[Serve]:
    """Starts an api with settings of the test's own; stops all of them at its end."""
    async with AsyncExitStack() as stack:

        async def start(engine_clock: Clock = clock, **changes: object) -> Api:
            await clock_store.save(db, engine_clock)
            urls = {
                "DATABASE_URL": database_url,
                "REDIS_URL": servers.redis_url,
                "REDIS_QUEUE_URL": servers.redis_queue_url,
            }
            settings = Settings.model_validate(urls | changes)
            return await stack.enter_async_context(serving(settings))

        yield start


@pytest.fixture
async def api(serve: Serve) -> Api:
    return await serve()


@pytest.fixture
async def client(api: Api) -> Client:
    """A client of a fresh account that may do everything."""
    return await api.client()
