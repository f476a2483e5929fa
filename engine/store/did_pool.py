"""Moves a number through the states of the pool: guarded, audited and told in one transaction."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.clock import iso
from engine.ids import encode
from engine.rules.did_policy import Policy, policy_of
from engine.rules.did_pool import DidState, Move, Standing, sources
from engine.rules.events import Event
from engine.store import audit, lines, outbox

log = structlog.get_logger(__name__)

ENGINE = "engine"  # the actor of what the engine does by itself

_SELECT = """
    select d.id, d.account_id, d.number, d.state, d.state_reason, d.state_until, d.flags, d.warming_since, d.carrier,
           d.created_at, a.settings ->> 'didPolicy' as policy
      from dids d join accounts a on a.id = d.account_id
"""
_LOCK = text(f"{_SELECT} where d.id = :id for update of d")
_FIND = text(f"{_SELECT} where d.account_id = :account_id and d.number = :number and d.state <> 'released'")
_MOVE = text("""
    update dids set state = :state, state_reason = :reason, state_until = :until, flags = :flags,
                    warming_since = :warming_since
     where id = :id and state = any(cast(:sources as text[])) returning id
""")
_BEGIN_AGAIN = text("update did_health set fresh = 0, is_to_judge = false where did_id = :id")
_ENDED = text("select id from dids where state_until <= :now order by state_until limit :limit")
_BY_STATE = text("select state, count(*) as numbers from dids where state <> 'released' group by state")


@dataclass(frozen=True, slots=True)
class Numbered:
    """A number and how it stands."""

    id: int
    account_id: int
    number: str
    standing: Standing
    policy_text: str
    carrier: str  # empty: registered by hand
    created_at: datetime

    @property
    def public_id(self) -> str:
        return encode("did", self.id)

    def policy(self, setting: str) -> Policy:
        return policy_of(setting, self.policy_text)


async def lock(conn: AsyncConnection, did_id: int) -> Numbered | None:
    """The number, locked until the transaction ends. One at a time: texts lock several, in an order of their own."""
    row = (await conn.execute(_LOCK, {"id": did_id})).one_or_none()
    return _numbered(row) if row else None


async def find(conn: AsyncConnection, account_id: int, number: str) -> Numbered | None:
    """The account's own number, by its E.164 text; not locked."""
    row = (await conn.execute(_FIND, {"account_id": account_id, "number": number})).one_or_none()
    return _numbered(row) if row else None


async def move(
    conn: AsyncConnection,
    did: Numbered,
    way: Move,
    now: datetime,
    *,
    actor: str = ENGINE,
    detail: Mapping[str, object] | None = None,
) -> bool:
    """Carries the move out, with its audit row and its `did.state_changed`. False when the number has moved on."""
    params = {
        "id": did.id,
        "state": way.to,
        "reason": way.cause,
        "until": way.until,
        "flags": way.flags,
        "warming_since": way.warming_since,
        "sources": list(sources(way.cause, way.to)),
    }
    if (await conn.execute(_MOVE, params)).one_or_none() is None:
        return False
    await conn.execute(_BEGIN_AGAIN, {"id": did.id})
    told: dict[str, object] = {"from": did.standing.state, "to": way.to, "reason": way.cause}
    if way.until is not None:
        told["until"] = iso(way.until)
    await audit.record(conn, did.account_id, actor, "did.state_change", did.number, now, {**told, **(detail or {})})
    await tell(conn, did, "did.state_changed", now, told)
    log.info("did.state_changed", did=did.public_id, **told)
    return True


async def tell(
    conn: AsyncConnection, did: Numbered, event_type: str, now: datetime, payload: Mapping[str, object]
) -> None:
    """Publishes an event about the number, stamped with its owner."""
    owner = (await lines.owners(conn, [did.id])).get(did.id)
    body = {"id": did.public_id, "number": did.number, **payload}
    event = Event(event_type, now, body, unique_id=did.public_id)
    await outbox.publish(conn, {did.account_id: [event.encode(owner)]})


async def ended(conn: AsyncConnection, now: datetime, limit: int = 500) -> list[int]:
    """Numbers whose state's time is over."""
    return list((await conn.execute(_ENDED, {"now": now, "limit": limit})).scalars())


async def count_by_state(conn: AsyncConnection) -> dict[DidState, int]:
    """How many numbers are in each state, over all accounts."""
    found = {DidState(row.state): row.numbers for row in await conn.execute(_BY_STATE)}
    return {state: found.get(state, 0) for state in DidState if state is not DidState.RELEASED}


Decide = Callable[[Numbered], Move | None]


async def decide(
    conn: AsyncConnection, did_id: int, choose: Decide, now: datetime, *, actor: str = ENGINE
) -> Numbered | None:
    """Locks the number and makes the move that `choose` returns for it. The number if it was moved."""
    did = await lock(conn, did_id)
    way = choose(did) if did else None
    if did is None or way is None or not await move(conn, did, way, now, actor=actor):
        return None
    return did


def _numbered(row: Row[tuple[object, ...]]) -> Numbered:
    fields = dict(row._mapping)
    standing = Standing(
        DidState(fields["state"]),
        fields["state_reason"],
        fields["state_until"],
        fields["flags"],
        fields["warming_since"],
    )
    return Numbered(
        fields["id"],
        fields["account_id"],
        fields["number"],
        standing,
        fields["policy"] or "",
        fields["carrier"],
        fields["created_at"],
    )
