"""What every statement relies on: the same tests over our connections and over SQLAlchemy's own."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, InternalError, OperationalError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.store.connection import DriverConnection
from tests.acceptance.stack import until

_ADD = text("insert into accounts (id, name, created_at) values (:id, :name, now())")
_COUNT = text("select count(*) from accounts where id >= 900")
_PID = text("select pg_backend_pid()")
_SESSION = text("select count(*) from pg_stat_activity where pid = :pid and query like :query")


@pytest.fixture(params=["ours", "sqlalchemy's"])
def engine(request: pytest.FixtureRequest, db: AsyncEngine) -> AsyncEngine:
    return db if request.param == "ours" else AsyncEngine(db.sync_engine)


@pytest.fixture
def other(db: AsyncEngine) -> AsyncEngine:
    """For a look from outside."""
    return db


async def test_ours_are_ours(db: AsyncEngine) -> None:
    for engine in (db, db.execution_options(isolation_level="AUTOCOMMIT")):
        async with engine.connect() as conn:
            assert isinstance(conn, DriverConnection)


async def test_rows_have_names_and_results_their_ways_to_read_them(engine: AsyncEngine) -> None:
    words = text("select n as number, '100 %' as share, cast(:name as text) as name, :name || '\\:x' as again"
                 "  from unnest(cast(:ns as int[])) as u(n) order by n")  # fmt: skip
    async with engine.connect() as conn:
        rows = (await conn.execute(words, {"name": "Ann", "ns": [2, 1]})).all()
        assert [tuple(row) for row in rows] == [(1, "100 %", "Ann", "Ann:x"), (2, "100 %", "Ann", "Ann:x")]
        assert (rows[0].number, rows[0].share, rows[0]._mapping["name"]) == (1, "100 %", "Ann")
        assert list((await conn.execute(words, {"name": "Ann", "ns": [2, 1]})).scalars()) == [1, 2]
        assert (await conn.execute(words, {"name": "Ann", "ns": []})).one_or_none() is None
        assert (await conn.execute(text("select '5 %'"))).scalar_one() == "5 %"
        assert await conn.scalar(text("select :n + 1"), {"n": 4}) == 5
        assert len((await conn.execute(text("select from generate_series(1, 3)"))).all()) == 3  # rows of no columns
        assert (await conn.execute(text("select from generate_series(1, 0)"))).one_or_none() is None


async def test_a_change_says_how_many_rows_it_changed(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        added = await conn.execute(_ADD, {"id": 900, "name": "a"})
        assert (added.returns_rows, added.rowcount) == (False, 1)
        await conn.execute(_ADD, [{"id": 901, "name": "b"}, {"id": 902, "name": "c"}])
        assert (await conn.execute(text("update accounts set name = 'd' where id >= 900"))).rowcount == 3
        found = await conn.execute(text("update accounts set name = 'e' where id >= 901 returning id"))
        assert (found.returns_rows, found.rowcount, sorted(found.scalars())) == (True, 2, [901, 902])


async def test_what_is_not_committed_is_rolled_back(engine: AsyncEngine, other: AsyncEngine) -> None:
    async with engine.connect() as conn:
        await conn.execute(_ADD, {"id": 900, "name": "a"})
    async with engine.connect() as conn:
        await conn.execute(_ADD, {"id": 901, "name": "b"})
        await conn.commit()
        await conn.execute(_ADD, {"id": 902, "name": "c"})
        await conn.rollback()
    with pytest.raises(IntegrityError):
        await _add_twice(engine)
    async with other.connect() as conn:
        assert await conn.scalar(_COUNT) == 1


async def test_a_savepoint_gives_up_its_own_changes_only(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await conn.execute(_ADD, {"id": 900, "name": "a"})
        with pytest.raises(IntegrityError):
            await _add_twice(conn)
        assert await conn.scalar(_COUNT) == 1


async def test_a_reader_that_commits_by_itself(engine: AsyncEngine, other: AsyncEngine) -> None:
    reader = engine.execution_options(isolation_level="AUTOCOMMIT")
    async with reader.connect() as conn, other.connect() as looking:
        await conn.execute(_ADD, {"id": 900, "name": "a"})
        assert await looking.scalar(_COUNT) == 1


async def test_errors_name_the_statement_and_end_the_transaction(engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        await conn.execute(_ADD, {"id": 900, "name": "a"})
        with pytest.raises(IntegrityError) as twice:
            await conn.execute(_ADD, {"id": 900, "name": "a"})
        assert (twice.value.connection_invalidated, twice.value.orig is not None) == (False, True)
        assert "insert into accounts" in str(twice.value.statement)
        with pytest.raises(InternalError):  # until it is rolled back
            await conn.scalar(_COUNT)
        await conn.rollback()
        assert await conn.scalar(_COUNT) == 0
        with pytest.raises(ProgrammingError):
            await conn.execute(text("select from nowhere"))


async def test_a_lost_session_is_replaced(engine: AsyncEngine, other: AsyncEngine) -> None:
    async with engine.connect() as conn:
        pid = await conn.scalar(_PID)
        async with other.connect() as ending:
            await ending.execute(text("select pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        with pytest.raises(OperationalError) as lost:
            await conn.scalar(_COUNT)
        assert lost.value.connection_invalidated
    async with engine.connect() as conn:
        assert await conn.scalar(_PID) != pid


async def test_a_task_that_is_cancelled_in_a_statement_commits_nothing(engine: AsyncEngine, other: AsyncEngine) -> None:
    told: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def write() -> None:
        async with engine.begin() as conn:
            await conn.execute(_ADD, {"id": 900, "name": "a"})
            told.set_result(await conn.scalar(_PID))
            await conn.execute(text("select pg_sleep(60)"))

    writing = asyncio.create_task(write())
    pid = await told
    async with other.execution_options(isolation_level="AUTOCOMMIT").connect() as looking:
        await until(lambda: _is_asleep(looking, pid), "the statement to begin")
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        await until(lambda: _is_gone(looking, pid), "the session to end")
        assert await looking.scalar(_COUNT) == 0


async def _add_twice(where: AsyncEngine | AsyncConnection) -> None:
    """In a transaction of its own, or a savepoint."""
    async with where.begin() if isinstance(where, AsyncEngine) else where.begin_nested() as inner:
        conn = inner if isinstance(inner, AsyncConnection) else inner.connection
        await conn.execute(_ADD, {"id": 950, "name": "a"})
        await conn.execute(_ADD, {"id": 950, "name": "b"})


async def _is_asleep(looking: AsyncConnection, pid: int) -> bool:
    return bool(await looking.scalar(_SESSION, {"pid": pid, "query": "%pg_sleep%"}))


async def _is_gone(looking: AsyncConnection, pid: int) -> bool:
    return not await looking.scalar(_SESSION, {"pid": pid, "query": "%"})
