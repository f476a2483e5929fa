"""Operations: taken by one worker at a time, over once, seen by their account."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import Clock
from engine.rules.operation import Kind
from engine.store import accounts, operations
from engine.store.accounts import Account
from engine.store.operations import Operation


async def ask(db: AsyncEngine, account: Account, clock: Clock, **more: object) -> Operation | None:
    async with db.begin() as conn:
        return await operations.ask(
            conn,
            account.id,
            Kind.SEARCH,
            "simulated-command",
            {"x": 1},
            clock.now(),
            actor="key_1",
            **more,  # type: ignore[arg-type]
        )


@pytest.fixture
async def operation(db: AsyncEngine, account: Account, clock: Clock) -> Operation:
    found = await ask(db, account, clock)
    assert found is not None
    return found


async def take(db: AsyncEngine, operation_id: int) -> Operation | None:
    async with db.begin() as conn:
        return await operations.take(conn, operation_id)


async def test_of_many_workers_one_takes_it(db: AsyncEngine, operation: Operation) -> None:
    taken = [each for each in await asyncio.gather(*(take(db, operation.id) for _ in range(5))) if each]
    assert [(each.tries, each.kind, each.request) for each in taken] == [(1, Kind.SEARCH, {"x": 1})]
    async with db.begin() as conn:
        assert await operations.due(conn) == []
        await conn.execute(text("update operations set next_try_at = clock_timestamp()"))  # as if the lease were over
        assert await operations.due(conn) == [operation.id]
    again = await take(db, operation.id)
    assert again is not None
    assert again.tries == 2


async def test_it_is_over_once(db: AsyncEngine, operation: Operation, account: Account) -> None:
    async with db.begin() as conn:
        assert await operations.note(conn, operation.id, {"a": 1})
        assert await operations.note(conn, operation.id, {"b": 2})
        assert await operations.finish(conn, operation.id)
        assert not await operations.finish(conn, operation.id, error={"code": "late"})
        assert not await operations.note(conn, operation.id, {"c": 3})
        found = await operations.find(conn, account.id, operation.id)
        assert await operations.due(conn) == []
    assert found is not None
    assert (found.status, found.result, found.error, found.is_over) == ("done", {"a": 1, "b": 2}, None, True)
    assert await take(db, operation.id) is None


async def test_a_wait_ends_with_the_operation_or_its_time(
    db: AsyncEngine, operation: Operation, account: Account
) -> None:
    early = await operations.wait(db, account.id, operation.id, 0.01)
    assert early is not None
    assert not early.is_over
    waiting = asyncio.create_task(operations.wait(db, account.id, operation.id, 60))
    async with db.begin() as conn:
        await operations.finish(conn, operation.id, result={"available": []})
    found = await waiting
    assert found is not None
    assert found.result == {"available": []}


async def test_it_is_seen_by_its_account_only(db: AsyncEngine, operation: Operation, clock: Clock) -> None:
    async with db.begin() as conn:
        other = await accounts.create(conn, "Other", clock.now())
        assert await operations.find(conn, other.id, operation.id) is None


async def test_what_has_a_name_is_asked_for_once(db: AsyncEngine, account: Account, clock: Clock) -> None:
    asked = await asyncio.gather(*(ask(db, account, clock, once="audit:1:5") for _ in range(4)))
    assert sum(each is not None for each in asked) == 1
    assert await ask(db, account, clock, once="audit:1:6") is not None


async def test_a_delayed_one_is_not_due_yet(db: AsyncEngine, account: Account, clock: Clock) -> None:
    later = await ask(db, account, clock, delay_s=60.0)
    assert later is not None
    async with db.connect() as conn:
        assert await operations.due(conn) == []
    assert await take(db, later.id) is None


async def test_old_ones_are_forgotten(db: AsyncEngine, operation: Operation, account: Account, clock: Clock) -> None:
    pending = await ask(db, account, clock)
    assert pending is not None
    async with db.begin() as conn:
        await operations.finish(conn, operation.id)
        assert await operations.purge(conn) == 0
        await conn.execute(text("update operations set finished_at = finished_at - interval '8 days'"))
        assert await operations.purge(conn) == 1
        assert await operations.find(conn, account.id, pending.id) is not None
