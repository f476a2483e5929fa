import asyncio

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.rules.stats import COUNTERS, Delta
from engine.store import counts


def _delta(**values: int) -> Delta:
    delta = Delta()
    for name, value in values.items():
        delta.add(name, value)
    return delta


async def test_deltas_of_many_writers_add_up(db: AsyncEngine) -> None:
    for writer in (1, 2, 1):
        async with db.begin() as conn:
            await counts.add(conn, {5: _delta(total=10, queued=10), 6: _delta(busy=1)}, writer)
    async with db.connect() as conn:
        assert await counts.read(conn, 5) == dict.fromkeys(COUNTERS, 0) | {"total": 30, "queued": 30}
        assert (await counts.read_many(conn, [5, 6, 7]))[6]["busy"] == 3
        assert await counts.read(conn, 7) == dict.fromkeys(COUNTERS, 0)


async def test_folding_while_counting_keeps_every_sum(db: AsyncEngine) -> None:
    folding = True

    async def count(writer: int) -> None:
        for _ in range(50):
            async with db.begin() as conn:
                await counts.add(conn, {5: _delta(total=1)}, writer)

    async def fold() -> None:
        while folding:
            async with db.begin() as conn:
                await counts.fold(conn, 5, before_minute=2**31 - 1)

    async def read() -> None:
        last = 0
        while folding:
            async with db.connect() as conn:
                now = (await counts.read(conn, 5))["total"]
            assert now >= last
            last = now

    async with asyncio.TaskGroup() as group:
        others = [group.create_task(task) for task in (fold(), fold(), read())]
        async with asyncio.TaskGroup() as counting:
            for writer in range(3):
                counting.create_task(count(writer))
        folding = False
    assert all(task.done() for task in others)
    async with db.connect() as conn:
        assert (await counts.read(conn, 5))["total"] == 150


async def test_fold_leaves_one_row(db: AsyncEngine) -> None:
    for writer in range(5):
        async with db.begin() as conn:
            await counts.add(conn, {5: _delta(total=1)}, writer)
    async with db.begin() as conn:
        await counts.fold(conn, 5, before_minute=2**31 - 1)
        rows = (await conn.execute(text("select minute, writer, total from campaign_counts"))).all()
    assert [tuple(row) for row in rows] == [(0, 0, 5)]


async def test_cancelling_moves_all_that_is_queued(db: AsyncEngine) -> None:
    async with db.begin() as conn:
        await counts.add(conn, {5: _delta(total=10, queued=7, retrying=2, completed=3, busy=3)}, 1)
        await counts.cancel_queued(conn, 5)
        found = await counts.read(conn, 5)
    assert {name: value for name, value in found.items() if value} == {
        "total": 10, "cancelled": 7, "completed": 3, "busy": 3,
    }  # fmt: skip


async def test_cancelling_an_empty_campaign(db: AsyncEngine) -> None:
    async with db.begin() as conn:
        await counts.cancel_queued(conn, 5)
        assert await counts.read(conn, 5) == dict.fromkeys(COUNTERS, 0)
