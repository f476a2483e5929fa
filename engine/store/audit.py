"""Who did what (P7): one row per change that a client or an operator asked for, in the transaction of the change."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

OPERATOR = "operator"  # the actor of a command line; the API passes the public id of the key

_INSERT = text("""
    insert into audit (account_id, actor, action, subject, detail, at)
    values (:account_id, :actor, :action, :subject, cast(:detail as jsonb), :at)
""")
_PAGE = text("""
    select id, account_id, actor, action, subject, detail, at from audit
     where account_id = :account_id and id < :before order by id desc limit :limit
""")
_LAST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class AuditEntry:
    id: int
    account_id: int
    actor: str  # `key_…` or `operator`
    action: str  # `campaign.pause`, `key.revoke`, …
    subject: str  # a public id, or a number
    detail: Mapping[str, object]
    at: datetime  # engine time


async def record(
    conn: AsyncConnection,
    account_id: int,
    actor: str,
    action: str,
    subject: str,
    at: datetime,
    detail: Mapping[str, object] | None = None,
) -> None:
    params = {"account_id": account_id, "actor": actor, "action": action, "subject": subject, "at": at}
    await conn.execute(_INSERT, params | {"detail": orjson.dumps(detail or {}).decode()})


async def page(conn: AsyncConnection, account_id: int, limit: int, before_id: int | None = None) -> list[AuditEntry]:
    """The newest entries first; `before_id` continues behind the last one of the page before."""
    params = {"account_id": account_id, "before": _LAST if before_id is None else before_id, "limit": limit}
    return [AuditEntry(**row._mapping) for row in await conn.execute(_PAGE, params)]
