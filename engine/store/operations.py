"""Operations: what the API has a worker do at a carrier, as rows, so that a killed worker loses none of them.

A worker takes an operation for `LEASE_S`; whoever takes it again carries it out under the same refs, which the carrier
answers as it answered the first time. What has been achieved is written with its effect, in one transaction.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.clock import boottime
from engine.ids import encode, new_id
from engine.rules.operation import Kind

LEASE_S = 30.0  # longer than the carrier's timeout for one command
KEEP_DAYS = 7
_POLL_S, _LONGEST_POLL_S = 0.02, 0.25

_COLUMNS = """id, account_id, kind, actor, carrier, request, status, result, error, tries, created_at, finished_at,
    extract(epoch from clock_timestamp() - queued_at)::float8 as age_s"""
_INSERT = text(f"""
    insert into operations (id, account_id, kind, actor, carrier, request, once, created_at, next_try_at)
    values (:id, :account_id, :kind, :actor, :carrier, cast(:request as jsonb), :once, :now,
            clock_timestamp() + make_interval(secs => :delay_s))
    on conflict (account_id, once) where once is not null do nothing returning {_COLUMNS}
""")
_FIND = text(f"select {_COLUMNS} from operations where id = :id and account_id = :account_id")
_TAKE = text(f"""
    update operations set tries = tries + 1, next_try_at = clock_timestamp() + make_interval(secs => :lease_s)
     where id = :id and status = 'pending' and next_try_at <= clock_timestamp() returning {_COLUMNS}
""")
_NOTE = text("""
    update operations set result = coalesce(result, '{}') || cast(:more as jsonb)
     where id = :id and status = 'pending' returning id
""")
_FINISH = text("""
    update operations set status = :status, result = coalesce(cast(:result as jsonb), result),
           error = cast(:error as jsonb), finished_at = clock_timestamp(), next_try_at = null
     where id = :id and status = 'pending' returning id
""")
_POSTPONE = text("""
    update operations set next_try_at = clock_timestamp() + make_interval(secs => :pause_s)
     where id = :id and status = 'pending'
""")
_DUE = text("""
    select id from operations where next_try_at <= clock_timestamp() order by next_try_at limit :limit
""")
_IS_BUYING = text("""
    select exists (select from operations
                    where account_id = :account_id and kind = 'did.purchase' and next_try_at is not null)
""")
_PENDING_RELEASE = text(f"""
    select {_COLUMNS} from operations
     where account_id = :account_id and kind = 'did.release' and next_try_at is not null
       and (request ->> 'did_id')::bigint = :did_id
""")
_PURGE = text("""
    delete from operations where id = any(array(
           select id from operations where finished_at < clock_timestamp() - make_interval(days => :days)
            order by finished_at limit :limit for update skip locked))
""")


@dataclass(frozen=True, slots=True)
class Operation:
    id: int
    account_id: int
    kind: Kind
    actor: str
    carrier: str  # or the reputation provider
    request: Mapping[str, Any]
    status: str  # pending, done, failed
    result: Mapping[str, Any] | None
    error: Mapping[str, Any] | None  # code, message
    tries: int
    created_at: datetime  # engine time
    finished_at: datetime | None  # real
    age_s: float  # real

    @property
    def public_id(self) -> str:
        return encode("op", self.id)

    @property
    def is_over(self) -> bool:
        return self.status != "pending"


async def ask(
    conn: AsyncConnection,
    account_id: int,
    kind: Kind,
    carrier: str,
    request: Mapping[str, object],
    now: datetime,
    *,
    actor: str,
    delay_s: float = 0.0,
    once: str | None = None,
) -> Operation | None:
    """Asks a worker, from `delay_s` real seconds on. None when an operation named `once` was asked for before."""
    params = {
        "id": new_id(),
        "account_id": account_id,
        "kind": kind,
        "actor": actor,
        "carrier": carrier,
        "request": orjson.dumps(request).decode(),
        "once": once,
        "now": now,
        "delay_s": delay_s,
    }
    row = (await conn.execute(_INSERT, params)).one_or_none()
    return _operation(row) if row else None


async def find(conn: AsyncConnection, account_id: int, operation_id: int) -> Operation | None:
    """The account's operation; None for another tenant's."""
    row = (await conn.execute(_FIND, {"id": operation_id, "account_id": account_id})).one_or_none()
    return _operation(row) if row else None


async def wait(reader: AsyncEngine, account_id: int, operation_id: int, wait_s: float) -> Operation | None:
    """The operation as soon as it is over, at the latest after `wait_s`, as it is then."""
    deadline, poll_s = boottime() + wait_s, _POLL_S
    while True:
        async with reader.connect() as conn:
            operation = await find(conn, account_id, operation_id)
        if operation is None or operation.is_over or boottime() >= deadline:
            return operation
        await asyncio.sleep(min(poll_s, max(0.0, deadline - boottime())))
        poll_s = min(poll_s * 1.5, _LONGEST_POLL_S)


async def take(conn: AsyncConnection, operation_id: int) -> Operation | None:
    """Takes a due operation for `LEASE_S`; None when it is over, not due, or somebody else's for now."""
    row = (await conn.execute(_TAKE, {"id": operation_id, "lease_s": LEASE_S})).one_or_none()
    return _operation(row) if row else None


async def note(conn: AsyncConnection, operation_id: int, more: Mapping[str, object]) -> bool:
    """Adds to the result, in the transaction of the effect. False when the operation is over."""
    found = await conn.execute(_NOTE, {"id": operation_id, "more": orjson.dumps(more).decode()})
    return found.one_or_none() is not None


async def finish(
    conn: AsyncConnection,
    operation_id: int,
    *,
    result: Mapping[str, object] | None = None,
    error: Mapping[str, object] | None = None,
) -> bool:
    """Ends it: `failed` with an error, else `done`. False when it was over already."""
    params = {
        "id": operation_id,
        "status": "failed" if error else "done",
        "result": None if result is None else orjson.dumps(result).decode(),
        "error": None if error is None else orjson.dumps(error).decode(),
    }
    return (await conn.execute(_FINISH, params)).one_or_none() is not None


async def postpone(conn: AsyncConnection, operation_id: int, pause_s: float) -> None:
    await conn.execute(_POSTPONE, {"id": operation_id, "pause_s": pause_s})


async def due(conn: AsyncConnection, limit: int = 500) -> list[int]:
    return list((await conn.execute(_DUE, {"limit": limit})).scalars())


async def is_buying(conn: AsyncConnection, account_id: int) -> bool:
    """Whether a purchase of the account is under way."""
    return bool((await conn.execute(_IS_BUYING, {"account_id": account_id})).scalar())


async def pending_release(conn: AsyncConnection, account_id: int, did_id: int) -> Operation | None:
    """The operation under way that gives this number back."""
    row = (await conn.execute(_PENDING_RELEASE, {"account_id": account_id, "did_id": did_id})).one_or_none()
    return _operation(row) if row else None


async def purge(conn: AsyncConnection, limit: int = 10_000) -> int:
    """Deletes operations that ended more than `KEEP_DAYS` ago."""
    return (await conn.execute(_PURGE, {"days": KEEP_DAYS, "limit": limit})).rowcount


def _operation(row: Row[tuple[object, ...]]) -> Operation:
    fields = dict(row._mapping)
    return Operation(**fields | {"kind": Kind(fields["kind"])})
