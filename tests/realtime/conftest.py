"""An api as it is served, a relay beside it, and events of numbers that belong to somebody."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.rules.events import Event, Owner
from tests.api.conftest import api, plain_logs, serve
from tests.feed.conftest import record

__all__ = ["api", "plain_logs", "serve"]

AT = datetime(2026, 3, 11, 18, 0, 0, 123456, tzinfo=UTC)

Tell = Callable[..., Awaitable[None]]


def told(kind: str, owner: Owner | None = None, **payload: object) -> str:
    return Event(kind, AT, payload, tracking_id="call-1", unique_id="leg-1").encode(owner)


@pytest.fixture
def tell(db: AsyncEngine, redis: Redis) -> Tell:
    """Records events of an account and has them numbered."""

    async def tell_account(account_id: int, *events: str) -> None:
        await record(db, redis, account_id, events)

    return tell_account
