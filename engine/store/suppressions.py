"""Suppressed numbers: nobody of the account contacts them any more (P5).

An opt-out takes the phone's key exclusive, many at once the account's. An intent is then either committed before, or
sees it. Its time is read under the lock, so that no intent allowed before it bears a later time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.clock import Clock
from engine.store import audit, locks

_MOST_PHONE_LOCKS = 100  # beyond this one account key is cheaper than a lock per phone

SMS_KEYWORD = "sms_keyword"  # the only source that the person can take back, with START
SMS_TEXT = "sms_text"  # their own words

# Whoever suppresses a number that a keyword has suppressed makes it stay so; the time stays that of the first.
_ADD = text(f"""
    insert into suppressions as s (account_id, phone, reason, source, created_at)
    select :account_id, phone, :reason, :source, :now from unnest(cast(:phones as text[])) phone
    on conflict (account_id, phone) do update set reason = excluded.reason, source = excluded.source
     where s.source = '{SMS_KEYWORD}' and excluded.source <> '{SMS_KEYWORD}'
    returning xmax = 0 as is_new
""")
_LIFT = text(f"""
    delete from suppressions where account_id = :account_id and phone = :phone and source = '{SMS_KEYWORD}'
""")
_REMOVE = text("delete from suppressions where account_id = :account_id and phone = :phone")
_EXISTS = text("select exists (select from suppressions where account_id = :account_id and phone = :phone)")
_PAGE = text("""
    select phone, reason, source, created_at from suppressions
     where account_id = :account_id and phone > :after order by phone limit :limit
""")


@dataclass(frozen=True, slots=True)
class Suppression:
    phone: str
    reason: str
    source: str  # `sms_keyword`, `sms_text`, `api`, `carrier`, `import`, …
    created_at: datetime  # engine time


async def add(
    conn: AsyncConnection, account_id: int, phones: Sequence[str], reason: str, source: str, clock: Clock
) -> int:
    """Suppresses E.164 numbers and returns how many were not suppressed before.

    A number that the person's keyword suppressed takes over a stronger source: START lifts it no longer.
    The caller's transaction should hold no lock of a later class yet (`engine.store.locks`).
    """
    await locks.lock_exclusive(conn, _keys(account_id, phones))
    now = clock.now()
    params = {"account_id": account_id, "phones": sorted(set(phones)), "reason": reason, "source": source, "now": now}
    return sum((await conn.execute(_ADD, params)).scalars())


async def remove(conn: AsyncConnection, account_id: int, phone: str, actor: str, now: datetime) -> bool:
    """Allows a number again; audited. False when it was not suppressed."""
    await locks.lock_exclusive(conn, _keys(account_id, [phone]))
    if not (await conn.execute(_REMOVE, {"account_id": account_id, "phone": phone})).rowcount:
        return False
    await audit.record(conn, account_id, actor, "suppression.remove", phone, now)
    return True


async def lift(conn: AsyncConnection, account_id: int, phone: str, now: datetime) -> bool:
    """Takes back what the person's own keyword did, and nothing else; audited. False when there was no such thing."""
    await locks.lock_exclusive(conn, _keys(account_id, [phone]))
    if not (await conn.execute(_LIFT, {"account_id": account_id, "phone": phone})).rowcount:
        return False
    await audit.record(conn, account_id, "recipient", "suppression.lift", phone, now)
    return True


async def is_suppressed(conn: AsyncConnection, account_id: int, phone: str) -> bool:
    return bool((await conn.execute(_EXISTS, {"account_id": account_id, "phone": phone})).scalar())


async def page(
    conn: AsyncConnection, account_id: int, limit: int | None = None, after_phone: str = ""
) -> list[Suppression]:
    params = {"account_id": account_id, "after": after_phone, "limit": limit}
    return [Suppression(**row._mapping) for row in await conn.execute(_PAGE, params)]


def _keys(account_id: int, phones: Sequence[str]) -> list[int]:
    if len(phones) > _MOST_PHONE_LOCKS:
        return [locks.account_key(account_id)]
    return [locks.phone_key(account_id, phone) for phone in phones]
