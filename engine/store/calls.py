"""One-off calls: what was asked for, and what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.errors import InvalidInput
from engine.ids import encode
from engine.rules.attempt import AttemptState
from engine.rules.did_pool import USABLE
from engine.rules.prospect import Outcome, ProspectState
from engine.store import campaigns, dids, one_off

_GET = text("""
    select p.id, p.phone, p.state, p.outcome, coalesce(p.reason, a.reason) as reason, p.data, a.from_number,
           a.state as attempt_state, a.amd, a.intent_at, a.answered_at, a.ended_at, a.duration_s
      from campaigns c
      join prospects p on p.campaign_id = c.id
      left join lateral (select * from attempts where prospect_id = p.id order by attempt desc limit 1) a on true
     where c.account_id = :account_id and c.is_direct and c.channel = 'voice' and p.id = :id
""")


@dataclass(frozen=True, slots=True)
class Call:
    id: int
    to: str
    from_number: str
    status: str  # queued, placed, ringing, answered, human, machine, unknown, completed, cancelled
    outcome: Outcome | None
    reason: str | None
    parameters: Mapping[str, object]
    amd: str | None
    placed_at: datetime | None  # engine time, as the two below
    answered_at: datetime | None
    ended_at: datetime | None
    duration_s: int | None

    @property
    def public_id(self) -> str:
        return encode("call", self.id)


async def create_call(
    engine: AsyncEngine,
    account_id: int,
    from_number: str,
    to: str,
    parameters: Mapping[str, object],
    now: datetime,
    *,
    is_live: bool,
    carrier: str,
    request_name: str = "",
) -> int:
    """Queues one call, due at once, and returns its id (`ids.encode("call", id)` for clients).

    `request_name` makes it one call however often its request comes (`one_off.add`).

    `from` is kept beside the parameters, under that name. Raises InvalidInput when it is no active voice number of the
    account.
    """
    async with engine.begin() as conn:
        await _check_sender(conn, account_id, from_number)
        campaign = await campaigns.direct(conn, account_id, "voice", is_live, carrier, now)
        data = {**parameters, "from": from_number}
        return await one_off.add(conn, campaign, to, data, now, request_name)


async def get_call(conn: AsyncConnection, account_id: int, call_id: int) -> Call | None:
    """The call and what its latest attempt says; None for another tenant's."""
    row = (await conn.execute(_GET, {"account_id": account_id, "id": call_id})).one_or_none()
    if row is None:
        return None
    return Call(
        id=row.id,
        to=row.phone,
        from_number=row.from_number or row.data["from"],
        status=_status(ProspectState(row.state), row.attempt_state),
        outcome=None if row.outcome is None else Outcome(row.outcome),
        reason=row.reason,
        parameters={name: value for name, value in row.data.items() if name != "from"},
        amd=row.amd,
        placed_at=row.intent_at,
        answered_at=row.answered_at,
        ended_at=row.ended_at,
        duration_s=row.duration_s,
    )


def _status(state: ProspectState, attempt_state: int | None) -> str:
    if state is not ProspectState.DIALING or attempt_state is None:
        return state.label
    return AttemptState(attempt_state).name.lower()


async def _check_sender(conn: AsyncConnection, account_id: int, number: str) -> None:
    did = await dids.find(conn, account_id, number)
    if did is None:
        raise InvalidInput("the call cannot be placed", {"from": f"{number} is not one of your numbers"})
    if did.state not in USABLE or "voice" not in did.capabilities:
        raise InvalidInput(
            "the call cannot be placed", {"from": f"{number} is {did.state}, for {' and '.join(did.capabilities)}"}
        )
