"""How many calls are up, by PostgreSQL's own count: what limits on calls at one time are judged by.

A call is up from its intent to its recorded end. No lease of it can be lost or forgotten, and what a dead worker leaves
behind ends by its watch (`attempts.check_at`): ring time, longest call, and the carrier's last word.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.rules.attempt import AgentState, AttemptState
from engine.rules.pacing import Calls
from engine.rules.telephony import Channel
from engine.store import arrays

# Real: the longest call, and what the carrier is asked after it. Campaigns over for longer have no call up.
LONGEST_CALL = timedelta(hours=5)

_OF_CAMPAIGNS = text("""
    select campaign_id, sum(dialing)::bigint as up from campaign_counts
     where campaign_id = any(cast(:ids as bigint[])) group by campaign_id
""")
_OF_CARRIERS = text(f"""
    select c.account_id, c.carrier, sum(n.dialing)::bigint as up
      from unnest(cast(:accounts as bigint[]), cast(:carriers as text[])) as u(account_id, carrier)
      join campaigns c on c.account_id = u.account_id and c.carrier = u.carrier
      join campaign_counts n on n.campaign_id = c.id
     where c.channel = '{Channel.VOICE}' and (c.ended_at is null or c.ended_at > :since)
     group by 1, 2
""")
# `+ 0`: the planner must not trust the statistics of a column that changes by the second. A machine needs no agent.
_WITH_AGENTS = text(f"""
    select campaign_id,
           count(*) filter (where state + 0 < {AttemptState.ANSWERED:d}) as ringing,
           count(*) filter (where state + 0 >= {AttemptState.ANSWERED:d}
                              and agent_state + 0 <> {AgentState.BRIDGED:d}) as waiting,
           count(*) filter (where state + 0 >= {AttemptState.ANSWERED:d}
                              and agent_state + 0 = {AgentState.BRIDGED:d}) as talking
      from attempts
     where needs_agent and check_at is not null and campaign_id = any(cast(:ids as bigint[]))
       and ended_at is null and state + 0 <> {AttemptState.MACHINE:d}
     group by campaign_id
""")


async def of_campaigns(conn: AsyncConnection, ids: Collection[int]) -> dict[int, int]:
    rows = await conn.execute(_OF_CAMPAIGNS, {"ids": arrays.numbers(sorted(ids))})
    return {row.campaign_id: row.up for row in rows}


async def of_carriers(
    conn: AsyncConnection, carriers: Sequence[tuple[int, str]], now: datetime, speed: float
) -> dict[tuple[int, str], int]:
    """By (account, carrier's name), over all campaigns and one-off calls. `now` is engine time."""
    params = {
        "accounts": arrays.numbers([account_id for account_id, _ in carriers]),
        "carriers": arrays.texts([carrier for _, carrier in carriers]),
        "since": now - LONGEST_CALL * speed,
    }
    return {(row.account_id, row.carrier): row.up for row in await conn.execute(_OF_CARRIERS, params)}


async def with_agents(conn: AsyncConnection, ids: Collection[int]) -> dict[int, Calls]:
    """Calls that hold an agent or may need one, of campaigns that pace by their agents."""
    rows = await conn.execute(_WITH_AGENTS, {"ids": arrays.numbers(sorted(ids))})
    return {row.campaign_id: Calls(row.ringing, row.waiting, row.talking) for row in rows}
