"""Campaign counters: deltas per (campaign, minute, writer), because one row per campaign would be a hot row.

Each transaction adds its deltas under its lane's own writer number, so lanes never wait for one another. A folder moves
old minutes into the base row (minute 0, writer 0); reading is one sum over a handful of rows at any campaign size.
"""

import secrets
from collections.abc import Mapping

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.clock import real_now
from engine.rules.stats import COUNTERS, Delta
from engine.store import arrays, locks

_SUMS = ", ".join(f"coalesce(sum({name}), 0)::bigint as {name}" for name in COUNTERS)
_UPSERT = text(
    f"insert into campaign_counts (campaign_id, minute, writer, {', '.join(COUNTERS)})"
    f" select * from unnest(cast(:campaign_ids as bigint[]), cast(:minutes as int[]), cast(:writers as int[]),"
    f" {', '.join(f'cast(:{name} as bigint[])' for name in COUNTERS)})"
    f" on conflict (campaign_id, minute, writer) do update set"
    f" {', '.join(f'{name} = campaign_counts.{name} + excluded.{name}' for name in COUNTERS)}"
)
_READ = text(f"select {_SUMS} from campaign_counts where campaign_id = :campaign_id")
_READ_MANY = text(
    f"select campaign_id, {_SUMS} from campaign_counts"
    " where campaign_id = any(cast(:campaign_ids as bigint[])) group by campaign_id"
)
_FOLD = text(
    "with gone as (delete from campaign_counts where campaign_id = :campaign_id and minute < :before returning *)"
    f" insert into campaign_counts (campaign_id, minute, writer, {', '.join(COUNTERS)})"
    f" select :campaign_id, 0, 0, {', '.join(f'coalesce(sum({name}), 0)' for name in COUNTERS)} from gone"
    " having count(*) > 0"
)
_CANCEL_QUEUED = text(
    "insert into campaign_counts (campaign_id, minute, writer, queued, retrying, cancelled)"
    " select :campaign_id, :minute, :writer, -sum(queued), -sum(retrying), sum(queued)"
    " from campaign_counts where campaign_id = :campaign_id having count(*) > 0"
    " on conflict (campaign_id, minute, writer) do update set queued = campaign_counts.queued + excluded.queued,"
    " retrying = campaign_counts.retrying + excluded.retrying,"
    " cancelled = campaign_counts.cancelled + excluded.cancelled"
)

# What clients do (adding prospects, one-off calls, cancelling) is counted under writers of its own, below the lanes'.
_CLIENT_WRITERS = 16


async def add(conn: AsyncConnection, deltas: Mapping[int, Delta], writer: int) -> None:
    """Adds one delta per campaign. `writer` is the lane's own number (any int4, distinct between lanes)."""
    if not deltas:
        return
    ids = sorted(deltas)
    minute = _minute()
    columns = zip(*(deltas[campaign_id].values() for campaign_id in ids), strict=True)
    params = {
        "campaign_ids": arrays.numbers(ids),
        "minutes": arrays.numbers([minute] * len(ids)),
        "writers": arrays.numbers([writer] * len(ids)),
    }
    params.update(zip(COUNTERS, map(arrays.numbers, columns), strict=True))
    await conn.execute(_UPSERT, params)


async def read(conn: AsyncConnection, campaign_id: int) -> dict[str, int]:
    """The exact counters of one campaign, by name; all zero for an unknown one."""
    row = (await conn.execute(_READ, {"campaign_id": campaign_id})).one()
    return dict(row._mapping)


async def read_many(conn: AsyncConnection, campaign_ids: list[int]) -> dict[int, dict[str, int]]:
    rows = await conn.execute(_READ_MANY, {"campaign_ids": campaign_ids})
    return {row.campaign_id: {name: getattr(row, name) for name in COUNTERS} for row in rows}


def client_writer() -> int:
    """A writer number for a transaction that no lane makes: one of a few, so that they seldom meet on one row."""
    return -1 - secrets.randbelow(_CLIENT_WRITERS)


async def cancel_queued(conn: AsyncConnection, campaign_id: int) -> None:
    """Moves all that is queued to cancelled, in one statement, from the sums themselves.

    Exact because the caller holds the campaign's key exclusive: intents and settles hold it shared when they count.
    """
    params = {"campaign_id": campaign_id, "minute": _minute(), "writer": client_writer()}
    await conn.execute(_CANCEL_QUEUED, params)


async def fold(conn: AsyncConnection, campaign_id: int, before_minute: int) -> None:
    """Moves minutes older than `before_minute` into the base row; sums stay the same at every instant.

    One folder at a time: two would wait for each other's rows in turn. Fold one campaign per transaction.
    """
    await locks.lock_exclusive(conn, [locks.named_key(f"fold {campaign_id}")])
    await conn.execute(_FOLD, {"campaign_id": campaign_id, "before": before_minute})


def _minute() -> int:
    return int(real_now().timestamp() // 60)
