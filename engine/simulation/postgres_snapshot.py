"""The canonical form of what PostgreSQL holds, for the comparison with its twin."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.dispatch import facts
from engine.dispatch.facts import AttemptKey
from engine.rules.stats import COUNTERS
from engine.rules.telephony import Channel
from engine.simulation.port import Direct, Person, Snapshot
from engine.store import counts

_CAMPAIGNS = "select id, status, status_reason from campaigns where not is_direct order by id"
_DIRECTS = "select id, account_id, channel, carrier, status from campaigns where is_direct order by id"
_PEOPLE = """
    select campaign_id, id, account_id, phone, state, attempt, outcome, reason,
           case when isfinite(next_attempt_at) then next_attempt_at end as at, next_attempt_at = 'infinity' as is_over
      from prospects order by id
"""
_KEYS = "select campaign_id, prospect_id, attempt from attempts"
_SUPPRESSED = "select account_id, phone, source, created_at from suppressions order by 1, 2"
_FREE = "select id, extract(epoch from sms_free_at)::float8 as free_s from dids order by id"
_EVENTS = "select account_id, seq, body::text as body from events order by 1, 2"
_USED = """
    select account_id, day, meter, sum(quantity)::bigint as quantity from usage_counts
     group by 1, 2, 3 having sum(quantity) <> 0 order by 1, 2, 3
"""
_UNSETTLED = "select count(*) from carrier_callbacks where processed_at is null"
_UNNUMBERED = "select coalesce(sum(count), 0)::int from outbox"


async def read_snapshot(engine: AsyncEngine) -> Snapshot:
    async with engine.connect() as conn:
        keys = [AttemptKey(*row) for row in await _rows(conn, _KEYS)]
        found = Snapshot(
            campaigns=[(row.id, row.status, row.status_reason) for row in await _rows(conn, _CAMPAIGNS)],
            directs=[_direct(row) for row in await _rows(conn, _DIRECTS)],
            people=[_person(row) for row in await _rows(conn, _PEOPLE)],
            attempts=sorted(await facts.read_attempts(conn, keys), key=lambda view: (view.prospect_id, view.attempt)),
            suppressed=[(row[0], row[1], row[2], row[3]) for row in await _rows(conn, _SUPPRESSED)],
            free_s={row.id: row.free_s for row in await _rows(conn, _FREE)},
            used={(row[0], row[1], row[2]): row.quantity for row in await _rows(conn, _USED)},
            unsettled=(await conn.execute(text(_UNSETTLED))).scalar_one(),
            unnumbered=(await conn.execute(text(_UNNUMBERED))).scalar_one(),
        )
        ids = [each[0] for each in found.campaigns] + [each.id for each in found.directs]
        sums = await counts.read_many(conn, ids)
        found.counts = {each: {name: sums[each][name] for name in COUNTERS} for each in sorted(sums)}
        for row in await _rows(conn, _EVENTS):
            found.events.setdefault(row.account_id, []).append((row.seq, row.body))
    return found


async def _rows(conn: AsyncConnection, query: str) -> list[Any]:
    return list(await conn.execute(text(query)))


def _direct(row: Any) -> Direct:
    return Direct(row.id, row.account_id, Channel(row.channel), row.carrier, row.status)


def _person(row: Any) -> Person:
    next_at = "infinity" if row.is_over else "" if row.at is None else row.at.isoformat()
    return Person._make((*row[:8], next_at))
