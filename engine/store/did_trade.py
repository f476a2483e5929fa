"""Buying numbers and giving them back, as far as our own rows go: reserved before the carrier is asked, as an attempt.

A number that is being bought is ours in quarantine, so the unique index decides between two buyers before either pays.
One that is being given back is in quarantine as well: no call begins from it any more.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import Conflict
from engine.ids import new_id
from engine.rules import did_pool
from engine.rules.did_pool import Cause, DidState
from engine.store import did_pool as pool_store
from engine.store.did_pool import Numbered

PURCHASING = "purchasing"

_RESERVE = text("""
    insert into dids (id, account_id, number, capabilities, state, state_reason, carrier, created_at)
    values (:id, :account_id, :number, '{voice,sms}', 'quarantine', :reason, :carrier, :now)
    on conflict (number) where state <> 'released' do nothing returning id
""")
_SET_CARRIER_ID = text("update dids set carrier_number_id = :carrier_id where id = :id")
_CARRIER_ID = text("select carrier_number_id from dids where id = :id")


async def reserve(
    conn: AsyncConnection, account_id: int, numbers: Sequence[str], carrier: str, now: datetime
) -> dict[str, int]:
    """Makes rows of the numbers, in quarantine; their ids. All or none: raises Conflict that names those taken."""
    ids: dict[str, int] = {}
    taken: dict[str, object] = {}
    for number in sorted(numbers):
        params = {"id": new_id(), "account_id": account_id, "number": number, "carrier": carrier, "now": now}
        did_id = (await conn.execute(_RESERVE, params | {"reason": PURCHASING})).scalar_one_or_none()
        if did_id is None:
            taken[number] = "is already registered"
        else:
            ids[number] = did_id
    if taken:
        raise Conflict(f"already registered: {', '.join(taken)}; nothing was bought", taken)
    return ids


async def carrier_id(conn: AsyncConnection, did_id: int) -> str:
    return str((await conn.execute(_CARRIER_ID, {"id": did_id})).scalar_one_or_none() or "")


async def bought(
    conn: AsyncConnection, did_id: int, carrier_number_id: str, now: datetime, policy: str, actor: str
) -> bool:
    """The carrier has sold it: into warming, with `did.purchased`. False when it was so before."""
    did = await pool_store.lock(conn, did_id)
    if did is None or did.standing.state is not DidState.QUARANTINE or did.standing.reason != PURCHASING:
        return False
    way = did_pool.warm(did.standing, Cause.PURCHASED, now, did.policy(policy))
    assert way is not None  # the table has this way from quarantine
    await conn.execute(_SET_CARRIER_ID, {"id": did_id, "carrier_id": carrier_number_id})
    await pool_store.move(conn, did, way, now, actor=actor)
    await pool_store.tell(conn, did, "did.purchased", now, {"state": way.to, "carrier": did.carrier})
    return True


async def not_bought(conn: AsyncConnection, did_id: int, now: datetime, actor: str) -> None:
    """The carrier would not sell it: the row is let go, and nobody is told of a number that was never ours."""
    did = await pool_store.lock(conn, did_id)
    if did is not None and did.standing.reason == PURCHASING and did.standing.state is DidState.QUARANTINE:
        await _let_go(conn, did, now, actor)


async def released(conn: AsyncConnection, did_id: int, now: datetime, actor: str) -> bool:
    """It is no longer ours: `did.released`. False when it was so before."""
    did = await pool_store.lock(conn, did_id)
    if did is None or not await _let_go(conn, did, now, actor):
        return False
    await pool_store.tell(conn, did, "did.released", now, {"state": DidState.RELEASED})
    return True


async def _let_go(conn: AsyncConnection, did: Numbered, now: datetime, actor: str) -> bool:
    way = did_pool.simple(did.standing, Cause.RELEASED)
    return way is not None and await pool_store.move(conn, did, way, now, actor=actor)
