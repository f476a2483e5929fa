"""A move is guarded, audited and told, in one transaction."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import Clock, iso
from engine.errors import Conflict
from engine.rules import did_pool as rules
from engine.rules.did_pool import Cause, DidState
from engine.store import audit, did_pool, did_trade, dids
from engine.store.accounts import Account
from engine.store.dids import NewDid
from tests.store import pool


async def test_a_move_is_written_audited_and_told(db: AsyncEngine, account: Account, clock: Clock) -> None:
    now = clock.now()
    did = await pool.add(db, account.id, now)
    async with db.begin() as conn:
        moved = await did_pool.decide(conn, did.id, lambda each: rules.flag(each.standing, Cause.LABEL, now), now)
        (entry,) = await audit.page(conn, account.id, 10)
    assert moved is not None
    until = now + timedelta(days=14)
    row = await pool.row(db, did.id)
    assert (row.state, row.state_reason, row.state_until, row.flags) == ("cooling", "label", until, 1)
    facts = {"from": "active", "to": "cooling", "reason": "label", "until": iso(until)}
    assert (entry.actor, entry.action, entry.subject, entry.detail) == ("engine", "did.state_change", did.number, facts)
    ((event_type, payload),) = await pool.told(db)
    assert event_type == "did.state_changed"
    assert payload == {"id": payload["id"], "number": did.number, **facts}


async def test_of_two_rivals_one_moves_it(db: AsyncEngine, account: Account, clock: Clock) -> None:
    now = clock.now()
    did = await pool.add(db, account.id, now)

    async def rest() -> bool:
        async with db.begin() as conn:
            return await did_pool.decide(conn, did.id, lambda each: rules.tire(each.standing, now), now) is not None

    assert sorted(await asyncio.gather(*(rest() for _ in range(4)))) == [False, False, False, True]
    assert len(await pool.told(db)) == 1


async def test_a_stale_move_changes_and_tells_nothing(db: AsyncEngine, account: Account, clock: Clock) -> None:
    now = clock.now()
    did = await pool.add(db, account.id, now)
    async with db.begin() as conn:
        seen = await did_pool.lock(conn, did.id)
    assert seen is not None
    way = rules.tire(seen.standing, now)
    assert way is not None
    async with db.begin() as conn:
        assert await did_trade.released(conn, did.id, now, "me")
        assert not await did_pool.move(conn, seen, way, now)
    assert (await pool.row(db, did.id)).state == "released"
    assert [name for name, _ in await pool.told(db)] == ["did.state_changed", "did.released"]


async def test_ends_come_in_order_of_time(db: AsyncEngine, account: Account, clock: Clock) -> None:
    now = clock.now()
    hours = {"+14155550101": 2, "+14155550102": 1, "+14155550103": -1}
    for number, hour in hours.items():
        await pool.add(db, account.id, now, number, state="cooling", state_until=now - timedelta(hours=hour))
    async with db.connect() as conn:
        ids = await did_pool.ended(conn, now)
        assert [(await did_pool.lock(conn, each)).number for each in ids] == ["+14155550101", "+14155550102"]  # type: ignore[union-attr]
        assert (await did_pool.count_by_state(conn))[DidState.COOLING] == 3


async def test_a_released_number_is_gone_and_may_come_back(db: AsyncEngine, account: Account, clock: Clock) -> None:
    did = await pool.add(db, account.id, clock.now())
    async with db.begin() as conn:
        assert await did_trade.released(conn, did.id, clock.now(), "me")
        assert not await did_trade.released(conn, did.id, clock.now(), "me")
        assert await dids.list_dids(conn, account.id) == []
        assert await dids.find(conn, account.id, did.number) is None
        assert await did_pool.find(conn, account.id, did.number) is None
        (again,) = await dids.add(conn, account.id, [NewDid(did.number)], clock.now())
    assert again.id != did.id


async def test_a_number_is_reserved_bought_and_told(db: AsyncEngine, account: Account, clock: Clock) -> None:
    now = clock.now()
    async with db.begin() as conn:
        ids = await did_trade.reserve(conn, account.id, ["+14155550102", pool.NUMBER], "simulated-command", now)
    did_id = ids[pool.NUMBER]
    assert (await pool.row(db, did_id)).state == "quarantine"
    async with db.begin() as conn:
        assert await did_trade.bought(conn, did_id, "PN1", now, "", "key_1")
        assert not await did_trade.bought(conn, did_id, "PN1", now, "", "key_1")  # told once, however often it is done
        await did_trade.not_bought(conn, ids["+14155550102"], now, "key_1")
        assert await did_trade.carrier_id(conn, did_id) == "PN1"
        assert [did.number for did in await dids.list_dids(conn, account.id)] == [pool.NUMBER]
    row = await pool.row(db, did_id)
    assert (row.state, row.warming_since, row.state_until) == ("warming", now, now + timedelta(days=21))
    told = [(name, payload.get("to")) for name, payload in await pool.told(db) if payload["number"] == pool.NUMBER]
    assert told == [("did.state_changed", "warming"), ("did.purchased", None)]


async def test_a_purchase_reserves_all_or_none(db: AsyncEngine, account: Account, clock: Clock) -> None:
    await pool.add(db, account.id, clock.now())
    with pytest.raises(Conflict) as caught:
        async with db.begin() as conn:
            await did_trade.reserve(conn, account.id, ["+14155550102", pool.NUMBER], "x", clock.now())
    assert set(caught.value.fields) == {pool.NUMBER}
    async with db.connect() as conn:
        assert len(await dids.list_dids(conn, account.id)) == 1
