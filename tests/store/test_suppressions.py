import asyncio

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import Clock
from engine.store import accounts, audit, locks, suppressions
from engine.store.accounts import Account
from tests.store.conftest import holding, someone_waits, until

PHONE, OTHER = "+14155550100", "+14155550101"


async def test_added_once(db: AsyncEngine, account: Account, clock: Clock) -> None:
    async with db.begin() as conn:
        assert await suppressions.add(conn, account.id, [PHONE, OTHER, PHONE], "stop", "sms", clock) == 2
        assert await suppressions.add(conn, account.id, [PHONE], "again", "api", clock) == 0
        assert await suppressions.is_suppressed(conn, account.id, PHONE)
        listed = await suppressions.page(conn, account.id)
        assert await suppressions.page(conn, account.id, 1, PHONE) == listed[1:]
    assert [(each.phone, each.reason, each.source) for each in listed] == [
        (PHONE, "stop", "sms"),
        (OTHER, "stop", "sms"),
    ]


async def test_for_one_account_only(db: AsyncEngine, account: Account, clock: Clock) -> None:
    async with db.begin() as conn:
        other = await accounts.create(conn, "Other", clock.now())
        await suppressions.add(conn, account.id, [PHONE], "stop", "sms", clock)
        assert not await suppressions.is_suppressed(conn, other.id, PHONE)
        assert not await suppressions.remove(conn, other.id, PHONE, "key_x", clock.now())
        assert await suppressions.is_suppressed(conn, account.id, PHONE)


async def test_removal_is_audited(db: AsyncEngine, account: Account, clock: Clock) -> None:
    async with db.begin() as conn:
        await suppressions.add(conn, account.id, [PHONE], "stop", "sms", clock)
        assert await suppressions.remove(conn, account.id, PHONE, "key_x", clock.now())
        assert not await suppressions.remove(conn, account.id, PHONE, "key_x", clock.now())
        assert not await suppressions.is_suppressed(conn, account.id, PHONE)
        (entry,) = await audit.page(conn, account.id, 10)
    assert (entry.action, entry.subject) == ("suppression.remove", PHONE)


async def _add(db: AsyncEngine, account: Account, phones: list[str], clock: Clock) -> None:
    async with db.begin() as conn:
        await suppressions.add(conn, account.id, phones, "stop", "sms", clock)


async def test_an_opt_out_waits_for_the_intent_and_bears_a_later_time(
    db: AsyncEngine, account: Account, clock: Clock
) -> None:
    async with holding(db) as intent:
        key = locks.phone_key(account.id, PHONE)
        await locks.lock_shared_and_exclusive(intent, [locks.account_key(account.id)], [key])
        adding = asyncio.create_task(_add(db, account, [PHONE], clock))
        await until(lambda: someone_waits(db))
        intent_at = clock.now()
        await intent.commit()
    await adding
    async with db.connect() as conn:
        (found,) = await suppressions.page(conn, account.id)
    assert found.created_at > intent_at


async def test_many_at_once_take_the_accounts_key(db: AsyncEngine, account: Account, clock: Clock) -> None:
    many = [f"+1415{n:07d}" for n in range(2_000_000, 2_001_000)]
    async with holding(db) as intent:
        await locks.lock_shared(intent, [locks.account_key(account.id)])
        adding = asyncio.create_task(_add(db, account, many, clock))
        await until(lambda: someone_waits(db))
        await intent.commit()
    await adding
    async with db.connect() as conn:
        assert (await conn.execute(text("select count(*) from suppressions"))).scalar() == 1000
