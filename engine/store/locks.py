"""The advisory locks that order intents against pauses, opt-outs and rule changes (P2, P3, P5).

Under READ COMMITTED a statement sees what was committed when it began. A rule that is read in the same statement as the
insert can therefore miss a pause that has already been answered. So every intent first takes these locks, and only a
later statement reads facts: shared on its accounts and campaigns, exclusive on each (account, phone). Whoever changes a
fact takes the matching lock exclusive: pause, resume, start, cancel and completion the campaign's; an opt-out the
phone's; a bulk suppression or an account-wide rule change the account's.

A large import relies on a campaign's state for many seconds, and PostgreSQL lets nobody pass who waits: behind a move
that waited for it at the campaign's key, every settle and intent would wait as well. So whoever adds people takes that
key only shared, and before it the campaign's intake exclusive; so does whoever moves the campaign. There they wait for
one another, and at the campaign's key a move meets short transactions only.

Everyone takes them in ascending order (intakes < accounts < campaigns < phones < named ones), so no two transactions
wait for one another. They end with the transaction.
"""

import hashlib
from collections.abc import Iterable

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.store import arrays

_INTAKE, _ACCOUNT, _CAMPAIGN, _PHONE, _NAMED = 0 << 60, 1 << 60, 2 << 60, 3 << 60, 4 << 60
_LOW_60 = (1 << 60) - 1

_SHARED = text("select pg_advisory_xact_lock_shared(k) from unnest(cast(:keys as bigint[])) k")
# `count(*)` over volatile calls: every lock is taken, in this order, and one row comes back instead of hundreds.
_BOTH = text(
    "select count(*) from ("
    "select pg_advisory_xact_lock_shared(k) from unnest(cast(:shared as bigint[])) k union all"
    " select pg_advisory_xact_lock(k) from unnest(cast(:exclusive as bigint[])) k) locks"
)
_EXCLUSIVE = text("select pg_advisory_xact_lock(k) from unnest(cast(:keys as bigint[])) k")


def intake_key(campaign_id: int) -> int:
    return _INTAKE | (campaign_id & _LOW_60)


def account_key(account_id: int) -> int:
    return _ACCOUNT | (account_id & _LOW_60)


def campaign_key(campaign_id: int) -> int:
    return _CAMPAIGN | (campaign_id & _LOW_60)


def phone_key(account_id: int, phone: str) -> int:
    """Stable over processes and machines. Two phones that collide only wait for one another."""
    return _PHONE | _hash_60(f"{account_id}:{phone}")


def named_key(name: str) -> int:
    """For things there is one of in a database: its clock, its partitions, its migrations."""
    return _NAMED | _hash_60(name)


def _hash_60(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") & _LOW_60


async def lock_shared(conn: AsyncConnection, keys: Iterable[int]) -> None:
    await conn.execute(_SHARED, {"keys": arrays.numbers(sorted(set(keys)))})


async def lock_exclusive(conn: AsyncConnection, keys: Iterable[int]) -> None:
    await conn.execute(_EXCLUSIVE, {"keys": arrays.numbers(sorted(set(keys)))})


async def lock_shared_and_exclusive(conn: AsyncConnection, shared: Iterable[int], exclusive: Iterable[int]) -> None:
    """Takes `shared` keys, then `exclusive` ones: every one of `exclusive` must be of a higher class (phones)."""
    await conn.execute(
        _BOTH, {"shared": arrays.numbers(sorted(set(shared))), "exclusive": arrays.numbers(sorted(set(exclusive)))}
    )
