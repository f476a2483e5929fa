"""Reading the event log back from PostgreSQL, which has every event that is kept."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.feed.chunks import Chunk, joined
from engine.rules.events import Owner, owner_of
from engine.store.database import autocommit
from engine.store.event_chunks import CHUNK_EVENTS, between, holding

_READ_EVENTS = 2_000  # by one statement, and up to a chunk more
_WINDOW = 20_000  # numbers looked at by one statement, so that a quiet channel's search never holds a snapshot for long

# Names one history of this database, without a stored value that a backup would carry along: the cluster, its timeline
# (a restore to a point in time and a failover begin a new one), the database and the table (pg_restore makes new ones).
# A new history may go on where the old one ended; `engine.feed.tails` looks.
EPOCH = """(
    select to_hex(control.system_identifier) || '.' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
           || '.' || base.oid || '.' || 'event_chunks'::regclass::oid
      from pg_control_system() control, pg_database base where base.datname = current_database()
)"""

_EPOCH = text(f"select {EPOCH}")
_HEADS = text("select account_id, seq from event_heads where account_id = any(:ids)")
_DROPPED = text(
    "select seq, owner from event_drops where account_id = :account_id and seq > :after"
    " and (cast(:types as text[]) is null or type like any(cast(:types as text[])))"
)
_READ = text(
    f"""
    select first, last, body from (
        select first, last, body, sum(last - first + 1) over (order by last) as count from event_chunks
         where {holding(":account_id", ":after", ":upto")} order by last limit {_READ_EVENTS}
    ) run where count < {_READ_EVENTS + CHUNK_EVENTS} order by last
    """
)
_MATCHING = text(
    f"""
    select seq, line from {between(":account_id", ":after", ":upto")} e
     where cast(:types as text[]) is null or type like any(cast(:types as text[]))
     order by last desc, seq desc limit :limit
    """
)


@dataclass(frozen=True, slots=True)
class Heads:
    """The stream epoch, and the newest number of each account asked for (0: it has no event yet)."""

    epoch: str
    newest: dict[int, int]


class EventLog:
    """The recorded events. Every method raises what the database raises."""

    def __init__(self, db: AsyncEngine) -> None:
        self._db = autocommit(db)  # it only reads, one statement at a time

    async def heads(self, account_ids: Collection[int]) -> Heads:
        async with self._db.connect() as conn:
            epoch = (await conn.execute(_EPOCH)).scalar_one()
            rows = await conn.execute(_HEADS, {"ids": list(account_ids)})
            newest = dict.fromkeys(account_ids, 0) | {row.account_id: row.seq for row in rows}
        return Heads(epoch, newest)

    async def dropped(self, account_id: int, after: int, types: Iterable[str] | None) -> list[tuple[int, Owner | None]]:
        """What retention took of the events after `after` whose type is like one of `types`: the newest number of each
        type and owner."""
        values = {"account_id": account_id, "after": after, "types": None if types is None else sorted(types)}
        async with self._db.connect() as conn:
            return [(seq, _owner(kept)) for seq, kept in await conn.execute(_DROPPED, values)]

    async def read(self, account_id: int, after: int, upto: int) -> Chunk | None:
        """Some of the events in `after < number ≤ upto`, from the first on; None when there is none."""
        async with self._db.connect() as conn:
            rows = await conn.execute(_READ, {"account_id": account_id, "after": after, "upto": upto})
            found = [Chunk(account_id, first, last, body.encode()) for first, last, body in rows]
        run = next(joined(found), None)
        return run and run.between(after, upto)

    async def matching(
        self, account_id: int, after: int, upto: int, types: Iterable[str] | None, limit: int
    ) -> tuple[list[tuple[int, bytes]], int]:
        """Begins to search `after < number ≤ upto` from the newest on, for events whose type is like one of `types`.

        Answers at most `limit` of them, ascending, and the number up to which the search is to go on.
        """
        low = max(after, upto - _WINDOW)
        wanted = None if types is None else sorted(types)
        values = {"account_id": account_id, "after": low, "upto": upto, "types": wanted, "limit": limit}
        async with self._db.connect() as conn:
            found = [(seq, line.encode()) for seq, line in await conn.execute(_MATCHING, values)][::-1]
        return found, found[0][0] - 1 if len(found) == limit else low


def _owner(kept: str) -> Owner | None:
    return owner_of({"owner": orjson.loads(kept)}) if kept else None
