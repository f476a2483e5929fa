"""Users: people of an account, in a team or in none. Lines and keys may belong to them."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.clock import real_now
from engine.errors import NotFound
from engine.ids import new_id
from engine.store import uses

_INSERT = text("""
    insert into users (id, account_id, team_id, name, created_at) values (:id, :account_id, :team_id, :name, :now)
    returning id, account_id, team_id, name, created_at
""")
_LIST = text("""
    select id, account_id, team_id, name, created_at from users
     where account_id = :account_id and id > :after order by id limit :limit
""")
_HOLD = text("select true from users where account_id = :account_id and id = :id for share")
_LOCK = text("select true from users where account_id = :account_id and id = :id for update")
_DELETE = text("delete from users where account_id = :account_id and id = :id")
_USES = {
    "lines": (
        "line",
        text("select id from lines where account_id = :account_id and user_id = :id order by id limit :limit"),
    ),
    "keys": (
        "key",
        text(f"""select id from api_keys where account_id = :account_id and user_id = :id and {uses.WORKING}
                 order by id limit :limit"""),
    ),
}


@dataclass(frozen=True, slots=True)
class User:
    id: int
    account_id: int
    team_id: int | None
    name: str
    created_at: datetime  # real


async def add(conn: AsyncConnection, account_id: int, name: str, team_id: int | None) -> User:
    """The team must be held by the caller's transaction."""
    params = {"id": new_id(), "account_id": account_id, "team_id": team_id, "name": name, "now": real_now()}
    return User(**(await conn.execute(_INSERT, params)).one()._mapping)


async def list_users(
    conn: AsyncConnection, account_id: int, limit: int | None = None, after_id: int | None = None
) -> list[User]:
    params = {"account_id": account_id, "limit": limit, "after": after_id or 0}
    return [User(**row._mapping) for row in await conn.execute(_LIST, params)]


async def hold(conn: AsyncConnection, account_id: int, user_id: int) -> bool:
    """Does the account have this user? They then stay until the transaction ends."""
    return bool(await conn.scalar(_HOLD, {"account_id": account_id, "id": user_id}))


async def remove(conn: AsyncConnection, account_id: int, user_id: int) -> None:
    """Raises NotFound, and Conflict naming the lines and keys that are theirs."""
    params = {"account_id": account_id, "id": user_id}
    if not await conn.scalar(_LOCK, params):
        raise NotFound("there is no such user")
    await uses.refuse_if_used(conn, account_id, user_id, "user", _USES)
    await conn.execute(_DELETE, params)
