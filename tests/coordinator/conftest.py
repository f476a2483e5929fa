"""A coordinator's parts over real servers, and ways to fill the tables with what a campaign holds."""

import itertools
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

import orjson
import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import Clock
from engine.coordinator.lease import Lease
from engine.coordinator.shard import Shard
from engine.jobs import NAMESPACE, Queue
from engine.runtime import Runtime
from engine.settings import Settings
from engine.store import campaigns, counts, dids
from engine.store.campaigns import Campaign, NewCampaign
from engine.store.dids import NewDid

ACCOUNT = 7
_phones = itertools.count(0)

MakeCampaign = Callable[..., Awaitable[Campaign]]


@pytest.fixture
def runtime(db: AsyncEngine, redis: Redis, queue_redis: Redis, clock: Clock) -> Runtime:
    settings = Settings(DATABASE_URL="unused", REDIS_URL="unused", did_calls_per_minute=6_000_000)  # type: ignore[call-arg]
    return Runtime(settings, db, redis, queue_redis, clock)


@pytest.fixture
def shard() -> Shard:
    return Shard()


@pytest.fixture
def lease(runtime: Runtime, shard: Shard) -> Lease:
    return Lease(runtime, shard, "me")


@pytest.fixture
def make_campaign(db: AsyncEngine, clock: Clock) -> MakeCampaign:
    """`await make_campaign(prospects=100, calls_per_second=1e6, channel="voice", status="dialing", …)`"""

    async def make(
        *,
        prospects: int = 0,
        channel: str = "voice",
        calls_per_second: float = 1e6,
        status: str = "dialing",
        caller_ids: tuple[str, ...] = (),
        strategy: Mapping[str, object] | None = None,
    ) -> Campaign:
        new = NewCampaign(
            "a campaign", channel, False, "simulated-command", {}, caller_ids, strategy, None, calls_per_second
        )
        async with db.begin() as conn:
            campaign = await campaigns.create(conn, ACCOUNT, new, clock.now())
            await conn.execute(
                text("update campaigns set status = :status where id = :id"), {"id": campaign.id, "status": status}
            )
        await add_prospects(db, campaign, prospects)
        return campaign

    return make


async def add_prospects(db: AsyncEngine, campaign: Campaign, count: int, due: datetime | None = None) -> None:
    """Queued prospects and their counters; due at `due`, or since ever."""
    params = {"campaign": campaign.id, "account": campaign.account_id, "n": count, "due": due}
    async with db.begin() as conn:
        await conn.execute(
            text("""
                insert into prospects (campaign_id, account_id, phone, next_attempt_at)
                select :campaign, :account, '+1415' || lpad((n + :first)::text, 7, '0'),
                       coalesce(cast(:due as timestamptz), '-infinity')
                  from generate_series(1, :n) n
            """),
            params | {"first": next(_phones) * 10_000_000 // 1_000 % 9_000_000},
        )
        await conn.execute(
            text("""
                insert into campaign_counts (campaign_id, minute, writer, total, queued)
                values (:campaign, 0, -99, :n, :n) on conflict (campaign_id, minute, writer)
                do update set total = campaign_counts.total + :n, queued = campaign_counts.queued + :n
            """),
            params,
        )


async def add_dids(db: AsyncEngine, clock: Clock, *numbers: str) -> list[dids.Did]:
    async with db.begin() as conn:
        return await dids.add(conn, ACCOUNT, [NewDid(number) for number in numbers or ("+14155550100",)], clock.now())


async def messages(queue: Redis, name: Queue = Queue.DIAL, actor: str | None = None) -> list[list[object]]:
    """The arguments of the messages in a queue, in order."""
    ids = await queue.lrange(f"{NAMESPACE}:{name}", 0, -1)  # type: ignore[misc]
    if not ids:
        return []
    bodies = [orjson.loads(body) for body in await queue.hmget(f"{NAMESPACE}:{name}.msgs", ids)]  # type: ignore[misc]
    return [body["args"] for body in bodies if actor in (None, body["actor_name"])]


async def events(db: AsyncEngine, event_type: str) -> list[Mapping[str, object]]:
    """What the outbox holds of one type, in order."""
    async with db.connect() as conn:
        rows = await conn.execute(text("select string_to_table(body, chr(10)) from outbox order by id"))
        decoded = [orjson.loads(line) for line in rows.scalars()]
    return [event for event in decoded if event["type"] == event_type]


async def finish_all(db: AsyncEngine, campaign: Campaign) -> None:
    """As if every prospect had been reached: rows and counters."""
    async with db.begin() as conn:
        await conn.execute(
            text("update prospects set state = 4, outcome = 1, next_attempt_at = 'infinity' where campaign_id = :id"),
            {"id": campaign.id},
        )
        total = (await counts.read(conn, campaign.id))["total"]
        await conn.execute(
            text("""
                update campaign_counts set queued = 0, completed = :n, human_connected = :n
                 where campaign_id = :id and writer = -99
            """),
            {"id": campaign.id, "n": total},
        )
