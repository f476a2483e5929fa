"""Accounts: the tenants. Every other row carries an account's id."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import orjson
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.ids import new_id
from engine.store import locks

_COLUMNS = "id, name, settings, agent, created_at"
_INSERT = text(f"""
    insert into accounts (id, name, agent, created_at) values (:id, :name, cast(:agent as jsonb), :now)
    returning {_COLUMNS}
""")
_GET = text(f"select {_COLUMNS} from accounts where id = :id")
_SET_AGENT = text("update accounts set agent = cast(:agent as jsonb) where id = :id")


@dataclass(frozen=True, slots=True)
class Account:
    id: int
    name: str
    settings: Mapping[str, object]
    agent: Mapping[str, object] | None  # the default agent target, as `campaign_config.parse_agent` reads it
    created_at: datetime


async def create(
    conn: AsyncConnection,
    name: str,
    now: datetime,
    *,
    agent: Mapping[str, object] | None = None,
    account_id: int | None = None,
) -> Account:
    params = {"id": new_id() if account_id is None else account_id, "name": name, "agent": _json(agent), "now": now}
    return _account((await conn.execute(_INSERT, params)).one())


async def get(conn: AsyncConnection, account_id: int) -> Account | None:
    row = (await conn.execute(_GET, {"id": account_id})).one_or_none()
    return _account(row) if row else None


async def set_agent(conn: AsyncConnection, account_id: int, agent: Mapping[str, object] | None) -> None:
    """Sets the default agent target: an account-wide rule, so under the account's key."""
    await locks.lock_exclusive(conn, [locks.account_key(account_id)])
    await conn.execute(_SET_AGENT, {"id": account_id, "agent": _json(agent)})


def _account(row: Row[tuple[object, ...]]) -> Account:
    return Account(**row._mapping)


def _json(value: object) -> str | None:
    return None if value is None else orjson.dumps(value).decode()
