import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import Clock, starting_at
from engine.store import accounts, audit, locks, suppressions
from engine.store.accounts import Account
from tests.conftest import LEGAL_HOUR
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


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ("api", "crm", ("api", "first")),
        ("sms_keyword", "sms_keyword", ("sms_keyword", "first")),
        ("sms_keyword", "api", ("sms_text", "first")),  # both: START does not lift it, and a removal says why
        ("api", "sms_keyword", ("sms_text", "second")),
        ("api", "sms_text", ("sms_text", "second")),
        ("api", "carrier", ("carrier", "second")),
        ("sms_keyword", "carrier", ("sms_keyword", "first")),  # the carrier heard the same word
        ("sms_keyword", "sms_text", ("sms_text", "first")),
        ("carrier", "sms_keyword", ("carrier", "first")),
        ("sms_text", "carrier", ("sms_text", "first")),
        ("carrier", "api", ("carrier", "first")),
    ],
)
async def test_the_persons_own_opt_out_outweighs_a_lists(
    db: AsyncEngine, account: Account, clock: Clock, first: str, second: str, kept: tuple[str, str]
) -> None:
    async with db.begin() as conn:
        assert await suppressions.add(conn, account.id, [PHONE], "first", first, clock) == 1
        assert await suppressions.add(conn, account.id, [PHONE], "second", second, clock) == 0
        found = await suppressions.get(conn, account.id, PHONE)
    assert found is not None
    assert (found.source, found.reason) == kept


async def test_the_term_begins_anew_and_the_time_stays(db: AsyncEngine, account: Account) -> None:
    first, again = starting_at(LEGAL_HOUR, 1.0), starting_at(LEGAL_HOUR + timedelta(days=30), 1.0)
    before = LEGAL_HOUR + timedelta(days=1)
    async with db.begin() as conn:
        await suppressions.add(conn, account.id, [PHONE, OTHER], "list", "api", first)
        await suppressions.add(conn, account.id, [PHONE], "stop", "sms_keyword", again)
        assert [each.phone for each in await suppressions.old(conn, before, 10)] == [OTHER]
        assert await suppressions.forget(conn, account.id, [PHONE, OTHER], before, again.now()) == 1
        (kept,) = await suppressions.page(conn, account.id)
        (over,) = await suppressions.old(conn, again.now(), 10)
    assert (kept.phone, over.phone) == (PHONE, PHONE)
    assert kept.created_at < before < LEGAL_HOUR + timedelta(days=30) <= over.created_at
