"""Usage: quantities per account, day and meter, added in the transaction that causes them and read as one sum.

As `campaign_counts`, a row per writer lane, so that lanes never wait for one another; days long past are folded into
one row each.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.rules.events import Event
from engine.rules.usage import METERS, Use, day_of, months
from engine.store import arrays, locks, outbox

DID_MONTHLY = "did.monthly"

_ADD = text("""
    insert into usage_counts (account_id, day, meter, writer, quantity)
    select account_id, day, meter, :writer, quantity
      from unnest(cast(:accounts as bigint[]), cast(:days as date[]), cast(:meters as text[]),
                  cast(:quantities as bigint[])) as u(account_id, day, meter, quantity)
    on conflict (account_id, day, meter, writer) do update set quantity = usage_counts.quantity + excluded.quantity
""")
_TOTALS = text("""
    select meter, sum(quantity)::bigint as total from usage_counts
     where account_id = :account_id and day between :first and :last group by meter
""")
_DIDS = text("""
    select m.month, count(d.id) as held
      from unnest(cast(:months as date[])) as m(month)
      left join dids d on d.account_id = :account_id and d.state <> 'released'
                      and d.created_at < cast(:until as timestamptz)
                      and d.created_at < (m.month + interval '1 month') at time zone 'UTC'
     group by m.month
""")
_NEWS = text("""
    select u.account_id, u.day, u.meter, u.total, u.total - coalesce(t.quantity, 0) as quantity
      from (select account_id, day, meter, sum(quantity)::bigint as total from usage_counts
             where day >= :since and (:everyone or account_id = any(cast(:accounts as bigint[])))
             group by account_id, day, meter) u
      left join usage_told t using (account_id, day, meter)
     where u.total <> coalesce(t.quantity, 0) order by u.account_id, u.day, u.meter
""")
_TOLD = text("""
    insert into usage_told (account_id, day, meter, quantity)
    select * from unnest(cast(:accounts as bigint[]), cast(:days as date[]), cast(:meters as text[]),
                         cast(:totals as bigint[]))
    on conflict (account_id, day, meter) do update set quantity = excluded.quantity
""")


_FOLD = text("""
    with gone as (delete from usage_counts where day < :before and writer <> 0 returning *)
    insert into usage_counts (account_id, day, meter, writer, quantity)
    select account_id, day, meter, 0, sum(quantity) from gone group by account_id, day, meter
    on conflict (account_id, day, meter, writer) do update set quantity = usage_counts.quantity + excluded.quantity
""")
_FORGET = text("delete from usage_told where day < :before")


@dataclass(frozen=True, slots=True)
class Total:
    meter: str
    name: str
    total: int


async def add(conn: AsyncConnection, deltas: Mapping[Use, int], writer: int) -> None:
    """Adds quantities. `writer` is the lane's own number (any int4, distinct between lanes)."""
    used = sorted(use for use, quantity in deltas.items() if quantity)
    if not used:
        return
    params = {
        "accounts": arrays.numbers([use.account_id for use in used]),
        "days": [use.day for use in used],
        "meters": [use.meter for use in used],
        "quantities": arrays.numbers([deltas[use] for use in used]),
        "writer": writer,
    }
    await conn.execute(_ADD, params)


async def totals(conn: AsyncConnection, account_id: int, first: date, last: date, now: datetime) -> list[Total]:
    """Every meter's total over the days `first` … `last`, both included, in the order of `METERS`."""
    params = {"account_id": account_id, "first": first, "last": last}
    found = {row.meter: row.total for row in await conn.execute(_TOTALS, params)}
    found[DID_MONTHLY] = await _did_months(conn, account_id, first, last, now)
    return [Total(meter, name, found.get(meter, 0)) for meter, name in METERS.items()]


async def _did_months(conn: AsyncConnection, account_id: int, first: date, last: date, now: datetime) -> int:
    """Numbers times months: each number once in every calendar month, up to the present one, in which it was held."""
    params = {
        "account_id": account_id,
        "months": list(months(first, min(last, day_of(now)))),
        "until": datetime.combine(last + timedelta(days=1), time(), UTC),
    }
    return sum(row.held for row in await conn.execute(_DIDS, params))


async def tell(conn: AsyncConnection, accounts: Collection[int] | None, since: date, now: datetime) -> int:
    """Publishes a `billing.usage` event for each account and meter whose total has changed since the last was told.

    `accounts` None: of everyone. One at a time, whoever calls: the quantities of a day's events add up to its total.
    Returns how many events were published.
    """
    await locks.lock_exclusive(conn, [locks.named_key("usage")])
    params = {"accounts": arrays.numbers(sorted(accounts or ())), "everyone": accounts is None, "since": since}
    rows = (await conn.execute(_NEWS, params)).all()
    if not rows:
        return 0
    told = {
        "accounts": arrays.numbers([row.account_id for row in rows]),
        "days": [row.day for row in rows],
        "meters": [row.meter for row in rows],
        "totals": arrays.numbers([row.total for row in rows]),
    }
    await conn.execute(_TOLD, told)
    events: dict[int, list[str]] = {}
    for row in rows:
        payload = {"meter": row.meter, "quantity": row.quantity, "day": row.day.isoformat(), "total": row.total}
        events.setdefault(row.account_id, []).append(Event("billing.usage", now, payload).encode())
    await outbox.publish(conn, events)
    return len(rows)


async def fold(conn: AsyncConnection, before: date) -> None:
    """Folds the days before `before` into a row each. Sums stay the same; what such a day gets later is never told."""
    await locks.lock_exclusive(conn, [locks.named_key("usage")])
    await conn.execute(_FOLD, {"before": before})
    await conn.execute(_FORGET, {"before": before})
