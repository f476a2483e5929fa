"""Outcomes are folded once each, whoever folds them and whoever is killed."""

import asyncio
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import Clock
from engine.rules.did_health import Kind, Texts, encode
from engine.store import accounts, did_health
from engine.store.accounts import Account
from tests.store import pool

K = Kind


async def append(db: AsyncEngine, clock: Clock, did_id: int, *codes: int) -> None:
    async with db.begin() as conn:
        await did_health.append(conn, [did_id] * len(codes), codes, clock.now())


async def fold(db: AsyncEngine, limit: int = 200) -> int:
    async with db.begin() as conn:
        return await did_health.fold(conn, limit)


async def record(db: AsyncEngine, account: Account, did_id: int) -> did_health.Record:
    async with db.connect() as conn:
        found = await did_health.get(conn, account.id, did_id)
    assert found is not None
    return found


async def test_the_window_is_the_last_fifty_in_order(db: AsyncEngine, account: Account, clock: Clock) -> None:
    did = await pool.add(db, account.id, clock.now())
    for number in range(6):
        await append(db, clock, did.id, *(encode(K.PERSON, 10 * number + each) for each in range(10)))
    assert await fold(db, 4) == 4
    assert await fold(db, 4) == 2
    found = await record(db, account, did.id)
    assert [code >> 4 for code in found.calls] == list(range(10, 60))
    assert (found.fresh, found.score, found.flag) == (60, 1.0, "")


async def test_rival_folders_count_each_outcome_once(db: AsyncEngine, account: Account, clock: Clock) -> None:
    dids = [await pool.add(db, account.id, clock.now(), f"+1415555010{n}") for n in range(3)]
    for did in [*dids, *reversed(dids)] * 4:
        await append(db, clock, did.id, encode(K.MACHINE, 5))
    done = await asyncio.gather(*(fold(db, 5) for _ in range(6)))
    while await fold(db):
        pass
    assert sum(done) <= 24
    assert [(await record(db, account, did.id)).fresh for did in dids] == [8, 8, 8]


async def test_a_fold_that_dies_has_counted_nothing(db: AsyncEngine, account: Account, clock: Clock) -> None:
    did = await pool.add(db, account.id, clock.now())
    await append(db, clock, did.id, encode(K.PERSON, 30))
    async with db.connect() as conn:
        assert await did_health.fold(conn) == 1
    assert await fold(db) == 1
    assert (await record(db, account, did.id)).fresh == 1


async def test_texts_are_counted_by_day_for_seven_days(db: AsyncEngine, account: Account, clock: Clock) -> None:
    did = await pool.add(db, account.id, clock.now())
    for days in (8, 6, 0):
        async with db.begin() as conn:
            codes = [encode(K.DELIVERED, 0), encode(K.UNDELIVERED, 0)]
            await did_health.append(conn, [did.id] * 2, codes, clock.now() - timedelta(days=days))
    await fold(db)
    found = await record(db, account, did.id)
    assert found.sent_texts() == Texts(4, 2, 0, 0, 2)
    assert (found.score, found.calls) == (None, [])
    assert found.sms_score is not None


async def test_blocks_and_spam_codes_mark_their_number(db: AsyncEngine, account: Account, clock: Clock) -> None:
    blocked = await pool.add(db, account.id, clock.now())
    filtered = await pool.add(db, account.id, clock.now(), "+14155550102")
    clean = await pool.add(db, account.id, clock.now(), "+14155550103")
    await append(db, clock, blocked.id, encode(K.BLOCKED, 0), encode(K.PERSON, 40))
    await append(db, clock, filtered.id, encode(K.FILTERED, 0))
    await append(db, clock, clean.id, encode(K.PERSON, 40))
    await fold(db)
    async with db.connect() as conn:
        assert await did_health.to_judge(conn) == sorted([blocked.id, filtered.id])
    assert (await record(db, account, blocked.id)).flag == "network_block"
    assert (await record(db, account, filtered.id)).flag == "spam_code"


async def test_outcomes_of_an_unknown_number_are_let_go(db: AsyncEngine, account: Account, clock: Clock) -> None:
    await append(db, clock, 5, encode(K.PERSON, 40))
    assert await fold(db) == 1
    assert await fold(db) == 0


async def test_another_tenants_number_has_no_record(db: AsyncEngine, account: Account, clock: Clock) -> None:
    did = await pool.add(db, account.id, clock.now())
    async with db.begin() as conn:
        other = await accounts.create(conn, "Other", clock.now())
        assert await did_health.get(conn, other.id, did.id) is None
        await conn.execute(
            text("insert into did_reputation values (:id, :account, true, 0, '[]', now())"),
            {"id": did.id, "account": account.id},
        )
    await append(db, clock, did.id, *[encode(K.PERSON, 40)] * 5)
    await fold(db)
    assert (await record(db, account, did.id)).score == 0.9  # under a label
