"""P1: no prospect is lost. The counters add up, say what the rows say, and nothing open is forgotten."""

from sqlalchemy import text

from engine.checks.evidence import Evidence
from engine.ids import encode
from engine.rules.prospect import Outcome, ProspectState
from engine.rules.stats import COUNTERS, imbalance

_SUMS = text(f"""
    select campaign_id, {", ".join(f"sum({name})::bigint as {name}" for name in COUNTERS)}
      from campaign_counts group by campaign_id order by campaign_id
""")

# A queued row of a cancelled campaign is cancelled: the sweep has not come by yet.
_IS_QUEUED = f"p.state = {ProspectState.QUEUED:d} and c.status <> 'cancelled'"
_CONDITIONS = {
    "total": "true",
    "queued": _IS_QUEUED,
    "retrying": f"{_IS_QUEUED} and p.attempt > 1",
    "cancelled": f"(p.state = {ProspectState.CANCELLED:d}"
    f" or p.state = {ProspectState.QUEUED:d} and c.status = 'cancelled')",
    "suppressed": f"p.state = {ProspectState.CANCELLED:d} and p.reason in ('suppressed', 'opted_out')",
    **{state.label: f"p.state = {state:d}" for state in ProspectState if state.label not in ("queued", "cancelled")},
    **{outcome.label: f"p.state = {ProspectState.COMPLETED:d} and p.outcome = {outcome:d}" for outcome in Outcome},
}
_RECOUNT = text(f"""
    with found as (
        select p.campaign_id, {", ".join(f"count(*) filter (where {_CONDITIONS[name]}) as {name}" for name in COUNTERS)}
          from prospects p join campaigns c on c.id = p.campaign_id group by p.campaign_id
    ), counted as (
        select campaign_id, {", ".join(f"sum({name}) as {name}" for name in COUNTERS)}
          from campaign_counts group by campaign_id
    )
    select campaign_id, {", ".join(f"coalesce(f.{name}, 0)::bigint as found_{name}" for name in COUNTERS)},
           {", ".join(f"coalesce(n.{name}, 0)::bigint as counted_{name}" for name in COUNTERS)}
      from found f full join counted n using (campaign_id) order by campaign_id
""")
_OPEN_IN_FINISHED = text(f"""
    select c.id, c.status, count(*) as open
      from campaigns c join prospects p on p.campaign_id = c.id
     where c.status = 'completed'
       and (p.next_attempt_at < 'infinity' or p.state not in ({ProspectState.COMPLETED:d}, {ProspectState.CANCELLED:d}))
     group by c.id order by c.id
""")
_FORGOTTEN = text(f"""
    select campaign_id, id, state, next_attempt_at = 'infinity' as is_over from prospects
     where (next_attempt_at = 'infinity') <> (state in ({ProspectState.COMPLETED:d}, {ProspectState.CANCELLED:d}))
     order by campaign_id, id limit 1000
""")


async def counts_add_up(evidence: Evidence) -> list[str]:
    """States add up to `total`, outcomes to `completed`, and no counter is negative."""
    async with evidence.engine.connect() as conn:
        rows = (await conn.execute(_SUMS)).all()
    return [
        f"{encode('camp', row.campaign_id)}: {problem}"
        for row in rows
        for problem in imbalance({name: getattr(row, name) for name in COUNTERS})
    ]


async def counts_equal_rows(evidence: Evidence) -> list[str]:
    """Every counter of every campaign equals a recount of its prospects."""
    async with evidence.engine.connect() as conn:
        rows = (await conn.execute(_RECOUNT)).mappings().all()
    return [
        f"{encode('camp', row['campaign_id'])}: {name} is counted as {counted}, the rows say {found}"
        for row in rows
        for name in COUNTERS
        if (counted := row[f"counted_{name}"]) != (found := row[f"found_{name}"])
    ]


async def completed_have_no_open(evidence: Evidence) -> list[str]:
    """A completed campaign has no prospect that is still to be contacted."""
    async with evidence.engine.connect() as conn:
        rows = (await conn.execute(_OPEN_IN_FINISHED)).all()
    return [f"{encode('camp', row.id)}: {row.status} with {row.open} open prospects" for row in rows]


async def open_are_due(evidence: Evidence) -> list[str]:
    """A prospect has a time at which it is due exactly as long as it is open."""
    async with evidence.engine.connect() as conn:
        rows = (await conn.execute(_FORGOTTEN)).all()
    return [
        f"{encode('camp', row.campaign_id)} {encode('pros', row.id)}: {ProspectState(row.state).label},"
        f" yet {'never due again' if row.is_over else 'still due'}"
        for row in rows
    ]
