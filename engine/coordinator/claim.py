"""Reads which prospects are due, for many campaigns in one statement. Claims write nothing (DESIGN 2a, "Tables").

Forward by keyset: `(next_attempt_at, id) > cursor` on the index `prospects_due`, so that a claim costs the same
whatever has piled up behind the cursor, under an old snapshot too (without it: 3.8 → 57 ms within 100,000 claims).
`state + 0 = 0` hides the volatile column from the planner, whose statistics of it are always wrong.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.coordinator.shard import Claim, Due, Position, Queued, Walk
from engine.rules.prospect import ProspectState
from engine.store import arrays

_ARRAYS = """array_agg(id) as ids, array_agg(attempt) as attempts, array_agg(phone) as phones,
    array_agg(case when w.is_direct then data->>'from' end) as senders,
    array_agg(case when attempt > 1 then (select a.did_id from attempts a
               where a.prospect_id = due.id and a.attempt = due.attempt - 1) end) as last_dids,
    array_agg(case when attempt > 1 then (select a.outcome from attempts a
               where a.prospect_id = due.id and a.attempt = due.attempt - 1) end) as last_outcomes,
    array_agg(extract(epoch from next_attempt_at)::float8) as dues,
    array_agg(case when not w.is_direct then data::text end) as datas"""
# A subquery, so that the planner cannot count them: it then keeps one plan for any number of campaigns. Made anew for
# each claim, over 16 partitions, the plan took five times as long as the claim (7 ms).
_CAMPAIGNS = "(select cast(:campaigns as bigint[]))"
_OPEN = "next_attempt_at < 'infinity'"  # as the index says it, or it would not be used
_QUEUED = f"state + 0 = {ProspectState.QUEUED:d}"

# Arrays, because a row of the driver costs a microsecond and an element of an array a tenth.
_CLAIM = text(f"""
    select w.campaign_id, p.ids, p.attempts, p.phones, p.senders, p.last_dids, p.last_outcomes, p.dues, p.datas,
           p.last_at, n.next_due_s
      from (select campaign_id, n, is_direct, least(at, back_to) as at, case when back_to < at then 0 else id end as id
              from unnest({_CAMPAIGNS}, cast(:ats as timestamptz[]), cast(:ids as bigint[]), cast(:counts as int[]),
                          cast(:direct as boolean[]), cast(:back_to as timestamptz[]))
                   as u(campaign_id, at, id, n, is_direct, back_to)) w
     cross join lateral (
           select {_ARRAYS}, max(next_attempt_at)::text as last_at
             from (select id, attempt, phone, data, next_attempt_at from prospects
                    where campaign_id = w.campaign_id and (next_attempt_at, id) > (w.at, w.id)
                      and next_attempt_at <= :now and {_OPEN} and {_QUEUED}
                    order by next_attempt_at, id limit w.n) due) p
      left join lateral (
           select extract(epoch from next_attempt_at)::float8 as next_due_s from prospects
            where campaign_id = w.campaign_id and next_attempt_at > :now and {_OPEN}
              and coalesce(cardinality(p.ids), 0) < w.n
            order by next_attempt_at limit 1) n on true
""")
# How far back it looks is bounded by what is queued behind the cursor: the hints under way, and the few left behind.
_BEHIND = text(f"""
    select w.campaign_id, p.ids, p.attempts, p.dues
      from unnest({_CAMPAIGNS}, cast(:ats as timestamptz[]), cast(:ids as bigint[])) as w(campaign_id, at, id)
     cross join lateral (
           select array_agg(id) as ids, array_agg(attempt) as attempts,
                  array_agg(extract(epoch from next_attempt_at)::float8) as dues
             from (select id, attempt, next_attempt_at from prospects
                    where campaign_id = w.campaign_id and (next_attempt_at, id) <= (w.at, w.id)
                      and {_OPEN} and {_QUEUED}
                    order by next_attempt_at, id limit :limit) due) p
""")
_BY_ID = text(f"""
    select w.campaign_id, p.ids, p.attempts, p.phones, p.senders, p.last_dids, p.last_outcomes, p.dues, p.datas
      from (select campaign_id, is_direct, array_agg(id) as wanted
              from unnest({_CAMPAIGNS}, cast(:ids as bigint[]), cast(:direct as boolean[]))
                   as u(campaign_id, id, is_direct) group by 1, 2) w
     cross join lateral (
           select {_ARRAYS} from prospects due
            where campaign_id = w.campaign_id and id = any(w.wanted) and next_attempt_at <= :now and {_QUEUED}) p
""")
MOST_BEHIND = 50_000
# Real time between the stamp of a one-off contact and its commit, with room for clocks that disagree. What comes later
# the rescue finds.
LOOK_BACK_S = 3.0


async def claim(
    engine: AsyncEngine, wanted: Sequence[tuple[Walk, int]], now: datetime, speed: float = 1.0
) -> list[Claim]:
    """Up to so many due prospects of each campaign, in its order; one Claim per campaign, in order.

    The claim of a woken walk of one-off contacts begins up to `LOOK_BACK_S` (at the clock's `speed`) before its cursor.
    """
    params = _positions([walk for walk, _ in wanted])
    params |= {
        "counts": arrays.numbers(count for _, count in wanted),
        "direct": [walk.campaign.is_direct for walk, _ in wanted],
        "back_to": _back_to([walk for walk, _ in wanted], now - timedelta(seconds=LOOK_BACK_S * speed)),
        "now": now,
    }
    async with engine.connect() as conn:
        rows = {row.campaign_id: row for row in await conn.execute(_CLAIM, params)}
    claims = []
    for walk, count in wanted:
        row = rows[walk.campaign.id]
        if not row.ids:
            claims.append(Claim([], walk.cursor, row.next_due_s))
            continue
        due = _due(row)
        claims.append(Claim(due, Position(row.last_at, row.ids[-1]), row.next_due_s if len(due) < count else None))
    return claims


async def queued_behind(engine: AsyncEngine, walks: Sequence[Walk]) -> dict[int, dict[int, Queued]]:
    """What is still queued at or before each cursor, by campaign and prospect, at most `MOST_BEHIND` each."""
    async with engine.connect() as conn:
        rows = await conn.execute(_BEHIND, _positions(walks) | {"limit": MOST_BEHIND})
        return {
            row.campaign_id: dict(zip(row.ids or (), map(Queued, row.attempts or (), row.dues or ()), strict=True))
            for row in rows
        }


async def read_due(
    engine: AsyncEngine, wanted: Mapping[int, tuple[bool, Sequence[int]]], now: datetime
) -> dict[int, list[Due]]:
    """Those of the named prospects that are queued and due; `wanted` is campaign → (is direct, prospect ids).

    An attempt may have ended since they were named: whoever is to be tried again in four hours is not due.
    """
    pairs = [(campaign_id, each, direct) for campaign_id, (direct, ids) in wanted.items() for each in ids]
    params = {
        "campaigns": arrays.numbers(pair[0] for pair in pairs),
        "ids": arrays.numbers(pair[1] for pair in pairs),
        "direct": [pair[2] for pair in pairs],
        "now": now,
    }
    async with engine.connect() as conn:
        rows = await conn.execute(_BY_ID, params)
        return {row.campaign_id: _due(row) for row in rows if row.ids}


def _due(row: Any) -> list[Due]:
    return list(
        map(Due, row.ids, row.attempts, row.phones, row.senders, row.last_dids, row.dues, row.datas, row.last_outcomes)
    )


def _back_to(walks: Sequence[Walk], moment: datetime) -> list[str]:
    return [moment.isoformat() if walk.campaign.is_direct and walk.is_woken else "infinity" for walk in walks]


def _positions(walks: Sequence[Walk]) -> dict[str, object]:
    return {
        "campaigns": arrays.numbers(walk.campaign.id for walk in walks),
        "ats": [walk.cursor.at for walk in walks],
        "ids": arrays.numbers(walk.cursor.id for walk in walks),
    }
