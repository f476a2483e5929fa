import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.errors import Misconfigured
from engine.store import database


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
