"""Numbers put straight into a state, and what was told of them."""

from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.store import dids
from engine.store.dids import Did, NewDid

NUMBER = "+14155550101"
_COLUMNS = "number, state, state_reason, state_until, flags, warming_since, carrier, carrier_number_id"


async def add(db: AsyncEngine, account_id: int, now: datetime, number: str = NUMBER, **columns: object) -> Did:
    """A number of the account; `columns` are set as given: state="cooling", flags=1, …"""
    async with db.begin() as conn:
        (did,) = await dids.add(conn, account_id, [NewDid(number)], now)
        for name, value in columns.items():
            await conn.execute(text(f"update dids set {name} = :value where id = :id"), {"id": did.id, "value": value})
    return did


async def row(db: AsyncEngine, did_id: int) -> Any:
    async with db.connect() as conn:
        return (await conn.execute(text(f"select {_COLUMNS} from dids where id = :id"), {"id": did_id})).one()


async def told(db: AsyncEngine, prefix: str = "did.") -> list[tuple[str, dict[str, Any]]]:
    """(type, payload) of the events in the outbox whose type begins so, in order."""
    async with db.connect() as conn:
        rows = await conn.execute(text("select string_to_table(body, chr(10)) from outbox order by id"))
        decoded = [orjson.loads(line) for line in rows.scalars()]
    return [(event["type"], event["payload"]) for event in decoded if event["type"].startswith(prefix)]
