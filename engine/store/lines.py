"""Who owns a number: a number belongs to a line, a line to a user, to a team, or to the whole account."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.clock import real_now
from engine.errors import NotFound
from engine.ids import new_id, public
from engine.rules.events import Owner
from engine.store import arrays, uses

# A user's line is its team's too, so that a team sees what its members receive.
_OWNERS = text("""
    select d.id, l.id as line_id, l.user_id, coalesce(l.team_id, u.team_id) as team_id
      from dids d join lines l on l.id = d.line_id left join users u on u.id = l.user_id
     where d.id = any(cast(:ids as bigint[]))
""")
_INSERT = text("""
    insert into lines (id, account_id, name, user_id, team_id, created_at)
    values (:id, :account_id, :name, :user_id, :team_id, :now)
    returning id, account_id, name, user_id, team_id, created_at
""")
_LIST = text("""
    select id, account_id, name, user_id, team_id, created_at from lines
     where account_id = :account_id and id > :after order by id limit :limit
""")
_HOLD = text("select true from lines where account_id = :account_id and id = :id for share")
_LOCK = text("select true from lines where account_id = :account_id and id = :id for update")
_DELETE = text("delete from lines where account_id = :account_id and id = :id")
_USES = {
    "dids": (
        "",
        text("select number from dids where account_id = :account_id and line_id = :id order by id limit :limit"),
    ),
}


@dataclass(frozen=True, slots=True)
class Line:
    id: int
    account_id: int
    name: str
    user_id: int | None
    team_id: int | None  # never both; neither: the whole account's
    created_at: datetime  # real


async def owners(conn: AsyncConnection, did_ids: Collection[int]) -> dict[int, Owner]:
    """The owners of those DIDs that belong to a line, by DID."""
    rows = await conn.execute(_OWNERS, {"ids": arrays.numbers(sorted(did_ids))})
    return {
        row.id: Owner(public("line", row.line_id), public("user", row.user_id), public("team", row.team_id))
        for row in rows
    }


async def add(
    conn: AsyncConnection, account_id: int, name: str, user_id: int | None = None, team_id: int | None = None
) -> Line:
    """The user or the team must be held by the caller's transaction."""
    params = {"id": new_id(), "account_id": account_id, "name": name, "now": real_now()}
    row = (await conn.execute(_INSERT, params | {"user_id": user_id, "team_id": team_id})).one()
    return Line(**row._mapping)


async def list_lines(
    conn: AsyncConnection, account_id: int, limit: int | None = None, after_id: int | None = None
) -> list[Line]:
    params = {"account_id": account_id, "limit": limit, "after": after_id or 0}
    return [Line(**row._mapping) for row in await conn.execute(_LIST, params)]


async def hold(conn: AsyncConnection, account_id: int, line_id: int) -> bool:
    """Does the account have this line? It then stays until the transaction ends."""
    return bool(await conn.scalar(_HOLD, {"account_id": account_id, "id": line_id}))


async def remove(conn: AsyncConnection, account_id: int, line_id: int) -> None:
    """Raises NotFound, and Conflict naming the numbers that belong to it."""
    params = {"account_id": account_id, "id": line_id}
    if not await conn.scalar(_LOCK, params):
        raise NotFound("there is no such line")
    await uses.refuse_if_used(conn, account_id, line_id, "line", _USES)
    await conn.execute(_DELETE, params)
