"""The newest word of the analytics engines on each number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.clock import iso
from engine.rules.reputation import EngineVerdict, Reputation

_COLUMNS = "d.id as did_id, d.number, r.flagged, r.overall_score, r.providers, r.checked_at"
_WRITE = text("""
    insert into did_reputation (did_id, account_id, flagged, overall_score, providers, checked_at)
    values (:did_id, :account_id, :flagged, :overall_score, cast(:providers as jsonb), :now)
    on conflict (did_id) do update set flagged = excluded.flagged, overall_score = excluded.overall_score,
           providers = excluded.providers, checked_at = excluded.checked_at
""")
_FLAGGED = text("select flagged from did_reputation where did_id = :id")
_FIND = text(f"""
    select {_COLUMNS} from dids d left join did_reputation r on r.did_id = d.id
     where d.account_id = :account_id and d.number = :number and d.state <> 'released'
""")
_LIST = text(f"""
    select {_COLUMNS} from dids d join did_reputation r on r.did_id = d.id
     where d.account_id = :account_id and d.state <> 'released' and d.id > :after order by d.id limit :limit
""")
# The first audit comes a day after the number did, or when somebody asks.
_DUE = text("""
    select d.account_id, d.id, d.number, a.settings ->> 'reputation' as provider,
           a.settings ->> 'carrier' is not null as has_carrier
      from dids d join accounts a on a.id = d.account_id left join did_reputation r on r.did_id = d.id
     where d.state not in ('released', 'burned') and coalesce(r.checked_at, d.created_at) <= :before
     order by d.account_id, d.id limit :limit
""")


@dataclass(frozen=True, slots=True)
class Checked:
    """A number and what was found; `checked_at` None: nobody has looked yet."""

    did_id: int
    number: str
    flagged: bool | None
    overall_score: float | None
    providers: Sequence[Mapping[str, object]]
    checked_at: datetime | None

    @property
    def id(self) -> int:
        """For pages."""
        return self.did_id


async def write(
    conn: AsyncConnection,
    account_id: int,
    did_id: int,
    found: Reputation,
    verdicts: Sequence[EngineVerdict],
    now: datetime,
) -> bool | None:
    """Keeps what was found. Returns whether the number was flagged before; None when it was never checked."""
    before: bool | None = (await conn.execute(_FLAGGED, {"id": did_id})).scalar_one_or_none()
    params = {
        "did_id": did_id,
        "account_id": account_id,
        "flagged": found.flagged,
        "overall_score": found.overall_score,
        "providers": orjson.dumps([_show(verdict, now) for verdict in verdicts]).decode(),
        "now": now,
    }
    await conn.execute(_WRITE, params)
    return before


async def is_flagged(conn: AsyncConnection, did_id: int) -> bool:
    return bool((await conn.execute(_FLAGGED, {"id": did_id})).scalar_one_or_none())


async def find(conn: AsyncConnection, account_id: int, number: str) -> Checked | None:
    """The account's own number; None for anybody else's."""
    row = (await conn.execute(_FIND, {"account_id": account_id, "number": number})).one_or_none()
    return _checked(row) if row else None


async def list_checked(
    conn: AsyncConnection, account_id: int, limit: int | None = None, after_id: int | None = None
) -> list[Checked]:
    """Numbers that were checked, oldest number first."""
    params = {"account_id": account_id, "limit": limit, "after": after_id or 0}
    return [_checked(row) for row in await conn.execute(_LIST, params)]


async def due(conn: AsyncConnection, before: datetime, limit: int) -> list[Row[tuple[object, ...]]]:
    """Numbers last checked, or else added, at or before `before`: account, id, number, its account's provider."""
    return list(await conn.execute(_DUE, {"before": before, "limit": limit}))


def _show(verdict: EngineVerdict, now: datetime) -> dict[str, object]:
    return {
        "name": verdict.engine,
        "flagged": verdict.flagged,
        "spamScore": verdict.spam_score,
        "complaints": verdict.complaints,
        "details": verdict.details,
        "checkedAt": iso(now),
    }


def _checked(row: Row[tuple[object, ...]]) -> Checked:
    fields = dict(row._mapping)
    return Checked(**fields | {"providers": fields["providers"] or ()})
