"""Events that are numbered, endpoints that answer as they are told, and a deliverer between the two."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import Clock
from engine.feed.relay import Relay
from engine.rules import signing
from engine.rules.events import Event
from engine.runtime import Runtime
from engine.settings import Settings
from engine.store import webhooks
from engine.store.outbox import publish
from engine.store.webhooks import Webhook
from engine.webhooks.loop import Deliverer
from engine.webhooks.send import open_session
from tests.api.conftest import api, client, plain_logs, serve  # noqa: F401 — fixtures

ACCOUNT = 7
DEADLINE_S = 30.0
SECRET = signing.write_secret(b"0123456789abcdef0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Received:
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(self.body)
        return found

    @property
    def n(self) -> int:
        """The number that the test gave the event."""
        return int(self.json["data"]["n"])


@dataclass(slots=True)
class Endpoint:
    """A receiver. `answer(received)` chooses the status; `release` ends the wait of a hanging one."""

    url: str
    answer: Callable[[Received], int | web.Response | Awaitable[web.Response]] = lambda received: 200
    received: list[Received] = field(default_factory=list)
    accepted: list[Received] = field(default_factory=list)

    @property
    def numbers(self) -> list[int]:
        return [each.n for each in self.accepted]

    async def until(self, count: int) -> None:
        """Waits until so many requests were accepted."""
        await eventually(lambda: len(self.accepted) >= count)


class Endpoints:
    """A server with any number of endpoints."""

    def __init__(self) -> None:
        self.port = 0
        self.by_path: dict[str, Endpoint] = {}

    def add(
        self, answer: Callable[[Received], int | web.Response | Awaitable[web.Response]] = lambda received: 200
    ) -> Endpoint:
        path = f"/{len(self.by_path)}"
        endpoint = self.by_path[path] = Endpoint(f"http://127.0.0.1:{self.port}{path}", answer)
        return endpoint

    async def handle(self, request: web.Request) -> web.Response:
        endpoint = self.by_path[request.path]
        received = Received(request.headers, await request.read())
        endpoint.received.append(received)
        answer = endpoint.answer(received)
        if isinstance(answer, Awaitable):
            answer = await answer
        response = web.Response(status=answer) if isinstance(answer, int) else answer
        if 200 <= response.status < 300:
            endpoint.accepted.append(received)
        return response


@pytest.fixture
async def endpoints() -> AsyncIterator[Endpoints]:
    served = Endpoints()
    app = web.Application()
    app.router.add_post("/{tail:.*}", served.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served.port = runner.addresses[0][1]
    yield served
    await runner.cleanup()


@pytest.fixture
def runtime(db: AsyncEngine, redis: Redis, queue_redis: Redis, clock: Clock) -> Runtime:
    return make_runtime(db, redis, queue_redis, clock, lease_s=20)  # a busy machine must not cost a lease, and a repeat


def make_runtime(db: AsyncEngine, redis: Redis, queue_redis: Redis, clock: Clock, **changes: object) -> Runtime:
    urls = {"DATABASE_URL": "unused", "REDIS_URL": "unused", "webhook_allow_private": True}
    return Runtime(Settings.model_validate(urls | changes), db, redis, queue_redis, clock)


@pytest.fixture
async def session(runtime: Runtime) -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session(runtime) as session:
        yield session


async def make_webhook(
    db: AsyncEngine, url: str, *events: str, ordered: bool = False, account: int = ACCOUNT
) -> Webhook:
    async with db.begin() as conn:
        return await webhooks.create(conn, account, url, events or ("*",), SECRET, ordered=ordered)


class Log:
    """Writes events and has them numbered."""

    def __init__(self, db: AsyncEngine, redis: Redis, clock: Clock) -> None:
        self._db, self._clock = db, clock
        self._relay = Relay(db, redis, keep=1000)
        self._next = 0

    async def write(self, count: int = 1, kind: str = "sms.sent", *, account: int = ACCOUNT, **payload: object) -> None:
        """`count` events whose payloads carry `n`, counting on from 0 over the test."""
        lines = []
        for _ in range(count):
            lines.append(Event(kind, self._clock.now(), {"n": self._next, **payload}).encode())
            self._next += 1
        async with self._db.begin() as conn:
            await publish(conn, {account: lines})
        await self.number()

    async def number(self) -> None:
        while await self._relay.run_once():
            pass

    async def told(self, kind: str) -> list[dict[str, Any]]:
        """Payloads of the account's events of one type, in order."""
        await self.number()
        query = text("select body->'payload' from events where body->>'type' = :kind order by account_id, seq")
        async with self._db.connect() as conn:
            return list((await conn.execute(query, {"kind": kind})).scalars())


@pytest.fixture
def log(db: AsyncEngine, redis: Redis, clock: Clock) -> Log:
    return Log(db, redis, clock)


@asynccontextmanager
async def delivering(runtime: Runtime, owner: str | None = None) -> AsyncIterator[Deliverer]:
    """A deliverer that runs beside the test, and is drained at the end."""
    async with open_session(runtime) as session:
        deliverer, stop = Deliverer(runtime, session, owner), asyncio.Event()
        task = asyncio.create_task(deliverer.run(stop))
        try:
            yield deliverer
        finally:
            stop.set()
            await task


async def eventually(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Looks until it holds; fails after `DEADLINE_S`."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            held = condition()
            if held if isinstance(held, bool) else await held:
                return
            await asyncio.sleep(0.005)


async def rows(db: AsyncEngine, webhook: Webhook) -> list[Any]:
    """Its deliveries, in the order of the events."""
    query = text("""
        select id, seq, event_type, status, attempts, response_code, error, next_attempt_at is null as is_over,
               case when next_attempt_at > '-infinity' then extract(epoch from next_attempt_at - now()) end as due_in_s
          from webhook_deliveries where webhook_id = :id order by seq
    """)
    async with db.connect() as conn:
        return list((await conn.execute(query, {"id": webhook.id})).all())


_DUE = (
    "update webhooks set parked_until = '-infinity' where id = :id",
    "update webhook_deliveries set next_attempt_at = now() where webhook_id = :id and next_attempt_at > now()",
)


async def make_due(db: AsyncEngine, webhook: Webhook) -> None:
    """As if the waits of its deliveries, and its own, had passed."""
    async with db.begin() as conn:
        for statement in _DUE:
            await conn.execute(text(statement), {"id": webhook.id})
