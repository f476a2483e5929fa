"""Copies of do-not-call registries: loaded beside the one in use, and swapped with it in one transaction.

Whoever looks numbers up joins the copies with their flag in one statement, and so sees one copy whole, never half of
two. The copy before goes with the swap, and a load that does not end leaves nothing behind.
"""

import sys
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from struct import Struct

from psycopg import AsyncConnection as Psycopg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.errors import Conflict
from engine.rules.registry import BLOCK_LINES, Block
from engine.store import locks

_BEGIN = text("""
    insert into registry_copies (registry, as_of, sha256, loaded_at) values (:registry, :as_of, :sha256, :now)
    returning id
""")
_COPY = "copy registry_blocks (block, copy_id, lines, bits) from stdin with (format binary)"
_SMALLINT = 21  # PostgreSQL's number of the type
_ARRAY = Struct(">iiIii")  # of an array: dimensions, whether there are nulls, type, length, number of its first element
_RETIRE = text("""
    with old as (delete from registry_copies where registry = :registry and id <> :id returning id)
    delete from registry_blocks where copy_id in (select id from old)
""")
_USE = text("update registry_copies set is_current = true, numbers = :numbers where id = :id")
_CURRENT = text("""
    select registry, as_of, numbers, sha256, loaded_at from registry_copies where is_current order by registry
""")
_DATES = text("select registry, as_of from registry_copies where is_current")


@dataclass(frozen=True, slots=True)
class Copy:
    registry: str
    as_of: date
    numbers: int
    sha256: bytes | None
    loaded_at: datetime  # engine time


async def replace(
    engine: AsyncEngine,
    registry: str,
    as_of: date,
    blocks: Mapping[int, Block],
    numbers: int,
    now: datetime,
    sha256: bytes | None = None,
) -> None:
    """Loads a copy and puts it in the place of the one in use. Two loads of one registry come one after the other.

    Until the end of its one transaction everybody reads the copy before. Nothing that they do waits for it.
    Raises Conflict when the copy in use is of a later day: whoever has registered since would be called again.
    """
    async with engine.begin() as conn:
        await conn.execute(text("set local statement_timeout = 0"))
        await conn.execute(text("set local idle_in_transaction_session_timeout = 0"))
        await locks.lock_exclusive(conn, [locks.named_key(f"registry {registry}")])
        if (used := (await dates(conn)).get(registry)) is not None and used > as_of:
            raise Conflict(
                f"the copy in use is of {used}, later than {as_of}; nothing was loaded", {"as_of": str(used)}
            )
        params = {"registry": registry, "as_of": as_of, "sha256": sha256, "now": now}
        copy_id: int = (await conn.execute(_BEGIN, params)).scalar_one()
        await _copy(conn, copy_id, blocks)
        await conn.execute(_RETIRE, {"registry": registry, "id": copy_id})
        await conn.execute(_USE, {"id": copy_id, "numbers": numbers})


async def _copy(conn: AsyncConnection, copy_id: int, blocks: Mapping[int, Block]) -> None:
    driver = (await conn.get_raw_connection()).driver_connection
    assert isinstance(driver, Psycopg)
    async with driver.cursor() as cursor, cursor.copy(_COPY) as copy:
        copy.set_types(["int8", "int8", "bytea", "bytea"])  # lines: as `_smallints` has written them
        for block in sorted(blocks):
            each = blocks[block]
            forms = (_smallints(each), None) if isinstance(each, array) else (None, each)
            await copy.write_row((block, copy_id, *forms))


def _smallints(lines: "array[int]") -> bytes:
    """An array of `smallint` as a binary COPY has it: each element after its size. psycopg dumps them one by one."""
    elements = array("H", [0, 2, 0] * len(lines))
    elements[2::3] = lines
    if sys.byteorder == "little":
        elements.byteswap()
    return _ARRAY.pack(1, 0, _SMALLINT, len(lines), 1) + elements.tobytes()


def names(number: str) -> str:
    """SQL: whether block `b`, which is that of `number` (an expression: the E.164 digits), names it."""
    line = f"({number} % {BLOCK_LINES})"
    return f"({line}::smallint = any(b.lines) or get_bit(b.bits, {line}::int) = 1)"


async def current(conn: AsyncConnection) -> list[Copy]:
    return [Copy(**row._mapping) for row in await conn.execute(_CURRENT)]


async def dates(conn: AsyncConnection) -> dict[str, date]:
    """The date of each registry's copy, as this statement sees them."""
    return {row.registry: row.as_of for row in await conn.execute(_DATES)}
