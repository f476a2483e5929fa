"""What a transaction publishes is what the outbox holds, in rows that are chunks."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.store.event_chunks import CHUNK_EVENTS
from engine.store.outbox import publish


@pytest.mark.parametrize(
    ("published", "counts"),
    [
        (0, []),
        (1, [1]),
        (CHUNK_EVENTS, [CHUNK_EVENTS]),
        (CHUNK_EVENTS + 1, [CHUNK_EVENTS, 1]),
        (2 * CHUNK_EVENTS, [CHUNK_EVENTS] * 2),
    ],
)
async def test_many_events_take_several_rows(db: AsyncEngine, published: int, counts: list[int]) -> None:
    lines = [f'{{"n":{n},"text":"\\n\\u0000ä"}}' for n in range(published)]
    async with db.begin() as conn:
        await publish(conn, {1: lines, 2: [], 3: ["{}"]})
        rows = (await conn.execute(text("select account_id, count, body from outbox order by id"))).all()
    assert [row.count for row in rows] == [*counts, 1]
    assert [line for row in rows if row.account_id == 1 for line in row.body.split("\n")] == lines
    assert rows[-1] == (3, 1, "{}")


@pytest.mark.parametrize("count", [0, CHUNK_EVENTS + 1])
async def test_a_row_of_another_size_is_refused(db: AsyncEngine, count: int) -> None:
    async with db.connect() as conn:
        with pytest.raises(IntegrityError, match="outbox_row_is_a_chunk"):
            await conn.execute(text("insert into outbox (account_id, count, body) values (1, :n, '')"), {"n": count})
