"""Meters: what an account has used, by day, upserted in the transaction that uses it."""

from collections.abc import Mapping

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.rules.usage import Use

_UPSERT = text("""
    insert into usage_counts as u (account_id, day, meter, writer, quantity)
    values (:account_id, :day, :meter, :writer, :quantity)
    on conflict (account_id, day, meter, writer) do update set quantity = u.quantity + excluded.quantity
""")


async def add(conn: AsyncConnection, deltas: Mapping[Use, int], writer: int) -> None:
    """Adds quantities under the writer's own rows, in ascending order of their keys."""
    rows = [use._asdict() | {"quantity": deltas[use], "writer": writer} for use in sorted(deltas) if deltas[use]]
    if rows:
        await conn.execute(_UPSERT, rows)
