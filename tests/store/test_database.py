import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.errors import Misconfigured
from engine.store import database
from tests.acceptance.stack import until


async def _setting(engine: AsyncEngine, name: str) -> str:
    async with engine.connect() as conn:
        return str((await conn.execute(text("select current_setting(:name)"), {"name": name})).scalar())


async def test_a_stopped_client_cannot_hold_a_lock_for_long(database_url: str) -> None:
    engine = database.connect(database_url)
    try:
        assert await _setting(engine, "idle_in_transaction_session_timeout") == "500ms"
        assert await _setting(engine, "statement_timeout") == "30s"
        assert await _setting(engine, "TimeZone") == "UTC"
        await database.check_server(engine)
    finally:
        await engine.dispose()


async def test_a_server_that_forgets_commits_is_refused(own_database_url: str) -> None:
    engine = database.connect(own_database_url)
    try:
        async with engine.begin() as conn:
            name = (await conn.execute(text("select current_database()"))).scalar()
            await conn.execute(text(f"alter database {name} set synchronous_commit = off"))
        await engine.dispose()  # a new session reads the new setting
        with pytest.raises(Misconfigured, match="synchronous_commit = on"):
            await database.check_server(engine)
    finally:
        await engine.dispose()


async def test_a_session_that_the_server_ended_is_an_outage(database_url: str) -> None:
    """psycopg files it under internal errors, which nobody waits out."""
    engine, watching = database.connect(database_url, idle_in_transaction_ms=20_000), database.connect(database_url)
    # Of one statement: a busy machine may be idle for longer than that between two.
    patience = text("select pg_backend_pid(), set_config('idle_in_transaction_session_timeout', '20', true)")
    try:
        async with engine.connect() as conn:
            pid = (await conn.execute(patience)).one()[0]
            await until(lambda: _is_gone(watching, pid), "the server to end the session")
            with pytest.raises(OperationalError) as raised:
                await conn.execute(text("select 1"))
        assert raised.value.connection_invalidated
        async with engine.connect() as conn:
            assert (await conn.execute(text("select 1"))).scalar() == 1
    finally:
        await engine.dispose()
        await watching.dispose()


async def test_a_server_that_cannot_be_written_is_away(database_url: str) -> None:
    """As a primary that became a standby, or a standby that is asked before its promotion."""
    engine = database.connect(database_url)
    try:
        async with engine.connect() as conn:
            await conn.execute(text("set transaction read only"))
            with pytest.raises(OperationalError, match="read-only transaction") as raised:
                await conn.execute(text("delete from campaigns"))
        assert raised.value.connection_invalidated  # the next one may lead to the new primary
        async with engine.begin() as conn:
            await conn.execute(text("delete from campaigns"))
    finally:
        await engine.dispose()


async def _is_gone(engine: AsyncEngine, pid: int) -> bool:
    async with engine.connect() as conn:
        found = await conn.execute(text("select from pg_stat_activity where pid = :pid"), {"pid": pid})
        return not found.all()
