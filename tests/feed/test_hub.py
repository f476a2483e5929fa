"""History, then live: each event once, in order, to the right clients, whatever Redis does."""

import asyncio
import re

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.feed import chunks, tails
from engine.feed.chunks import Chunk
from engine.feed.hub import Hub
from engine.feed.log import EventLog
from engine.feed.relay import Relay
from engine.feed.trunx import Channels, Trunx
from tests.feed.conftest import (
    DEADLINE_S,
    AwayRedis,
    Client,
    begin_another_history,
    event,
    eventually,
    record,
    write,
)

ALL, SMS = Channels(), Channels(frozenset({"sms"}))
BILLING = Channels(frozenset({"billing"}))
PATIENT_S = 600.0  # longer than a busy machine takes to make a client fall behind


async def test_a_new_client_hears_what_happens_from_now_on(db: AsyncEngine, redis: Redis, hub: Hub) -> None:
    await record(db, redis, 1, [event(n=1)])
    client = Client()
    await hub.subscribe(1, client, Trunx, ALL, None)
    await record(db, redis, 1, [event(n=2), event("voice.answered", n=3)])
    await client.until(3)
    assert [(name, seq, data["payload"]) for name, seq, data in client.events] == [
        ("sms.sent", 2, {"n": 2}),
        ("voice.answered", 3, {"n": 3}),
    ]


async def test_channels_and_accounts_are_kept_apart(db: AsyncEngine, redis: Redis, hub: Hub) -> None:
    sms, everything, other = Client(), Client(), Client()
    await hub.subscribe(1, sms, Trunx, SMS, None)
    await hub.subscribe(1, everything, Trunx, ALL, None)
    await hub.subscribe(2, other, Trunx, ALL, None)
    await record(db, redis, 1, [event("voice.answered"), event("sms.sent"), event("did.released"), event("sms.failed")])
    await record(db, redis, 2, [event("voice.failed")])
    await asyncio.gather(sms.until(4), everything.until(4), other.until(1))
    assert sms.ids == [2, 4]
    assert everything.ids == [1, 2, 3, 4]
    assert [name for name, _, _ in other.events] == ["voice.failed"]


@pytest.mark.parametrize("memory_events", [2, 1000])
@pytest.mark.parametrize(("after", "expected"), [(0, [1, 2, 3, 4, 5]), (3, [4, 5]), (5, [])])
async def test_replay_is_what_follows_the_id(
    db: AsyncEngine, redis: Redis, memory_events: int, after: int, expected: list[int]
) -> None:
    await record(db, redis, 1, [event(n=n) for n in range(5)])
    async with Hub(db, redis, memory_events=memory_events) as hub:
        client = Client()
        await hub.subscribe(1, client, Trunx, ALL, str(after))
        assert client.ids == expected
        await record(db, redis, 1, [event()])
        await client.until(6)
        assert client.ids == [*expected, 6]


@pytest.mark.parametrize("memory_events", [1, 3, 8, 1000])
@pytest.mark.parametrize("redis_remembers", [True, False])
async def test_a_long_replay_is_the_newest_that_match_and_says_so(
    db: AsyncEngine, redis: Redis, memory_events: int, redis_remembers: bool
) -> None:
    """Every second of 20 events matches and 5 are sent: all or truncated, exactly at the edge."""
    await record(db, redis, 1, [event("sms.sent" if n % 2 else "voice.failed") for n in range(20)])
    if not redis_remembers:
        await redis.flushdb()
    async with Hub(db, redis, memory_events=memory_events, replay_limit=5) as hub:
        for after in range(21):
            client = Client()
            subscription = await hub.subscribe(1, client, Trunx, SMS, str(after))
            matching = [seq for seq in range(after + 1, 21) if seq % 2 == 0]
            if len(matching) > 5:
                [(name, seq, data), *_] = client.events
                assert (name, seq) == ("replay.truncated", matching[-5] - 1)
                assert data == {"requested": after, "oldest": matching[-5], "newest": 20}
                assert client.ids[1:] == matching[-5:]
            else:
                assert client.ids == matching
            hub.unsubscribe(subscription)


async def test_a_quiet_channel_is_found_far_back(
    db: AsyncEngine, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.feed.log._WINDOW", 7)
    await record(db, redis, 1, [event("billing.usage" if n in {4, 50} else "sms.sent") for n in range(1, 101)])
    async with Hub(db, redis, memory_events=10) as hub:
        client = Client()
        await hub.subscribe(1, client, Trunx, BILLING, "3")
        assert client.ids == [4, 50]


@pytest.mark.parametrize("asked", ["11", "abc", "-1", "1.5", "9" * 400, "٣", "1 ", "0x1", "\0"])
async def test_an_id_that_was_never_given_is_answered_with_reset(
    db: AsyncEngine, redis: Redis, hub: Hub, asked: str
) -> None:
    await record(db, redis, 1, [event()] * 10)
    client = Client()
    await hub.subscribe(1, client, Trunx, ALL, asked)
    assert client.events == [("replay.reset", 10, {"requested": asked[:64], "newest": 10})]
    await record(db, redis, 1, [event()])
    await client.until(11)
    assert client.ids == [10, 11]


async def test_an_id_that_another_process_gave_first_is_no_reset(db: AsyncEngine, redis: Redis) -> None:
    async with Hub(db, AwayRedis()) as behind:  # hears only by looking
        await behind.subscribe(1, Client(), Trunx, ALL, None)
        await record(db, redis, 1, [event()] * 3)
        client = Client()
        await behind.subscribe(1, client, Trunx, ALL, "3")
        await record(db, redis, 1, [event()])
        await client.until(4)
        assert client.ids == [4]


async def test_a_flush_in_the_middle_loses_nothing(db: AsyncEngine, redis: Redis, hub: Hub) -> None:
    client = Client()
    await hub.subscribe(1, client, Trunx, ALL, None)
    relay = Relay(db, redis, keep=1000)
    for n in range(1, 61):
        await write(db, 1, [event(n=n)])
        await relay.run_once()
        if n % 10 == 0:
            await redis.flushall()
    await client.until(60)
    assert client.ids == list(range(1, 61))


async def test_the_last_event_arrives_though_redis_lost_it(db: AsyncEngine, redis: Redis, hub: Hub) -> None:
    client = Client()
    await hub.subscribe(1, client, Trunx, ALL, None)
    await record(db, AwayRedis(), 1, [event()])
    await client.until(1)


async def test_without_redis_the_heads_are_watched(db: AsyncEngine) -> None:
    async with Hub(db, AwayRedis()) as hub:
        client = Client()
        await hub.subscribe(1, client, Trunx, ALL, None)
        for _ in range(3):
            await record(db, AwayRedis(), 1, [event(), event()])
        await client.until(6)
        assert client.ids == [1, 2, 3, 4, 5, 6]


async def test_an_account_that_joins_a_running_reader_is_heard_at_once(
    db: AsyncEngine, redis: Redis, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tails, "SWEEP_S", 3600.0)  # only Redis can bring it
    monkeypatch.setattr(tails, "BLOCK_S", 3600.0)
    monkeypatch.setattr(tails, "PAUSE_S", DEADLINE_S)  # a busy machine may take longer to wake the reader
    for account_id in (1, 2, 3):
        client = Client()
        await hub.subscribe(account_id, client, Trunx, ALL, None)
        await record(db, redis, account_id, [event()])
        await client.until(1)


async def test_another_history_of_the_database_resets_the_clients(own_db: AsyncEngine, redis: Redis) -> None:
    """As after a restore: the numbers go back, and the streams of the old epoch hold others."""
    async with Hub(own_db, redis) as hub:
        await record(own_db, redis, 1, [event(n=n) for n in range(10)])
        client = Client()
        await hub.subscribe(1, client, Trunx, ALL, "8")
        old = (await EventLog(own_db).heads([1])).epoch
        await begin_another_history(own_db, newest=4)
        await eventually(lambda: [name for name, _, _ in client.events][-1] == "replay.reset")
        assert (await EventLog(own_db).heads([1])).epoch != old
        await record(own_db, redis, 1, [event(n="new")])
        await client.until(5)
    assert client.ids == [9, 10, 4, 5]
    assert client.events[-1][2]["payload"] == {"n": "new"}


@pytest.mark.parametrize(
    ("copied", "expected"), [("body", [9, 10, 11]), ("replace(body, 'payload', 'other')", [9, 10, 10, 11])]
)
async def test_a_history_that_goes_on_resets_nobody(
    own_db: AsyncEngine, redis: Redis, copied: str, expected: list[int]
) -> None:
    """As after a failover: another epoch, and all that was shown is there at its number, or something else is."""
    db = own_db
    async with Hub(db, redis) as hub:
        await record(db, redis, 1, [event(n=n) for n in range(10)])
        client, silent = Client(), Client()
        await hub.subscribe(1, client, Trunx, ALL, "8")
        await hub.subscribe(2, silent, Trunx, ALL, None)  # of an account without any event
        async with db.begin() as conn:
            await conn.execute(text("alter table event_chunks rename to chunks_old"))
            await conn.execute(text("create table event_chunks (like chunks_old including all)"))
            copy = f"insert into event_chunks select account_id, last, recorded_on, first, {copied} from chunks_old"
            await conn.execute(text(copy))
        if len(expected) > 3:
            await eventually(lambda: client.events[-1][0] == "replay.reset")
        await record(db, redis, 1, [event(n="new")])
        await record(db, redis, 2, [event(n="first")])
        await client.until(11)
        await silent.until(1)
        assert client.ids == expected
        assert silent.ids == [1]
        resets = [name for name, _, _ in client.events + silent.events if name == "replay.reset"]
        assert len(resets) == len(expected) - 3


async def test_a_reader_that_falls_behind_catches_up(db: AsyncEngine, redis: Redis) -> None:
    """It stalls while far more arrives than memory and its buffer hold, then reads on."""
    async with Hub(db, redis, memory_events=50, slow_reader_bytes=2_000, stall_s=PATIENT_S) as hub:
        slow, healthy = Client(stalled=True), Client()
        await hub.subscribe(1, slow, Trunx, ALL, None)
        await hub.subscribe(1, healthy, Trunx, ALL, None)
        await record(db, redis, 1, [event(text="x" * 100)] * 50)
        await slow.until(50)  # its buffer is full; else a busy reader may bring it several batches at once
        for _ in range(19):
            await record(db, redis, 1, [event(text="x" * 100)] * 50)
        await healthy.until(1000)
        assert slow.peak < 2_000 + 60 * 400
        slow.move()
        await slow.until(1000)
        assert slow.ids == healthy.ids == list(range(1, 1001))


async def test_a_reader_that_does_not_drain_is_cut(db: AsyncEngine, redis: Redis) -> None:
    async with Hub(db, redis, slow_reader_bytes=1_000, stall_s=0.05) as hub:
        dead, healthy = Client(stalled=True), Client()
        await hub.subscribe(1, dead, Trunx, ALL, None)
        await hub.subscribe(1, healthy, Trunx, ALL, None)
        await record(db, redis, 1, [event(text="x" * 100)] * 50)
        await eventually(lambda: not dead.is_open)
        await record(db, redis, 1, [event()])
        await healthy.until(51)
        assert healthy.is_open


async def test_a_reader_too_far_behind_is_cut(db: AsyncEngine, redis: Redis) -> None:
    small = {"memory_events": 10, "replay_limit": 10, "max_behind": 100, "slow_reader_bytes": 1_000}
    async with Hub(db, redis, **small, stall_s=PATIENT_S) as hub:
        slow = Client(stalled=True)
        await hub.subscribe(1, slow, Trunx, ALL, None)
        await record(db, redis, 1, [event(text="x" * 100)] * 20)
        await slow.until(20)
        await record(db, redis, 1, [event(text="x" * 100)] * 300)
        watcher = Client()
        await hub.subscribe(1, watcher, Trunx, ALL, "319")
        await watcher.until(320)
        slow.move()
        await eventually(lambda: not slow.is_open)
        assert slow.ids == list(range(1, 21))


async def test_heartbeats_reach_everyone_between_frames(db: AsyncEngine, redis: Redis) -> None:
    async with Hub(db, redis, heartbeat_s=0.02) as hub:
        client = Client()
        await hub.subscribe(1, client, Trunx, ALL, None)
        await eventually(lambda: client.data.startswith(b": heartbeat\n: heartbeat\n"))
        await record(db, redis, 1, [event()])
        await client.until(1)


async def test_the_end_of_the_hub_cuts_its_clients(db: AsyncEngine, redis: Redis) -> None:
    client = Client()
    async with Hub(db, redis) as hub:
        await hub.subscribe(1, client, Trunx, ALL, None)
    assert not client.is_open


async def test_a_broken_event_is_dropped_and_the_next_arrives(db: AsyncEngine, redis: Redis, hub: Hub) -> None:
    client = Client()
    await hub.subscribe(1, client, Trunx, ALL, None)
    await record(db, redis, 1, ['{"no":"type"}', "[]", '{"type":"sms.sent","at":"never","payload":{}}', event()])
    await client.until(4)
    assert client.ids == [4]


async def test_repeats_and_holes_from_redis_change_nothing(db: AsyncEngine, redis: Redis, hub: Hub) -> None:
    """A stale relay, or a flush between two chunks."""
    client = Client()
    await hub.subscribe(1, client, Trunx, ALL, None)
    await record(db, AwayRedis(), 1, [event(n=n) for n in range(1, 10)])
    epoch = (await EventLog(db).heads([1])).epoch
    await chunks.add(redis, epoch, [Chunk(1, 6, 7, f"{event(n=6)}\n{event(n=7)}".encode())], 100)
    await chunks.add(redis, epoch, [Chunk(1, 5, 9, "\n".join(event(n=n) for n in range(5, 10)).encode())], 100)
    await client.until(9)
    assert [data["payload"] for _, _, data in client.events] == [{"n": n} for n in range(1, 10)]


class Ids(Client):
    """Keeps only the ids: four hundred of them follow thousands of events."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def write(self, data: bytes) -> None:
        self.seen += map(int, re.findall(rb"^id: (\d+)$", data, re.MULTILINE))


@pytest.mark.parametrize("memory_events", [30, 2000])
async def test_resumes_under_load_have_no_gap_and_no_repeat(db: AsyncEngine, redis: Redis, memory_events: int) -> None:
    """400 resumes from many ids while about a thousand events a second are written and Redis is flushed."""
    resumes, total = 400, 2500

    async def produce() -> None:
        relay = Relay(db, redis, keep=10_000)
        for batch in range(total // 10):
            kinds = ("sms.sent" if n % 2 else "voice.failed" for n in range(10))
            await write(db, 1, [event(kind) for kind in kinds])
            await relay.run_once()
            if batch == total // 20:
                await redis.flushall()

    async def resume(hub: Hub, n: int) -> tuple[Ids, int, int]:
        head = (await EventLog(db).heads([1])).newest[1]
        client, after, every = Ids(), max(0, head - (n * 37) % 400), 1 + n % 2
        await hub.subscribe(1, client, Trunx, SMS if every == 2 else ALL, str(after))
        return client, after, every

    async with Hub(db, redis, memory_events=memory_events) as hub:
        producer = asyncio.create_task(produce())
        results = []
        while len(results) < resumes:
            results += await asyncio.gather(*(resume(hub, len(results) + n) for n in range(8)))
        await producer
        expected = [[seq for seq in range(after + 1, total + 1) if seq % every == 0] for _, after, every in results]
        await eventually(lambda: all(len(r[0].seen) >= len(ids) for r, ids in zip(results, expected, strict=True)))
        assert [client.seen for client, _, _ in results] == expected
