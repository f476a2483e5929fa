"""Usage: exact sums whoever counts, told once whoever tells."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.rules.usage import METERS, Use
from engine.store import usage
from engine.store.accounts import Account

DAY = date(2026, 3, 11)
NOW = datetime(2026, 3, 11, 18, 0, tzinfo=UTC)


async def use(
    db: AsyncEngine, account_id: int, quantity: int, writer: int = 1, meter: str = "sms.send", day: date = DAY
) -> None:
    async with db.begin() as conn:
        await usage.add(conn, {Use(account_id, day, meter): quantity}, writer)


async def totals(db: AsyncEngine, account_id: int, first: date = DAY, last: date = DAY) -> dict[str, int]:
    async with db.connect() as conn:
        return {each.meter: each.total for each in await usage.totals(conn, account_id, first, last, NOW) if each.total}


async def tell(db: AsyncEngine, account_ids: list[int] | None = None) -> int:
    async with db.begin() as conn:
        return await usage.tell(conn, account_ids, DAY - timedelta(days=4), NOW)


async def told(db: AsyncEngine) -> list[dict[str, object]]:
    async with db.connect() as conn:
        query = text("select account_id, string_to_table(body, chr(10)) from outbox order by id")
        rows = (await conn.execute(query)).all()
    return [{"account": row[0]} | orjson.loads(row[1])["payload"] for row in rows]


async def test_lanes_add_up(db: AsyncEngine, account: Account) -> None:
    await asyncio.gather(*(use(db, account.id, n, writer=n % 3) for n in range(1, 21)))
    await use(db, account.id, 7, meter="voice.outbound")
    await use(db, account.id + 1, 99)
    await use(db, account.id, 5, day=DAY - timedelta(days=1))
    assert await totals(db, account.id) == {"sms.send": 210, "voice.outbound": 7}
    assert await totals(db, account.id, DAY - timedelta(days=1)) == {"sms.send": 215, "voice.outbound": 7}


async def test_nothing_used_writes_nothing(db: AsyncEngine, account: Account) -> None:
    await use(db, account.id, 0)
    async with db.connect() as conn:
        assert (await conn.execute(text("select count(*) from usage_counts"))).scalar_one() == 0
        shown = await usage.totals(conn, account.id, DAY, DAY, NOW)
    assert [each.meter for each in shown] == list(METERS)  # all of them, at any time
    assert {each.total for each in shown} == {0}


async def test_numbers_count_in_every_month_in_which_they_were_held(db: AsyncEngine, account: Account) -> None:
    held = {"+14155550101": datetime(2026, 1, 31, 23, 59, tzinfo=UTC), "+14155550102": NOW, "+14155550103": NOW}
    async with db.begin() as conn:
        for n, (number, since) in enumerate(held.items()):
            await conn.execute(
                text("""
                    insert into dids (id, account_id, number, capabilities, state, created_at)
                    values (:id, :account, :number, '{sms}', :state, :since)
                """),
                {"id": n, "account": account.id, "number": number, "since": since,
                 "state": "released" if n == 2 else "active"},
            )  # fmt: skip
    months = {
        (date(2026, 3, 1), date(2026, 3, 31)): 2,
        (date(2026, 3, 1), date(2026, 3, 10)): 1,  # the second came on the 11th
        (date(2026, 1, 15), date(2026, 3, 11)): 4,
        (date(2025, 12, 1), date(2025, 12, 31)): 0,
        (date(2026, 1, 31), date(2026, 2, 1)): 2,
        (date(2026, 4, 1), date(2026, 4, 30)): 0,  # not begun yet
    }
    for (first, last), expected in months.items():
        assert (await totals(db, account.id, first, last)).get("did.monthly", 0) == expected, (first, last)


async def test_what_changed_is_told_with_its_difference(db: AsyncEngine, account: Account) -> None:
    await use(db, account.id, 3)
    assert await tell(db, [account.id]) == 1
    assert await tell(db, [account.id]) == 0  # nothing has changed
    await use(db, account.id, 2, writer=9)
    await use(db, account.id, 40, meter="voice.ai")
    await use(db, account.id + 1, 6)
    assert await tell(db, [account.id]) == 2
    assert await tell(db, None) == 1  # everyone: the other account
    assert await told(db) == [
        {"account": account.id, "meter": "sms.send", "quantity": 3, "day": "2026-03-11", "total": 3},
        {"account": account.id, "meter": "sms.send", "quantity": 2, "day": "2026-03-11", "total": 5},
        {"account": account.id, "meter": "voice.ai", "quantity": 40, "day": "2026-03-11", "total": 40},
        {"account": account.id + 1, "meter": "sms.send", "quantity": 6, "day": "2026-03-11", "total": 6},
    ]


async def test_many_tellers_and_writers_tell_every_part_once(db: AsyncEngine, account: Account) -> None:
    work = [use(db, account.id, 1, writer=n % 4) for n in range(40)]
    for n in range(8):
        work.insert(5 * n, tell(db, None if n % 2 else [account.id]))  # type: ignore[arg-type]
    await asyncio.gather(*work)
    await tell(db, [account.id])
    events = await told(db)
    assert sum(int(str(event["quantity"])) for event in events) == 40
    sums = [int(str(event["total"])) for event in events]
    assert sums == sorted(set(sums))
    assert sums[-1] == 40


async def test_old_days_are_folded_and_stay_exact(db: AsyncEngine, account: Account) -> None:
    old = DAY - timedelta(days=20)
    for writer in range(5):
        await use(db, account.id, 2, writer=writer, day=old)
        await use(db, account.id, 1, writer=writer)
    await tell(db)
    async with db.begin() as conn:
        await usage.fold(conn, DAY - timedelta(days=10))
        await usage.fold(conn, DAY - timedelta(days=10))
        rows = (await conn.execute(text("select day, count(*) from usage_counts group by day order by day"))).all()
    assert [tuple(row) for row in rows] == [(old, 1), (DAY, 5)]
    await use(db, account.id, 3, writer=7, day=old)  # a very late report
    assert await totals(db, account.id, old) == {"sms.send": 18}
    assert await tell(db) == 0
