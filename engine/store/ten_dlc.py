"""Message parts that an account has sent lately, for the caps of 10DLC.

By engine second, of which a minute is summed up, and by Pacific day. Whoever reads and adds holds the account's lock
(`lock`) until the commit, so the sums are exact over all workers.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.rules.account_limits import pacific_day
from engine.store import arrays, locks

MINUTE_S = 60
# A message leaves up to its ticket's time after its intent: this much longer a window of intents holds those that a
# minute of sending can hold.
TICKET_SLACK_S = 3

_USED = text("""
    select account_id,
           coalesce(sum(parts) filter (where span = 'second' and at > :after), 0)::bigint as minute,
           coalesce(sum(parts) filter (where span = 'day' and at = :day), 0)::bigint as day
      from ten_dlc_parts where account_id = any(cast(:accounts as bigint[])) group by account_id
""")
_ADD = text("""
    insert into ten_dlc_parts (account_id, span, at, parts)
    select account_id, span, at, parts
      from unnest(cast(:accounts as bigint[]), cast(:parts as bigint[])) u(account_id, parts)
     cross join (values ('day', cast(:day as bigint)), ('second', cast(:second as bigint))) s(span, at)
    on conflict (account_id, span, at) do update set parts = ten_dlc_parts.parts + excluded.parts
""")
_FORGET = text("""
    delete from ten_dlc_parts
     where account_id = any(cast(:accounts as bigint[]))
       and ((span = 'second' and at < :second) or (span = 'day' and at < :day))
""")


class Used(NamedTuple):
    minute: int = 0
    day: int = 0


async def lock(conn: AsyncConnection, accounts: Collection[int]) -> None:
    await locks.lock_exclusive(conn, [locks.named_key(f"10DLC of account {each}") for each in accounts])


async def used(conn: AsyncConnection, accounts: Collection[int], now: datetime) -> dict[int, Used]:
    """Parts of the last minute and of this Pacific day. `now` is engine time."""
    after = int(now.timestamp()) - MINUTE_S - TICKET_SLACK_S
    params = {"accounts": arrays.numbers(sorted(accounts)), "after": after, "day": pacific_day(now)}
    return {row.account_id: Used(row.minute, row.day) for row in await conn.execute(_USED, params)}


async def add(conn: AsyncConnection, parts: Mapping[int, int], now: datetime) -> None:
    """Counts parts by account, and forgets what no window holds any more."""
    accounts, second, day = sorted(parts), int(now.timestamp()), pacific_day(now)
    params = {"accounts": arrays.numbers(accounts), "parts": arrays.numbers([parts[each] for each in accounts])}
    await conn.execute(_ADD, params | {"second": second, "day": day})
    await conn.execute(_FORGET, {"accounts": params["accounts"], "second": second - 10 * MINUTE_S, "day": day - 1})
