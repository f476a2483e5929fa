"""The engine clock's one row: the same mapping from real to engine time for every process."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.clock import Clock
from engine.errors import Misconfigured
from engine.store import locks

_LOAD = text("select real_anchor, engine_anchor, speed from engine_clock")
_SAVE = text("""
    insert into engine_clock (id, real_anchor, engine_anchor, speed) values (1, :real_anchor, :engine_anchor, :speed)
    on conflict (id) do update set real_anchor = excluded.real_anchor, engine_anchor = excluded.engine_anchor,
                                   speed = excluded.speed
""")
_HAS_LIVE_KEY = text("select exists (select from api_keys where is_live and revoked_at is null)")


async def load(engine: AsyncEngine) -> Clock:
    """The clock; wall time when none was set. Raises Misconfigured when it is not wall time and a live key exists."""
    async with engine.connect() as conn:
        clock = await read(conn)
        await _refuse_with_live_keys(conn, clock)
    return clock


async def save(engine: AsyncEngine, clock: Clock) -> None:
    """Sets engine time for every process that starts from now on. Raises Misconfigured as `load` does."""
    async with engine.begin() as conn:
        await lock(conn)
        await _refuse_with_live_keys(conn, clock)
        params = {"real_anchor": clock.real_anchor, "engine_anchor": clock.engine_anchor, "speed": clock.speed}
        await conn.execute(_SAVE, params)


async def read(conn: AsyncConnection) -> Clock:
    row = (await conn.execute(_LOAD)).one_or_none()
    return Clock(row.real_anchor, row.engine_anchor, row.speed) if row else Clock()


async def lock(conn: AsyncConnection) -> None:
    """Held while a live key is made or the clock is set, so that neither misses the other."""
    await locks.lock_exclusive(conn, [locks.named_key("engine_clock")])


async def _refuse_with_live_keys(conn: AsyncConnection, clock: Clock) -> None:
    if not clock.is_real and (await conn.execute(_HAS_LIVE_KEY)).scalar():
        raise Misconfigured(
            "engine time is not wall time, and this database has live keys: contact rules would be judged at the wrong"
            " hour. Revoke the live keys, or delete the row of engine_clock"
        )
