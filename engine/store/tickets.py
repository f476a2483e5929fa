"""A campaign's tickets: intents whose create may still begin. A pause or cancel is answered when none is open (P3)."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import boottime, real_now
from engine.rules.attempt import AttemptState
from engine.store.database import autocommit

TICKET_S = 2.0
TICKET_GRACE_S = 0.2  # between a ticket's last moment and the answer that no create begins any more
_POLL_S, _LONGEST_POLL_S = 0.005, 0.08

# Intents set `check_at` seconds past their ticket's end, so the open ones are a short stretch at the front of that
# index. Before it lies only what is overdue: seen from there on, tickets are also found when a clock was set forward
# meanwhile; the quarter of an hour is for clocks that are behind. Where one was set forward, the watch soon has its
# doubts about an attempt whose create may still begin; so those in doubt are waited for as well. `+ 0` keeps the
# planner from trusting statistics of a column that changes by the second.
_OPEN = f"state + 0 in ({AttemptState.RESERVED:d}, {AttemptState.UNKNOWN:d})"
_OPEN_TICKETS = text(f"""
    select prospect_id, attempt, try from attempts
     where check_at < cast(:now as timestamptz) + interval '15 minutes'
       and {_OPEN} and campaign_id = :id
""")
_STILL_OPEN = text(f"""
    select exists (
        select from unnest(cast(:prospects as bigint[]), cast(:attempts as smallint[]), cast(:tries as smallint[]))
                    as t(prospect_id, attempt, try)
         cross join lateral (select try, state from attempts
                              where prospect_id = t.prospect_id and attempt = t.attempt offset 0) a
         where a.try = t.try and a.{_OPEN})
""")


class Ticket(NamedTuple):
    """One try of an attempt whose create may still begin."""

    prospect_id: int
    attempt: int
    try_no: int


async def await_tickets(engine: AsyncEngine, campaign_id: int, bound_s: float) -> None:
    """Returns when no ticket of the campaign is open, at the latest after `bound_s`, when all have expired.

    Call it after the commit of a state that allows no new intent: the open ones can then only become fewer.
    """
    deadline = boottime() + bound_s
    tickets = await open_tickets(engine, campaign_id)
    poll_s = _POLL_S
    while tickets and (left_s := deadline - boottime()) > 0:
        await asyncio.sleep(min(poll_s, left_s))
        poll_s = min(2 * poll_s, _LONGEST_POLL_S)
        if not await are_open(engine, tickets):
            return


async def open_tickets(engine: AsyncEngine, campaign_id: int) -> list[Ticket]:
    """The intents of the campaign whose create may still begin."""
    async with autocommit(engine).connect() as conn:
        rows = await conn.execute(_OPEN_TICKETS, {"id": campaign_id, "now": real_now()})
        return [Ticket(row.prospect_id, row.attempt, row[2]) for row in rows]


async def are_open(engine: AsyncEngine, tickets: Sequence[Ticket]) -> bool:
    """Whether the create of any of them may still begin."""
    prospects, attempts, tries = (list(column) for column in zip(*tickets, strict=True))
    async with autocommit(engine).connect() as conn:
        params = {"prospects": prospects, "attempts": attempts, "tries": tries}
        return bool((await conn.execute(_STILL_OPEN, params)).scalar())
