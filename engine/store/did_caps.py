"""The calls of a number in its sliding hour and day, counted with the intent (P4).

The rows are locked in ascending order and read by the same statement, so of two intents that want the last call of an
hour one waits, and then sees what the other has taken. `free_at` and `room` are for the coordinator, which need not try
what would be refused.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.rules import did_caps
from engine.rules.did_caps import NEVER_USED, Taken, Usage
from engine.rules.did_policy import Caps
from engine.store import arrays

_LOCK = text("""
    select did_id, hour, day, last_at from did_usage
     where did_id = any(cast(:ids as bigint[])) order by did_id for update
""")
_READ_MANY = text("select did_id, hour, day, last_at from did_usage where did_id = any(cast(:ids as bigint[]))")
_ADD = text("""
    insert into did_usage (did_id, hour, day, last_at, free_at, room)
    select id, '{}', '{}', '-infinity', '-infinity', 1 from unnest(cast(:ids as bigint[])) id order by id
    on conflict (did_id) do nothing
""")
_WRITE = text("""
    update did_usage u
       set hour = cast(n.hour as int[]), day = cast(n.day as int[]), last_at = n.last_at, free_at = n.free_at,
           room = n.room
      from unnest(cast(:ids as bigint[]), cast(:hours as text[]), cast(:days as text[]), cast(:last_ats as float8[]),
                  cast(:free_ats as float8[]), cast(:rooms as int[])) as n(did_id, hour, day, last_at, free_at, room)
     where u.did_id = n.did_id
""")


class Wanted(NamedTuple):
    calls: int
    caps: Caps


async def take(conn: AsyncConnection, wanted: Mapping[int, Wanted], now: datetime) -> dict[int, int]:
    """How many of the calls wanted of each number (by its id) may be made; they are counted with the transaction."""
    if not wanted:
        return {}
    ids = sorted(wanted)
    held = await _lock(conn, ids)
    if missing := [did_id for did_id in ids if did_id not in held]:
        await conn.execute(_ADD, {"ids": arrays.numbers(missing)})
        held = await _lock(conn, ids)
    now_s = now.timestamp()
    taken = {did_id: did_caps.take(held[did_id], wanted[did_id].calls, wanted[did_id].caps, now_s) for did_id in ids}
    await conn.execute(_WRITE, _columns(taken))
    return {did_id: each.granted for did_id, each in taken.items()}


async def read(conn: AsyncConnection, did_id: int) -> Usage:
    """What the number has used, as this statement sees it."""
    rows = await conn.execute(text("select hour, day, last_at from did_usage where did_id = :id"), {"id": did_id})
    row = rows.one_or_none()
    return _usage(row.hour, row.day, row.last_at) if row else NEVER_USED


async def read_many(conn: AsyncConnection, did_ids: Collection[int]) -> dict[int, Usage]:
    """Of the numbers that have made calls."""
    rows = await conn.execute(_READ_MANY, {"ids": arrays.numbers(sorted(did_ids))})
    return {row.did_id: _usage(row.hour, row.day, row.last_at) for row in rows}


async def _lock(conn: AsyncConnection, ids: list[int]) -> dict[int, Usage]:
    rows = await conn.execute(_LOCK, {"ids": arrays.numbers(ids)})
    return {row.did_id: _usage(row.hour, row.day, row.last_at) for row in rows}


def _usage(hour: list[int], day: list[int], last_at: float) -> Usage:
    return Usage(did_caps.unflatten(hour), did_caps.unflatten(day), last_at)


def _columns(taken: Mapping[int, Taken]) -> dict[str, str]:
    usages = [each.usage for each in taken.values()]
    return {
        "ids": arrays.numbers(taken),
        "hours": arrays.texts([arrays.numbers(did_caps.flatten(usage.hour)) for usage in usages]),
        "days": arrays.texts([arrays.numbers(did_caps.flatten(usage.day)) for usage in usages]),
        "last_ats": arrays.numbers(usage.last_at for usage in usages),
        "free_ats": arrays.numbers(each.free_at for each in taken.values()),
        "rooms": arrays.numbers(each.room for each in taken.values()),
    }
