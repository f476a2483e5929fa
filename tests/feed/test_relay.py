"""P6: numbers are gapless per account and in commit order, whoever relays and whatever dies."""

import asyncio
import random

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from engine.feed import chunks
from engine.feed.log import EventLog
from engine.feed.relay import BATCH_EVENTS, Relay
from engine.store.database import connect
from engine.store.event_chunks import CHUNK_EVENTS
from engine.store.outbox import publish
from tests.feed.conftest import AwayRedis, event, eventually, expire_lease, relaying, write


async def chunks_of(db: AsyncEngine, account_id: int) -> list[chunks.Chunk]:
    query = text("select first, last, body from event_chunks where account_id = :id order by last")
    async with db.connect() as conn:
        rows = await conn.execute(query, {"id": account_id})
        return [chunks.Chunk(account_id, first, last, body.encode()) for first, last, body in rows]


async def recorded(db: AsyncEngine, account_id: int) -> list[tuple[int, dict[str, object]]]:
    """(number, payload) in order of the numbers."""
    query = text("select seq, body->'payload' from events where account_id = :id order by seq")
    async with db.connect() as conn:
        return [(seq, payload) for seq, payload in await conn.execute(query, {"id": account_id})]


async def cached(db: AsyncEngine, redis: Redis, account_id: int) -> list[chunks.Chunk]:
    heads = await EventLog(db).heads([account_id])
    return await chunks.since(redis, heads.epoch, account_id, 0)


async def outbox_is_empty(db: AsyncEngine) -> bool:
    async with db.connect() as conn:
        return not (await conn.execute(text("select exists (select from outbox)"))).scalar_one()


async def test_numbers_follow_the_outbox_per_account(db: AsyncEngine, redis: Redis) -> None:
    relay = Relay(db, redis, keep=100)
    async with db.begin() as conn:
        await publish(conn, {1: [event(n=1), event(n=2)], 2: [event(n=10)]})
        await publish(conn, {1: [event(n=3)]})
    assert await relay.run_once() == 4
    await write(db, 2, [event(n=11)])
    assert await relay.run_once() == 1
    assert await relay.run_once() == 0
    assert await recorded(db, 1) == [(1, {"n": 1}), (2, {"n": 2}), (3, {"n": 3})]
    assert await recorded(db, 2) == [(1, {"n": 10}), (2, {"n": 11})]


async def test_rows_of_any_size_and_account_become_gapless_chunks(db: AsyncEngine, redis: Redis) -> None:
    """Numbers, chunks and the view are what was published; Redis has the very chunks that PostgreSQL has."""
    rng, relay = random.Random(11), Relay(db, redis, keep=100_000)
    published: dict[int, list[str]] = {1: [], 2: [], 3: []}
    for _ in range(40):
        async with db.begin() as conn:
            some = {each: [event(n=len(published[each]) + n) for n in range(size(rng))] for each in published}
            await publish(conn, some)
        for account_id, lines in some.items():
            published[account_id] += lines
        if rng.random() < 0.3:
            await relay.run_once()
    while await relay.run_once():
        pass
    for account_id, lines in published.items():
        run = await chunks_of(db, account_id)
        assert run == await cached(db, redis, account_id)
        assert b"\n".join(chunk.body for chunk in run).decode().split("\n") == lines
        assert [chunk.first for chunk in run] == [1, *(chunk.last + 1 for chunk in run[:-1])]
        assert all(chunk.body.count(b"\n") == chunk.last - chunk.first < CHUNK_EVENTS for chunk in run)
        assert await recorded(db, account_id) == [(n + 1, {"n": n}) for n in range(len(lines))]


def size(rng: random.Random) -> int:
    return rng.choice((0, 1, 1, 2, 7, rng.randint(1, CHUNK_EVENTS), CHUNK_EVENTS, rng.randint(1, 3 * CHUNK_EVENTS)))


async def test_small_rows_are_joined_and_large_ones_kept(db: AsyncEngine, redis: Redis) -> None:
    relay = Relay(db, redis, keep=10_000)
    for count in (1, 2, 3, CHUNK_EVENTS - 6, CHUNK_EVENTS, 4, CHUNK_EVENTS, 5, 6):
        await write(db, 1, [event()] * count)
    await relay.run_once()
    assert [chunk.last - chunk.first + 1 for chunk in await chunks_of(db, 1)] == [500, 500, 4, 500, 11]


async def test_its_statements_are_prepared(own_database_url: str, redis: Redis) -> None:
    """Parsing and planning would cost more than looking at an outbox does."""
    db = connect(own_database_url, pool_size=1)
    relay = Relay(db, redis, keep=100)
    for _ in range(8):
        await write(db, 1, [event()])
        while await relay.run_once():
            pass
    async with db.connect() as conn:
        prepared = (await conn.execute(text("select statement from pg_prepared_statements"))).scalars().all()
    await db.dispose()
    for part in ("select exists (select from outbox", "insert into leaders", "delete from outbox"):
        assert sum(part in statement for statement in prepared) == 1


async def test_concurrent_writers_leave_no_gap_and_keep_each_subjects_order(db: AsyncEngine, redis: Redis) -> None:
    """Each writer locks its subject, then publishes; some roll back, which leaves holes in the outbox's own ids."""
    rng = random.Random(7)
    committed: dict[int, list[int]] = {subject: [] for subject in range(8)}

    async def writer(subject: int) -> None:
        for n in range(30):
            async with db.connect() as conn, conn.begin() as transaction:
                await conn.execute(text("select pg_advisory_xact_lock(:key)"), {"key": subject % 4})
                await publish(conn, {1: [event(subject=subject, n=n)]})
                if rng.random() < 0.2:
                    await transaction.rollback()
                else:
                    committed[subject].append(n)

    async with relaying(db, redis):
        await asyncio.gather(*(writer(subject) for subject in committed))
        await eventually(lambda: outbox_is_empty(db))
    events = await recorded(db, 1)
    assert [seq for seq, _ in events] == list(range(1, len(events) + 1))
    for subject, numbers in committed.items():
        assert [payload["n"] for _, payload in events if payload["subject"] == subject] == numbers


async def test_a_row_that_commits_late_is_not_lost(db: AsyncEngine, redis: Redis) -> None:
    relay = Relay(db, redis, keep=100)
    async with db.connect() as slow:
        await publish(slow, {1: [event(n="slow")]})  # takes the lower id
        await write(db, 1, [event(n="fast")])
        assert await relay.run_once() == 1
        await slow.commit()
    assert await relay.run_once() == 1
    assert await recorded(db, 1) == [(1, {"n": "fast"}), (2, {"n": "slow"})]


async def test_the_search_moves_on_but_never_past_an_open_writer(db: AsyncEngine, redis: Redis) -> None:
    relay = Relay(db, redis, keep=100)

    async def relay_some() -> None:
        for _ in range(4):
            await write(db, 1, [event()])
            assert await relay.run_once() == 1

    await relay_some()
    before = relay._floor.value
    assert before > 0
    async with db.connect() as slow:
        await publish(slow, {1: [event(n="slow")]})
        await relay_some()
        assert relay._floor.value < 5
        await slow.commit()
    assert await relay.run_once() == 1
    await relay_some()
    assert relay._floor.value > 5
    assert (await recorded(db, 1))[8] == (9, {"n": "slow"})


async def test_a_row_that_commits_just_before_the_search_moves_past_it_is_taken_first(
    db: AsyncEngine, redis: Redis
) -> None:
    """Its effect may stand behind it in the outbox already: skipped, it would be numbered after that."""
    relay = Relay(db, redis, keep=100)

    async def relay_one(n: int) -> None:
        await write(db, 1, [event(n=n)])
        assert await relay.run_once() == 1

    await relay_one(1)
    async with db.connect() as slow:
        await publish(slow, {1: [event(n="cause")]})
        await relay_one(2)
        await relay_one(3)
        await slow.commit()
    await write(db, 1, [event(n="effect")])
    assert await relay.run_once() == 2
    assert [payload["n"] for _, payload in await recorded(db, 1)] == [1, 2, 3, "cause", "effect"]


async def test_a_row_below_the_floor_is_only_late(
    db: AsyncEngine, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its writer was frozen before it had a transaction id, or the database was restored beneath us."""
    monkeypatch.setattr("engine.feed.relay.FULL_LOOK_S", 0.05)
    relay = Relay(db, redis, keep=100)
    relay._floor.value = relay._floor._taken = 1_000_000
    await write(db, 1, [event()])

    async def found() -> bool:
        return bool(await relay.run_once())

    await eventually(found)


async def test_a_large_backlog_is_cut_into_batches_and_chunks(db: AsyncEngine, redis: Redis) -> None:
    relay = Relay(db, redis, keep=10_000)
    for batch in range(10):
        await write(db, 1, [event(n=batch * 700 + n) for n in range(700)])
    counts = [await relay.run_once() for _ in range(5)]
    assert sum(counts) == 7000
    assert max(counts) < BATCH_EVENTS + 700
    run = await cached(db, redis, 1)
    assert (run[0].first, run[-1].last) == (1, 7000)
    assert max(chunk.last - chunk.first + 1 for chunk in run) <= CHUNK_EVENTS
    assert all(chunk.body.count(b"\n") == chunk.last - chunk.first for chunk in run)


async def test_redis_keeps_about_the_newest(db: AsyncEngine, redis: Redis) -> None:
    relay = Relay(db, redis, keep=1000)
    for _ in range(10):
        await write(db, 1, [event(text="x" * 200)] * 500)
        await relay.run_once()
    run = await cached(db, redis, 1)
    assert run[-1].last == 5000
    assert 1000 <= 5000 - run[0].first + 1 <= 2000


async def test_one_leads_and_the_other_takes_over_when_the_lease_ends(db: AsyncEngine, redis: Redis) -> None:
    first, second = Relay(db, redis, keep=100), Relay(db, redis, keep=100)
    await write(db, 1, [event(n=1)])
    assert await first.run_once() == 1
    await write(db, 1, [event(n=2)])
    assert await second.run_once() is None
    await expire_lease(db)
    assert await second.run_once() == 1
    await write(db, 1, [event(n=3)])
    assert await first.run_once() is None
    assert await second.run_once() == 1
    assert [seq for seq, _ in await recorded(db, 1)] == [1, 2, 3]
    async with db.connect() as conn:
        assert (await conn.execute(text("select owner, epoch from leaders"))).one() == (second.owner, 2)


async def test_a_leader_that_stops_inside_its_transaction_numbers_nothing(
    db: AsyncEngine, database_url: str, redis: Redis
) -> None:
    """As SIGSTOP would: the transaction is open and holds the row, nobody answers, the database ends the session."""
    production = connect(database_url)
    await write(db, 1, [event(n=1)])
    stopped = Relay(production, redis, keep=100)
    conn = await production.connect()
    assert await stopped._lead(conn) is not None
    assert await stopped._sequence(conn) != ([], None)
    other = Relay(db, redis, keep=100)

    async def numbered_by_other() -> bool:
        return bool(await other.run_once())  # waits for the row, then takes what was rolled back

    await eventually(numbered_by_other)
    with pytest.raises(DBAPIError):
        await conn.commit()
    await conn.invalidate()
    await conn.close()
    await production.dispose()
    assert await recorded(db, 1) == [(1, {"n": 1})]


async def test_a_stopped_relay_that_shows_its_batch_late_hides_nothing(db: AsyncEngine, redis: Redis) -> None:
    late, other = Relay(db, redis, keep=100), Relay(db, redis, keep=100)
    await write(db, 1, [event(n=1)])
    batch = await late.number()  # committed, and stopped before Redis
    assert batch is not None
    await expire_lease(db)
    await write(db, 1, [event(n=2)])
    assert await other.run_once() == 1
    await late._show(batch)
    await write(db, 1, [event(n=3)])
    assert await other.run_once() == 1
    assert [chunk.last for chunk in await cached(db, redis, 1)] in ([3], [2, 3], [1, 3])
    assert [seq for seq, _ in await recorded(db, 1)] == [1, 2, 3]


async def test_without_redis_events_are_numbered_all_the_same(db: AsyncEngine) -> None:
    away = AwayRedis()
    with pytest.raises((RedisError, OSError)):
        await away.ping()
    relay = Relay(db, away, keep=100)
    for n in range(3):
        await write(db, 1, [event(n=n)])
        assert await relay.run_once() == 1
    assert [seq for seq, _ in await recorded(db, 1)] == [1, 2, 3]
    await away.aclose()


@pytest.mark.parametrize(
    ("count", "took_s", "pause_s"),
    [(1, 0.0001, 0.005), (10, 0.0015, 0.006), (10, 0.1, 0.02), (150, 0.003, 0.015), (750, 0.006, 0.05)],
)
def test_the_busier_it_is_the_longer_it_gathers(count: int, took_s: float, pause_s: float) -> None:
    relay = Relay(create_async_engine("postgresql+psycopg://"), AwayRedis(), keep=1)
    assert relay._pause_s(count, took_s) == pytest.approx(pause_s)


async def test_each_batch_is_reported_with_its_wait(db: AsyncEngine, redis: Redis) -> None:
    heard: list[tuple[int, float]] = []
    relay = Relay(db, redis, keep=100, on_batch=lambda count, lag_s: heard.append((count, lag_s)))
    assert await relay.run_once() == 0
    await write(db, 1, [event(), event()])
    await relay.run_once()
    assert heard[0] == (0, 0.0)
    assert heard[1][0] == 2
    assert 0 < heard[1][1] < 10
