"""When a campaign will end and what holds it back: its rest as PostgreSQL has it, run on a virtual clock.

The run itself is pure (`engine.rules.forecast`). A campaign that is not dialing is taken as if it were from now on.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.dispatch import opening
from engine.dispatch.campaigns import CampaignFacts, load_campaigns
from engine.outlook.supply import limits_of
from engine.rules.forecast import Course, Fate, Setup, forecast
from engine.rules.forecast_demand import Cohort
from engine.rules.forecast_fates import LEAST_SEEN, fates_of, typical
from engine.rules.whereabouts import whereabouts
from engine.rules.window import Hours, hours
from engine.runtime import Runtime
from engine.store import forecast_facts
from engine.store.campaigns import Campaign
from engine.store.forecast_facts import Group

OWN, ACCOUNTS, TYPICAL = "campaign", "account", "typical"
AHEAD_S = -1.0  # of `hours`: a forecast's look into the future has a memory of its own


@dataclass(frozen=True, slots=True)
class Basis:
    """Whose attempts the outcomes are taken from, and how many."""

    source: str
    attempts: int
    fates: Sequence[Fate]

    @property
    def shares(self) -> dict[str, float]:
        """By outcome; failures of both kinds together."""
        found: dict[str, float] = {}
        for fate in self.fates:
            found[fate.outcome] = found.get(fate.outcome, 0.0) + fate.share
        return found


@dataclass(frozen=True, slots=True)
class Outlook:
    at: datetime
    waiting: int
    under_way: int
    lacking_data: int  # held until a file has their data
    basis: Basis
    course: Course


async def look_ahead(runtime: Runtime, campaign: Campaign) -> Outlook:
    """Reads and runs; seconds for a million people. Raises what PostgreSQL raises."""
    now = runtime.clock.now()
    async with runtime.db.begin() as conn:
        await conn.execute(text("set transaction read only"))
        await conn.execute(text("set local statement_timeout = 0"))  # a million rows take their time
        facts = (await load_campaigns(conn, [campaign.id], runtime.settings.did_policy))[campaign.id]
        basis = await _basis(conn, campaign, runtime.clock.speed)
        groups = await forecast_facts.waiting(conn, campaign.id, now)
        under_way = sum(group.people for group in groups if group.is_under_way)
        limits = await limits_of(conn, runtime, campaign, facts, basis.fates, under_way, now)
    open_ = [group for group in groups if not group.lacks_data]
    setup = Setup(
        now_s=now.timestamp(),
        hours=_hours(facts),
        takes_s=opening.takes(runtime.settings.ticket_s, runtime.clock).total_seconds(),
        retry=facts.mode.retry,
        fates=basis.fates,
        limits=limits,
        cohorts=[_cohort(group) for group in open_ if not group.is_under_way],
        under_way=[_cohort(group) for group in open_ if group.is_under_way],
        pace_per_s=facts.calls_per_second / runtime.clock.speed,
    )
    course = await asyncio.to_thread(forecast, setup)  # the api goes on serving
    return Outlook(
        at=now,
        waiting=sum(each.people for each in setup.cohorts),
        under_way=under_way,
        lacking_data=sum(group.people for group in groups if group.lacks_data),
        basis=basis,
        course=course,
    )


async def _basis(conn: AsyncConnection, campaign: Campaign, speed: float) -> Basis:
    own = await forecast_facts.seen(conn, [campaign.id], speed)
    if (count := sum(each.attempts for each in own)) >= LEAST_SEEN:
        return Basis(OWN, count, fates_of(own))
    latest = await forecast_facts.latest_campaigns(conn, campaign.account_id, campaign.channel, campaign.id)
    seen = await forecast_facts.seen(conn, [campaign.id, *latest], speed)
    if (count := sum(each.attempts for each in seen)) >= LEAST_SEEN:
        return Basis(ACCOUNTS, count, fates_of(seen))
    return Basis(TYPICAL, 0, typical(campaign.channel, speed))


def _cohort(group: Group) -> Cohort:
    return Cohort(whereabouts(group.phone, group.data or None), group.attempt, group.due_s, group.people)


def _hours(facts: CampaignFacts) -> Hours:
    return hours(facts.channel, facts.purpose, facts.mode.is_automated, facts.schedule, AHEAD_S)
