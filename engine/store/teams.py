"""Teams: users work in them, lines and keys may belong to them."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.clock import real_now
from engine.errors import NotFound
from engine.ids import new_id
from engine.store import uses

_INSERT = text("""
    insert into teams (id, account_id, name, created_at) values (:id, :account_id, :name, :now)
    returning id, account_id, name, created_at
""")
_LIST = text("""
    select id, account_id, name, created_at from teams
     where account_id = :account_id and id > :after order by id limit :limit
""")
_HOLD = text("select true from teams where account_id = :account_id and id = :id for share")
_LOCK = text("select true from teams where account_id = :account_id and id = :id for update")
_DELETE = text("delete from teams where account_id = :account_id and id = :id")
_USES = {
    "users": (
        "user",
        text("select id from users where account_id = :account_id and team_id = :id order by id limit :limit"),
    ),
    "lines": (
        "line",
        text("select id from lines where account_id = :account_id and team_id = :id order by id limit :limit"),
    ),
    "keys": (
        "key",
        text(f"""select id from api_keys where account_id = :account_id and team_id = :id and {uses.WORKING}
                 order by id limit :limit"""),
    ),
}


@dataclass(frozen=True, slots=True)
class Team:
    id: int
    account_id: int
    name: str
    created_at: datetime  # real


async def add(conn: AsyncConnection, account_id: int, name: str) -> Team:
    params = {"id": new_id(), "account_id": account_id, "name": name, "now": real_now()}
    return Team(**(await conn.execute(_INSERT, params)).one()._mapping)


async def list_teams(
    conn: AsyncConnection, account_id: int, limit: int | None = None, after_id: int | None = None
) -> list[Team]:
    params = {"account_id": account_id, "limit": limit, "after": after_id or 0}
    return [Team(**row._mapping) for row in await conn.execute(_LIST, params)]


async def hold(conn: AsyncConnection, account_id: int, team_id: int) -> bool:
    """Does the account have this team? It then stays until the transaction ends."""
    return bool(await conn.scalar(_HOLD, {"account_id": account_id, "id": team_id}))


async def remove(conn: AsyncConnection, account_id: int, team_id: int) -> None:
    """Raises NotFound, and Conflict naming the users, lines and keys that use it."""
    params = {"account_id": account_id, "id": team_id}
    if not await conn.scalar(_LOCK, params):
        raise NotFound("there is no such team")
    await uses.refuse_if_used(conn, account_id, team_id, "team", _USES)
    await conn.execute(_DELETE, params)
