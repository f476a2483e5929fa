"""Looks at attempts whose time has come: doubtful creates, silent calls, missing agents, lost commands, late reports.

What cannot wait (a person without an agent, a lost command) is settled at once. For the rest the carrier is asked,
after every deadline of the create has passed, and what it knows is folded like any report. `absent` counts only from a
carrier whose look-up is authoritative, and only for a create that was never answered and was doubtful before this look:
its worker saw it end so, or an earlier look found no answer and as much time has passed since as a create may take. The
row's own times would not do: they are another machine's, and clocks are set.

Nothing waits for a look-up: one that is lost, or not begun, leaves its row as it is, and the coordinator asks for that
again within seconds.
"""

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime
from functools import partial

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.carriers.port import Lookup, LookupState
from engine.clock import boottime, real_now
from engine.dispatch import facts, opening
from engine.dispatch.commands import Carriers, Learn
from engine.dispatch.facts import AttemptKey, Campaign
from engine.dispatch.settle import SettleContext
from engine.ids import attempt_ref
from engine.rules import call_flow, reports, sms_flow
from engine.rules.attempt import AttemptState
from engine.rules.decision import UNANSWERED, AttemptView, CallPlan, SmsPlan
from engine.rules.reports import Report
from engine.store.database import autocommit

log = structlog.get_logger(__name__)

LOOKUPS_AT_ONCE = 32

Watched = tuple[AttemptView, Campaign]


class Lookups:
    """What this process asks carriers: `LOOKUPS_AT_ONCE` together, of all batches, one at a time of each attempt."""

    def __init__(self, carriers: Carriers, learn: Learn, patience_s: float) -> None:
        """One whose turn does not come within `patience_s` is given up: its row was read too long ago to decide by."""
        self._carriers = carriers
        self._learn = learn
        self._patience_s = patience_s
        self._permits = asyncio.Semaphore(LOOKUPS_AT_ONCE)
        self._under_way: dict[AttemptKey, asyncio.Task[None]] = {}
        self._is_closing = False

    def begin(self, asked: Iterable[Watched], now: datetime) -> None:
        for view, campaign in asked:
            key = _key(view)
            if key not in self._under_way and not self._is_closing:
                task = asyncio.create_task(self._look_up(view, campaign, is_hopeless(view, campaign, now)))
                self._under_way[key] = task
                task.add_done_callback(partial(self._forget, key))

    async def flush(self) -> None:
        """Returns when none waits and none is under way."""
        if self._under_way:
            await asyncio.wait(self._under_way.values())

    async def close(self) -> None:
        """Begins no more, and returns when what is being asked is learned: a carrier's timeout bounds it."""
        self._is_closing = True
        await self.flush()

    async def _look_up(self, view: AttemptView, campaign: Campaign, is_last: bool) -> None:
        too_late = boottime() + self._patience_s
        async with self._permits:
            if self._is_closing or boottime() >= too_late:
                return
            lookup, is_authoritative = await _look_up(view, campaign, self._carriers)
        await self._learn({_key(view): learn(view, lookup, is_authoritative, is_last)})

    def _forget(self, key: AttemptKey, _task: asyncio.Task[None]) -> None:
        del self._under_way[key]


async def watch_attempts(
    engine: AsyncEngine, keys: Collection[AttemptKey], context: SettleContext, lookups: Lookups, learn: Learn
) -> None:
    """Learns what can be known at once of those among `keys` whose time has come, and begins to look up the others."""
    due = await read_due(engine, keys, context)
    now = context.clock.now()
    lookups.begin([each for each in due if needs_lookup(*each, now)], now)
    # A look-up may take its whole timeout: a person who waits for a word must not wait for that too.
    if prompt := {_key(view): [reports.CHECK] for view, campaign in due if not needs_lookup(view, campaign, now)}:
        await learn(prompt)


async def read_due(engine: AsyncEngine, keys: Collection[AttemptKey], context: SettleContext) -> list[Watched]:
    limits = facts.limits_of(context.settings, context.clock.speed)
    async with autocommit(engine).connect() as conn:
        views = await facts.read_attempts(conn, keys)
        ids = {view.campaign_id for view in views}
        takes = opening.takes(context.settings.ticket_s, context.clock)
        campaigns = await facts.load_campaigns(conn, ids, limits, context.document_carriers, takes)
        now = real_now()
        due = [view for view in views if view.check_at is not None and view.check_at <= now]
        plans = await facts.load_one_off_plans(conn, list(map(_key, due)), campaigns)
    return [(view, with_plan(campaigns[view.campaign_id], plans.get(view.prospect_id))) for view in due]


def with_plan(campaign: Campaign, one_off: CallPlan | SmsPlan | None) -> Campaign:
    """A one-off contact has its own plan: a call may last for another time than calls of campaigns."""
    return campaign if one_off is None else replace(campaign, plan=one_off)


def needs_lookup(view: AttemptView, campaign: Campaign, now: datetime) -> bool:
    return isinstance(campaign.plan, SmsPlan) or call_flow.needs_lookup(view, campaign.plan, now)


def is_hopeless(view: AttemptView, campaign: Campaign, now: datetime) -> bool:
    if isinstance(campaign.plan, SmsPlan):
        return sms_flow.is_hopeless(view, campaign.plan, now)
    return call_flow.is_hopeless(view, campaign.plan, now)


async def _look_up(view: AttemptView, campaign: Campaign, carriers: Carriers) -> tuple[Lookup, bool]:
    ref = attempt_ref(view.campaign_id, view.prospect_id, view.attempt)
    try:
        carrier = carriers[view.carrier]
        return await carrier.lookup(ref, campaign.channel), carrier.caps.authoritative_lookup
    except Exception:
        log.exception("lookup.failed", attempt=ref, carrier=view.carrier)
        return Lookup(LookupState.STILL_UNKNOWN), False


def learn(view: AttemptView, lookup: Lookup, is_authoritative: bool, is_hopeless: bool) -> list[Report]:
    """What a look-up says of an attempt that is due."""
    is_unanswered = view.state in UNANSWERED
    if lookup.state is LookupState.FOUND:
        told = [reports.carrier(event, is_whole=True) for event in lookup.events]
        end = [reports.GIVE_UP] if is_hopeless and not is_unanswered else []
        return [reports.accepted(view.try_no, lookup.carrier_id), *told, reports.CHECK, *end]
    if lookup.state is LookupState.ABSENT and is_authoritative and view.state == AttemptState.UNKNOWN:
        return [reports.absent(view.try_no)]
    # Who was not in doubt before may still be about to be sent, however old the clock says that its intent is.
    return [reports.GIVE_UP if is_hopeless else reports.CHECK]


def _key(view: AttemptView) -> AttemptKey:
    return AttemptKey(view.campaign_id, view.prospect_id, view.attempt)
