"""Suppressed numbers: nobody of the account contacts them any more (P5).

An opt-out takes the phone's key exclusive, many at once the account's. An intent is then either committed before, or
sees it. Its time is read under the lock, so that no intent allowed before it bears a later time.

A number is on the list once. When it is suppressed for another channel as well, it is suppressed for all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.clock import Clock
from engine.rules.suppression import Scope
from engine.store import audit, locks

MOST_PHONE_LOCKS = 100  # beyond this one account key is cheaper than a lock per phone

SMS_KEYWORD = "sms_keyword"  # the only source that the person can take back, with START
SMS_TEXT = "sms_text"  # their own words
CARRIER = "carrier"  # they told the carrier
OF_THE_PERSON = frozenset({SMS_KEYWORD, SMS_TEXT, CARRIER})  # a legal opt-out: whoever lifts it must say why

# Of the same number again. The person's own opt-out outweighs a list's, whichever came first, and START takes back no
# more than a keyword, which the carrier may have heard as well. The time stays that of the first, unless the number is
# suppressed for more than it was: before that, the other channel was open. The legal term begins anew, by `renewed_at`
# unless the time itself is new.
_THEIRS = ", ".join(f"'{source}'" for source in sorted(OF_THE_PERSON))
AGAIN = f"""on conflict (account_id, phone) do update
       set reason = case when s.source in ({_THEIRS}) or excluded.source not in ({_THEIRS})
                         then s.reason else excluded.reason end,
           source = case when s.source = '{SMS_KEYWORD}' and excluded.source in ('{SMS_KEYWORD}', '{CARRIER}')
                         then s.source
                         when s.source in ('{SMS_TEXT}', '{CARRIER}') then s.source
                         when '{SMS_KEYWORD}' in (s.source, excluded.source) then '{SMS_TEXT}'
                         when excluded.source in ({_THEIRS}) then excluded.source else s.source end,
           created_at = case when s.channel in ('all', excluded.channel) then s.created_at else excluded.created_at end,
           renewed_at = case when s.channel in ('all', excluded.channel) then excluded.created_at end,
           channel = case when s.channel = excluded.channel then s.channel else 'all' end"""
_ADD = text(f"""
    insert into suppressions as s (account_id, phone, reason, source, created_at, channel)
    select :account_id, phone, :reason, :source, :now, :channel from unnest(cast(:phones as text[])) phone
    {AGAIN}
    returning renewed_at is null
""")
# What is lifted is remembered: the wish to be left alone has ended every business relationship from before.
_LIFT = text(f"""
    with lifted as (
        delete from suppressions where account_id = :account_id and phone = :phone
           and (:is_theirs is false or source = '{SMS_KEYWORD}')
        returning account_id, phone, created_at)
    insert into lifted_suppressions (account_id, phone, suppressed_at, lifted_at)
    select account_id, phone, created_at, :now from lifted
    on conflict (account_id, phone) do update set lifted_at = excluded.lifted_at
""")
_FORGET_LIFTED = text("delete from lifted_suppressions where lifted_at < :before")
_COLUMNS = "phone, reason, source, created_at, channel"
_GET = text(f"select {_COLUMNS} from suppressions where account_id = :account_id and phone = :phone")
_PAGE = text(f"""
    select {_COLUMNS} from suppressions
     where account_id = :account_id and phone > :after order by phone limit :limit
""")
_OLD = text("""
    select account_id, phone, greatest(created_at, renewed_at) as created_at from suppressions
     where greatest(created_at, renewed_at) < :before and (account_id, phone) > (:account_id, :phone)
     order by account_id, phone limit :limit
""")
_FORGET = text("""
    delete from suppressions where account_id = :account_id and phone = any(cast(:phones as text[]))
       and greatest(created_at, renewed_at) < :before
""")


@dataclass(frozen=True, slots=True)
class Suppression:
    phone: str
    reason: str
    source: str  # `sms_keyword`, `sms_text`, `api`, `carrier`, `import`, …
    created_at: datetime  # engine time
    channel: str = Scope.ALL  # rules.suppression.Scope


@dataclass(frozen=True, slots=True)
class Old:
    account_id: int
    phone: str
    created_at: datetime  # or when it was suppressed again: the legal term begins there


async def add(
    conn: AsyncConnection,
    account_id: int,
    phones: Sequence[str],
    reason: str,
    source: str,
    clock: Clock,
    channel: str = Scope.ALL,
) -> int:
    """Suppresses E.164 numbers and returns how many were not suppressed before, or not for this channel.

    Of a number that both the person and somebody else suppress the source is the person's: lifting it needs a reason.
    When their part was a keyword it becomes `sms_text`, which START does not lift.
    The caller's transaction should hold no lock of a later class yet (`engine.store.locks`).
    """
    await locks.lock_exclusive(conn, keys(account_id, phones))
    params = {
        "account_id": account_id,
        "phones": sorted(set(phones)),
        "reason": reason,
        "source": source,
        "channel": channel,
        "now": clock.now(),
    }
    return sum((await conn.execute(_ADD, params)).scalars())


async def remove(
    conn: AsyncConnection, account_id: int, phone: str, actor: str, now: datetime, reason: str = ""
) -> Suppression | None:
    """Allows a number again, on every channel, and returns what was lifted; audited. None: it was not suppressed."""
    await locks.lock_exclusive(conn, keys(account_id, [phone]))
    found = await get(conn, account_id, phone)
    if found is None:
        return None
    await conn.execute(_LIFT, {"account_id": account_id, "phone": phone, "now": now, "is_theirs": False})
    detail = {"reason": reason, "source": found.source, "channel": found.channel, "was": found.reason}
    await audit.record(conn, account_id, actor, "suppression.remove", phone, now, detail)
    return found


async def lift(conn: AsyncConnection, account_id: int, phone: str, now: datetime) -> bool:
    """Takes back what the person's own keyword did, and nothing else; audited. False when there was no such thing."""
    await locks.lock_exclusive(conn, keys(account_id, [phone]))
    params = {"account_id": account_id, "phone": phone, "now": now, "is_theirs": True}
    if not (await conn.execute(_LIFT, params)).rowcount:
        return False
    await audit.record(conn, account_id, "recipient", "suppression.lift", phone, now)
    return True


async def get(conn: AsyncConnection, account_id: int, phone: str) -> Suppression | None:
    row = (await conn.execute(_GET, {"account_id": account_id, "phone": phone})).one_or_none()
    return None if row is None else Suppression(**row._mapping)


async def is_suppressed(conn: AsyncConnection, account_id: int, phone: str, channel: str | None = None) -> bool:
    """On this channel, or without one on any."""
    found = await get(conn, account_id, phone)
    return found is not None and (channel is None or found.channel in (Scope.ALL, channel))


async def page(
    conn: AsyncConnection, account_id: int, limit: int | None = None, after_phone: str = ""
) -> list[Suppression]:
    params = {"account_id": account_id, "after": after_phone, "limit": limit}
    return [Suppression(**row._mapping) for row in await conn.execute(_PAGE, params)]


async def old(conn: AsyncConnection, before: datetime, limit: int, after: tuple[int, str] = (-1, "")) -> list[Old]:
    """Numbers of any account that were last suppressed before then, in the order of account and phone."""
    params = {"before": before, "limit": limit, "account_id": after[0], "phone": after[1]}
    return [Old(**row._mapping) for row in await conn.execute(_OLD, params)]


async def forget(conn: AsyncConnection, account_id: int, phones: Sequence[str], before: datetime, now: datetime) -> int:
    """Drops numbers whose term is over, unless they were suppressed again meanwhile; returns how many. Audited."""
    params = {"account_id": account_id, "phones": list(phones), "before": before}
    forgotten = (await conn.execute(_FORGET, params)).rowcount
    if forgotten:
        await audit.record(conn, account_id, "engine", "suppression.expire", f"{forgotten} numbers", now)
    return forgotten


async def forget_lifted(conn: AsyncConnection, before: datetime) -> None:
    """Drops what was lifted before then: no business relationship from before that is left to be ended."""
    await conn.execute(_FORGET_LIFTED, {"before": before})


def keys(account_id: int, phones: Sequence[str]) -> list[int]:
    """What whoever changes a fact of these people locks, exclusive."""
    if len(phones) > MOST_PHONE_LOCKS:
        return [locks.account_key(account_id)]
    return [locks.phone_key(account_id, phone) for phone in phones]
