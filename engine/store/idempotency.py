"""`Idempotency-Key`: the first answer to a write is kept for a day and given again to its repeats.

`begin` claims the key, `finish` keeps the answer, `abandon` frees the key when there is no answer worth keeping. A
process that dies in between leaves the key claimed: a repeat is refused for a while, because nobody can say whether the
first one took effect.
"""

import hashlib
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.clock import real_now
from engine.errors import IdempotencyConflict

KEPT = timedelta(hours=24)
CLAIMED = timedelta(minutes=15)  # longer than any request but a huge import, which repeats harmlessly

_CLAIM = text("""
    insert into idempotency_keys (key_id, idempotency_key, request_hash, path, created_at)
    values (:key_id, :idempotency_key, :request_hash, :path, :now)
    on conflict (key_id, idempotency_key) do update
       set request_hash = excluded.request_hash, path = excluded.path, created_at = excluded.created_at,
           status = null, body = null
     where idempotency_keys.created_at < :kept_since
        or (idempotency_keys.status is null and idempotency_keys.created_at < :claimed_since)
    returning 1
""")
_FIND = text("""
    select request_hash, path, status, body from idempotency_keys
     where key_id = :key_id and idempotency_key = :idempotency_key
""")
_FINISH = text("""
    update idempotency_keys set status = :status, body = :body
     where key_id = :key_id and idempotency_key = :idempotency_key and status is null
""")
_ABANDON = text("""
    delete from idempotency_keys
     where key_id = :key_id and idempotency_key = :idempotency_key and status is null
""")
_PURGE = text("delete from idempotency_keys where created_at < :kept_since")


@dataclass(frozen=True, slots=True)
class Replay:
    """The first answer, to be given again with `Idempotency-Replay: true`."""

    status: int
    body: bytes


async def begin(engine: AsyncEngine, key_id: int, idempotency_key: str, path: str, request: bytes) -> Replay | None:
    """Claims the key for this request (None: go on), or returns the first answer to the same request.

    `path` is method and path, such as `POST /api/campaigns`. Raises IdempotencyConflict when the key belongs to another
    request, named in `fields.conflicts_with`, or to one that is still running.
    """
    now = real_now()
    digest = hashlib.sha256(path.encode() + b"\n" + request).digest()
    owner: dict[str, object] = {"key_id": key_id, "idempotency_key": idempotency_key}
    claim = {"request_hash": digest, "path": path, "now": now, "kept_since": now - KEPT, "claimed_since": now - CLAIMED}
    async with engine.begin() as conn:
        if (await conn.execute(_CLAIM, owner | claim)).scalar():
            return None
        first = (await conn.execute(_FIND, owner)).one_or_none()
    if first is not None and first.request_hash != digest:
        raise IdempotencyConflict(
            "this Idempotency-Key was used for another request; give each request a key of its own",
            {"conflicts_with": first.path},
        )
    if first is None or first.status is None:
        raise IdempotencyConflict(
            "the first request with this Idempotency-Key is still running; repeat it in a moment",
            {"conflicts_with": path},
        )
    return Replay(first.status, first.body)


async def finish(engine: AsyncEngine, key_id: int, idempotency_key: str, status: int, body: bytes) -> None:
    """Keeps the answer for `KEPT`."""
    params = {"key_id": key_id, "idempotency_key": idempotency_key, "status": status, "body": body}
    async with engine.begin() as conn:
        await conn.execute(_FINISH, params)


async def abandon(engine: AsyncEngine, key_id: int, idempotency_key: str) -> None:
    """Frees the key after a failure of ours (5xx, a refused rate): the repeat is then a first request."""
    async with engine.begin() as conn:
        await conn.execute(_ABANDON, {"key_id": key_id, "idempotency_key": idempotency_key})


async def purge(conn: AsyncConnection) -> int:
    """Deletes what is kept no longer; a duty of the coordinator."""
    return (await conn.execute(_PURGE, {"kept_since": real_now() - KEPT})).rowcount
