from datetime import UTC, datetime

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import Clock, real_now, starting_at
from engine.errors import Misconfigured
from engine.store import clock as clock_store
from engine.store import keys
from engine.store.accounts import Account

NOON = datetime(2026, 3, 11, 19, tzinfo=UTC)


async def _live_key(db: AsyncEngine, account: Account) -> keys.Key:
    async with db.begin() as conn:
        key, _ = await keys.create_key(conn, account.id, "live", ["*"], 60, None, True)
    return key


async def test_without_a_row_engine_time_is_wall_time(db: AsyncEngine) -> None:
    assert await clock_store.load(db) == Clock()


async def test_what_was_saved_is_loaded(db: AsyncEngine) -> None:
    for speed in (1.0, 60.0):
        saved = starting_at(NOON, speed)
        await clock_store.save(db, saved)
        assert await clock_store.load(db) == saved


@pytest.mark.parametrize("scaled", [starting_at(NOON, 1.0), starting_at(real_now(), 60.0)], ids=["set", "fast"])
async def test_live_keys_need_wall_time(db: AsyncEngine, account: Account, scaled: Clock) -> None:
    key = await _live_key(db, account)
    with pytest.raises(Misconfigured, match="live keys"):
        await clock_store.save(db, scaled)
    async with db.begin() as conn:
        await keys.revoke(conn, account.id, key.id, "operator", NOON)
    await clock_store.save(db, scaled)
    with pytest.raises(Misconfigured, match="wall time"):
        await _live_key(db, account)


async def test_wall_time_may_be_saved_with_live_keys(db: AsyncEngine, account: Account) -> None:
    await _live_key(db, account)
    await clock_store.save(db, Clock())
