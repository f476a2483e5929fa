"""`replay.truncated`: told when an event that this client wanted is no longer kept, and never for others' events."""

from collections.abc import Mapping, Sequence

import orjson
import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.feed.hub import Hub
from engine.feed.revdesk import Numbers, RevDesk
from engine.feed.trunx import Channels, Trunx
from engine.rules.events import Owner
from tests.feed.conftest import Client, event, record

ALL, SMS = Channels(), Channels(frozenset({"sms"}))
BILLING, VOICE = Channels(frozenset({"billing"})), Channels(frozenset({"voice"}))


async def record_in_two(db: AsyncEngine, redis: Redis, account_id: int, events: Sequence[str], first: int) -> None:
    """The first so many in one chunk, the others in another: on the next day, say."""
    await record(db, redis, account_id, events[:first])
    await record(db, redis, account_id, events[first:])


async def drop(db: AsyncEngine, upto: int, drops: Mapping[tuple[str, Owner | None], int]) -> None:
    """As retention leaves it; `drops` has the newest number of each type and owner."""
    row = text("insert into event_drops values (1, :type, :owner, :seq)")
    async with db.begin() as conn:
        await conn.execute(text("delete from event_chunks where last <= :upto"), {"upto": upto})
        await conn.execute(text("update event_heads set kept_from = :upto + 1"), {"upto": upto})
        for (kind, owner), seq in drops.items():
            kept = orjson.dumps(list(owner)).decode() if owner else ""
            await conn.execute(row, {"type": kind, "owner": kept, "seq": seq})


@pytest.mark.parametrize("memory_events", [3, 1000])
async def test_what_retention_dropped_is_told_once_it_matters(
    db: AsyncEngine, redis: Redis, memory_events: int
) -> None:
    await record_in_two(db, redis, 1, [event(n=n) for n in range(10)], 6)
    await redis.flushdb()
    await drop(db, 6, {("sms.sent", None): 6})
    async with Hub(db, redis, memory_events=memory_events) as hub:
        for after, expected in ((2, [6, 7, 8, 9, 10]), (6, [7, 8, 9, 10]), (8, [9, 10])):
            client = Client()
            await hub.subscribe(1, client, Trunx, ALL, str(after))
            assert client.ids == expected
            truncated = [data for name, _, data in client.events if name == "replay.truncated"]
            assert truncated == ([{"requested": 2, "oldest": 7, "newest": 10}] if after == 2 else [])


async def test_a_quiet_channel_hears_of_no_loss_but_its_own(db: AsyncEngine, redis: Redis) -> None:
    await record_in_two(db, redis, 1, [event("billing.usage" if n in {2, 9} else "sms.sent") for n in range(1, 11)], 6)
    await redis.flushdb()
    await drop(db, 6, {("sms.sent", None): 6, ("billing.usage", None): 2})
    async with Hub(db, redis, memory_events=3) as hub:
        for wish, after, expected in ((BILLING, 2, [9]), (BILLING, 1, [8, 9]), (VOICE, 0, []), (SMS, 5, [6, 7, 8, 10])):
            client = Client()
            await hub.subscribe(1, client, Trunx, wish, str(after))
            assert client.ids == expected
            assert [name == "replay.truncated" for name, _, _ in client.events] == [
                seq in {8, 6} and n == 0 for n, seq in enumerate(expected)
            ]


async def test_a_channel_of_which_nothing_is_left_says_so(db: AsyncEngine, redis: Redis) -> None:
    await record_in_two(db, redis, 1, [event("voice.failed" if n < 3 else "sms.sent") for n in range(1, 11)], 6)
    await redis.flushdb()
    await drop(db, 6, {("sms.sent", None): 6, ("voice.failed", None): 2})
    async with Hub(db, redis, memory_events=3) as hub:
        client = Client()
        await hub.subscribe(1, client, Trunx, VOICE, "1")
        assert client.events == [("replay.truncated", 2, {"requested": 1, "oldest": 3, "newest": 10})]


async def test_a_stream_of_ones_own_hears_of_no_loss_of_others(db: AsyncEngine, redis: Redis) -> None:
    ann, bob = Owner("line_1", "user_1", ""), Owner("line_2", "user_2", "")
    await record_in_two(db, redis, 1, [event()] * 10, 6)
    await redis.flushdb()
    await drop(db, 6, {("sms.received", ann): 3, ("sms.received", bob): 6, ("sms.received", None): 5})
    async with Hub(db, redis, memory_events=2) as hub:
        told = {}
        for name, wish in (("ann", Numbers("user_1")), ("bob", Numbers("user_2")), ("all", Numbers())):
            client = Client()
            await hub.subscribe(1, client, RevDesk, wish, "3")
            told[name] = client.ids
    assert told == {"ann": [], "bob": [6], "all": [6]}
