"""When a campaign will end and what holds it back: its rest as PostgreSQL has it, run on a virtual clock.

The run itself is pure (`engine.rules.forecast`). A campaign that is not dialing is taken as if it were from now on.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.dispatch import opening
from engine.dispatch.campaigns import CampaignFacts, load_campaign
from engine.outlook.supply import limits_of
from engine.rules.forecast import Course, Fate, Setup, forecast
from engine.rules.forecast_demand import Cohort
from engine.rules.forecast_fates import LEAST_SEEN, Seen, fates_of, patience_s, silent, typical
from engine.rules.telephony import Channel
from engine.rules.whereabouts import whereabouts
from engine.rules.window import Hours, hours
from engine.runtime import Runtime
from engine.store import forecast_facts
from engine.store.campaigns import Campaign
from engine.store.forecast_facts import Group

LONGEST_PATIENCE_S = 86_400.0  # engine time
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
        facts = await load_campaign(conn, campaign.id, runtime.settings.did_policy)
        basis = await _basis(conn, runtime, campaign, now)
        groups = await forecast_facts.waiting(conn, campaign.id, now, _silent_since(basis.fates, now))
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
        under_way=[_begun(group, runtime.settings.delivery_deadline_s) for group in open_ if group.is_under_way],
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


async def _basis(conn: AsyncConnection, runtime: Runtime, campaign: Campaign, now: datetime) -> Basis:
    own = await _seen(conn, runtime, campaign, [campaign.id], now)
    if (count := sum(each.attempts for each in own)) >= LEAST_SEEN:
        return Basis(OWN, count, fates_of(own))
    for only_alike in (True, False):
        latest = await forecast_facts.latest_campaigns(conn, campaign.id, only_alike=only_alike)
        seen = await _seen(conn, runtime, campaign, [campaign.id, *latest], now)
        if (count := sum(each.attempts for each in seen)) >= LEAST_SEEN:
            return Basis(ACCOUNTS, count, fates_of(seen))
    return Basis(TYPICAL, 0, typical(campaign.channel, runtime.clock.speed, runtime.settings.delivery_deadline_s))


async def _seen(
    conn: AsyncConnection, runtime: Runtime, campaign: Campaign, ids: Sequence[int], now: datetime
) -> list[Seen]:
    """What has ended, and the texts that nothing will be heard of: without them it would seem to end days too early."""
    found = await forecast_facts.seen(conn, ids, runtime.clock.speed)
    if campaign.channel == Channel.SMS and found:
        count = await forecast_facts.silent(conn, ids, _silent_since(fates_of(found), now))
        found += [silent(count, runtime.settings.delivery_deadline_s)] if count else []
    return found


def _silent_since(fates: Sequence[Fate], now: datetime) -> datetime:
    """Texts that were sent by then and are not reported on will not be."""
    return now - timedelta(seconds=min(patience_s(fates), LONGEST_PATIENCE_S))


def _begun(group: Group, deadline_s: float) -> Cohort:
    cohort = _cohort(group)
    return cohort if group.silent_since_s is None else cohort._replace(due_s=group.silent_since_s + deadline_s)


def _cohort(group: Group) -> Cohort:
    return Cohort(whereabouts(group.phone, group.data or None), group.attempt, group.due_s, group.people)


def _hours(facts: CampaignFacts) -> Hours:
    return hours(facts.channel, facts.purpose, facts.mode.is_automated, facts.schedule, AHEAD_S)
