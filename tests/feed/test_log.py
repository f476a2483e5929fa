"""Reading the log back: each part of it exactly, wherever it begins and ends in the chunks."""

from collections.abc import Sequence

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.feed.log import EventLog
from engine.store.event_chunks import CHUNK_EVENTS
from tests.feed.conftest import event, record

SIZES = (1, 3, 1, 1, 5, 2)
KINDS = ("sms.sent", "sms.failed", "voice.sms", "voice.completed")
LINES = [event(KINDS[n % len(KINDS)], n=n, text="\n type") for n in range(sum(SIZES))]
EDGES = range(len(LINES) + 2)


async def record_chunks(db: AsyncEngine, redis: Redis, lines: Sequence[str], sizes: Sequence[int]) -> None:
    """As chunks of these sizes; another account has others in between."""
    begin = 0
    for size in sizes:
        await record(db, redis, 1, lines[begin : begin + size])
        await record(db, redis, 2, [event(other=True)] * 2)
        begin += size


@pytest.fixture
async def log(db: AsyncEngine, redis: Redis) -> EventLog:
    await record_chunks(db, redis, LINES, SIZES)
    return EventLog(db)


async def test_any_part_is_read_exactly(log: EventLog) -> None:
    for after in EDGES:
        for upto in EDGES:
            expected = LINES[after:upto]
            chunk = await log.read(1, after, upto)
            assert (chunk is None) == (not expected)
            if chunk is not None:
                assert (chunk.first, chunk.last) == (after + 1, after + len(expected))
                assert chunk.body.decode().split("\n") == expected


@pytest.mark.parametrize("types", [None, ("sms.%",), ("sms.sent", "voice.completed"), ("billing.%",)])
@pytest.mark.parametrize("limit", [1, 4, 100])
async def test_any_part_is_searched_exactly(log: EventLog, types: tuple[str, ...] | None, limit: int) -> None:
    def wanted(n: int) -> bool:
        kind = KINDS[n % len(KINDS)]
        return types is None or any(kind == like or (like[-1] == "%" and kind.startswith(like[:-1])) for like in types)

    for after in EDGES:
        for upto in EDGES:
            expected = [(n + 1, line.encode()) for n, line in enumerate(LINES) if after <= n < upto and wanted(n)]
            found, rest = await log.matching(1, after, upto, types, limit)
            assert found == expected[-limit:]
            assert rest == (found[0][0] - 1 if len(found) == limit else after)


@pytest.mark.parametrize("before", [2**31 - 20, 2**31 - 3, 2**40])
async def test_numbers_may_be_large(db: AsyncEngine, redis: Redis, before: int) -> None:
    """Small ones come to PostgreSQL as numbers of 32 bits, which a sum of theirs must not be."""
    async with db.begin() as conn:
        await conn.execute(text("insert into event_heads (account_id, seq) values (1, :seq)"), {"seq": before})
    await record(db, redis, 1, LINES)
    log = EventLog(db)
    chunk = await log.read(1, before + 2, before + 4)
    assert chunk is not None
    assert chunk.body.decode().split("\n") == LINES[2:4]
    found, rest = await log.matching(1, before + 2, before + 4, None, 9)
    assert rest == before + 2
    assert found == [(before + 3, LINES[2].encode()), (before + 4, LINES[3].encode())]


async def test_a_run_ends_where_numbers_are_missing(db: AsyncEngine, log: EventLog) -> None:
    async with db.begin() as conn:
        await conn.execute(text("delete from event_chunks where account_id = 1 and first in (1, 5)"))
    assert [await ends(log, after) for after in (0, 2, 4, 5)] == [(2, 4), (3, 4), (6, 13), (6, 13)]


async def ends(log: EventLog, after: int) -> tuple[int, int] | None:
    chunk = await log.read(1, after, len(LINES))
    return chunk and (chunk.first, chunk.last)


async def test_a_long_part_is_read_bit_by_bit(db: AsyncEngine, redis: Redis) -> None:
    """Small chunks and full ones; no answer is much longer than what one statement should read."""
    lines = [event(n=n) for n in range(13 * CHUNK_EVENTS)]
    await record(db, redis, 1, lines[: 6 * CHUNK_EVENTS + 7])
    for n in range(6 * CHUNK_EVENTS + 7, 6 * CHUNK_EVENTS + 27):
        await record(db, redis, 1, [lines[n]])
    await record(db, redis, 1, lines[6 * CHUNK_EVENTS + 27 :])
    log, cursor, upto, found = EventLog(db), 1234, len(lines) - 321, 0
    while (chunk := await log.read(1, cursor, upto)) is not None:
        assert chunk.first == cursor + 1
        assert chunk.body.decode().split("\n") == lines[cursor : chunk.last]
        assert chunk.last - cursor <= 5 * CHUNK_EVENTS
        cursor, found = chunk.last, found + 1
    assert (cursor, found > 2) == (upto, True)
