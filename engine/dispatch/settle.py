"""Settling: what became known of up to five hundred attempts, written in one transaction with all that follows from it.

Shared locks on the campaigns come first (and, for an opt-out, the phone's), then the attempts' rows in ascending order;
only what is read after that decides. Several reports of one attempt are folded into one row, for `UPDATE … FROM` would
keep one of them. Nothing here asks how often a report came: a row that has moved on makes a repeat change nothing.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from random import Random
from types import MappingProxyType

import orjson
import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine import metrics
from engine.carriers.port import Command, Outcome, Receipt
from engine.clock import Clock, real_now, real_s
from engine.dispatch import facts, opening, orders, record
from engine.dispatch.breath import breathing
from engine.dispatch.facts import AttemptKey, Campaign
from engine.dispatch.orders import Order
from engine.dispatch.record import Settled
from engine.ids import attempt_ref, encode, parse_attempt_ref
from engine.rules import call_flow, reports, sms_flow
from engine.rules.decision import LABELS, AttemptView, CallPlan, Decision, SmsPlan
from engine.rules.reports import Report
from engine.rules.telephony import Channel, Fault
from engine.settings import Settings
from engine.store import arrays, campaigns, locks
from engine.store.callbacks import decode_event
from engine.store.database import autocommit

log = structlog.get_logger(__name__)

# A carrier may speak only of its own attempts, however well it signs.
_OPEN_CALLBACKS = text("""
    select c.id, c.campaign_id, c.prospect_id, c.attempt, (c.event - 'raw')::text as event,
           a.carrier is null or a.carrier = c.carrier as is_its_own
      from carrier_callbacks c
      left join lateral (select carrier from attempts
                          where prospect_id = c.prospect_id and attempt = c.attempt offset 0) a on true
     where c.id = any(cast(:ids as bigint[])) and c.processed_at is null order by c.id
""")
_PROCESSED = text("""
    update carrier_callbacks set processed_at = :now
     where id = any(cast(:ids as bigint[])) and processed_at is null
""")


@dataclass(frozen=True, slots=True)
class SettleContext:
    """`writer` is the process's own number for counters; `document_carriers` are those whose commands are documents."""

    clock: Clock
    settings: Settings
    writer: int
    document_carriers: frozenset[str] = frozenset()
    random: Random = field(default_factory=Random)


@dataclass(slots=True)
class SettleResult:
    """`commands` are to be carried out now (`engine.dispatch.commands`). The rest is for whoever is curious."""

    commands: list[Order] = field(default_factory=list)
    released: list[AttemptKey] = field(default_factory=list)  # queued again without a contact
    paused: dict[int, str] = field(default_factory=dict)  # campaigns, and why
    unmatched: list[AttemptKey] = field(default_factory=list)
    ended: Counter[tuple[Channel, str]] = field(default_factory=Counter)  # by what outcome


def reports_of(receipt: Receipt, try_no: int) -> list[Report]:
    """What the answer to a create says."""
    match receipt.outcome:
        case Outcome.ACCEPTED:
            whole = [reports.carrier(event, is_whole=True) for event in receipt.events]
            return [reports.accepted(try_no, receipt.carrier_id), *whole]
        case Outcome.REJECTED if receipt.error is not None:
            return [reports.rejected(try_no, receipt.error)]
        case Outcome.NOT_SENT:
            return [reports.not_sent(try_no, receipt.error.code if receipt.error else "not_sent")]
    return [reports.doubtful(try_no)]


async def settle(
    engine: AsyncEngine,
    told: Mapping[AttemptKey, Sequence[Report]],
    context: SettleContext,
    known: Mapping[AttemptKey, AttemptView] = MappingProxyType({}),
) -> SettleResult:
    """Folds and writes what was learned, then pauses campaigns whose sender the carrier refuses.

    `known` holds rows as their own intent has just written them: they are updated without being read, if they are still
    so. Raises what PostgreSQL raises; nothing is then written, and all of it may be settled again.
    """
    result = SettleResult()
    rest = told
    if known:
        mine = {key: found for key, found in told.items() if key in known and not may_suppress(found)}
        if mine:
            async with engine.begin() as conn:
                lost = await _settle_known(conn, mine, known, context, result)
            rest = {key: found for key, found in told.items() if key in lost or key not in mine}
    if rest:
        async with engine.begin() as conn:
            await _settle_locked(conn, rest, context, result)
    await _after_commit(engine, context, result)
    return result


async def settle_callbacks(
    engine: AsyncEngine,
    callback_ids: Collection[int],
    context: SettleContext,
    *,
    besides: Mapping[AttemptKey, Sequence[Report]] = MappingProxyType({}),
    renders: bool = False,
) -> SettleResult:
    """Settles rows of the inbox that nobody has settled yet, and marks them, in one transaction; `besides`, what was
    learned otherwise meanwhile.

    Two workers with the same ids fold the same reports, one after the other: the second finds nothing left to change.
    `renders`: a command becomes the answer to the very callback (`settle_inline`).
    """
    result = SettleResult()
    async with engine.begin() as conn:
        ids, told = await _read_callbacks(conn, callback_ids)
        for key, found in besides.items():
            told[key] = [*found, *told.get(key, ())]
        if told:
            await _settle_locked(conn, told, context, result, renders=renders)
        for key in result.unmatched:
            log.warning("callback.unmatched", attempt=attempt_ref(key.campaign_id, key.prospect_id, key.attempt))
        if ids:
            await conn.execute(_PROCESSED, {"ids": arrays.numbers(ids), "now": real_now()})
    await _after_commit(engine, context, result)
    return result


async def settle_inline(
    engine: AsyncEngine, ref: str, event_keys: Collection[str], callback_ids: Collection[int], context: SettleContext
) -> Command | None:
    """For the api: settles a document carrier's callback and returns what to answer it with.

    `event_keys` are those of the callback's own reports, `callback_ids` the unsettled ones. A repeat gets the plan that
    the first one got, as long as it stands; any other report of the call gets none, or it would be carried out twice.
    """
    parsed = parse_attempt_ref(ref)
    if parsed is None:
        return None
    campaign_id, prospect_id, attempt = parsed
    if callback_ids:
        await settle_callbacks(engine, callback_ids, context, renders=True)
    async with autocommit(engine).connect() as conn:
        views = await facts.read_attempts(conn, [AttemptKey(campaign_id, prospect_id, attempt)])
    command = views[0].command if views else None
    if command is None or not command["rendered"] or command["cause"] not in event_keys:
        return None
    return orders.build(orders.order_of(views[0], views[0].carrier_id or "", command), context.settings)


async def _read_callbacks(
    conn: AsyncConnection, callback_ids: Collection[int]
) -> tuple[list[int], dict[AttemptKey, list[Report]]]:
    ids: list[int] = []
    told: dict[AttemptKey, list[Report]] = {}
    rows = await conn.execute(_OPEN_CALLBACKS, {"ids": arrays.numbers(sorted(set(callback_ids)))})
    for callback_id, campaign_id, prospect_id, attempt, event, is_its_own in rows:
        ids.append(callback_id)
        if not is_its_own:
            log.warning("callback.foreign", attempt=attempt_ref(campaign_id, prospect_id, attempt))
            continue
        report = reports.carrier(decode_event({**orjson.loads(event), "raw": {}}))
        told.setdefault(AttemptKey(campaign_id, prospect_id, attempt), []).append(report)
    return ids, told


async def _settle_locked(
    conn: AsyncConnection,
    told: Mapping[AttemptKey, Sequence[Report]],
    context: SettleContext,
    result: SettleResult,
    *,
    renders: bool = False,
) -> None:
    await _lock(conn, told)
    known_campaigns = await _load_campaigns(conn, told, context)
    views = await facts.lock_attempts(conn, told)
    now, now_real_s = context.clock.now(), real_s()
    plans = await facts.load_one_off_plans(conn, told, known_campaigns)
    settled: list[Settled] = []
    async for view in breathing(views):
        campaign = known_campaigns[view.campaign_id]
        found = told[AttemptKey(view.campaign_id, view.prospect_id, view.attempt)]
        decision = fold(view, found, campaign, plans.get(view.prospect_id), now, now_real_s, renders=renders)
        settled.append((campaign, decision))
    if len(views) < len(told):
        result.unmatched += told.keys() - {record.key_of(decision) for _, decision in settled}
    changed = [each for each in settled if each[1].is_changed]
    await record.write(conn, changed, context.random, context.settings, context.writer)
    for campaign, decision in settled:
        collect(decision, campaign, result)


async def _settle_known(
    conn: AsyncConnection,
    told: Mapping[AttemptKey, Sequence[Report]],
    known: Mapping[AttemptKey, AttemptView],
    context: SettleContext,
    result: SettleResult,
) -> set[AttemptKey]:
    """No report of these may suppress. Returns the attempts whose row was not as its intent wrote it."""
    await locks.lock_shared(conn, {locks.campaign_key(key.campaign_id) for key in told})
    known_campaigns = await _load_campaigns(conn, told, context)
    plans = await facts.load_one_off_plans(conn, told, known_campaigns)
    now, now_real_s = context.clock.now(), real_s()
    settled: list[Settled] = []
    async for key in breathing(sorted(told, key=facts.lock_order)):
        campaign = known_campaigns[key.campaign_id]
        decision = fold(known[key], told[key], campaign, plans.get(key.prospect_id), now, now_real_s)
        settled.append((campaign, decision))
    kept = await record.write(conn, settled, context.random, context.settings, context.writer)
    for campaign, decision in kept:
        collect(decision, campaign, result)
    if len(kept) == len(told):
        return set()
    return told.keys() - {record.key_of(decision) for _, decision in kept}


async def _lock(conn: AsyncConnection, told: Mapping[AttemptKey, Sequence[Report]]) -> None:
    """Campaigns shared; the phones of possible opt-outs exclusive. A phone never changes, so it is read before."""
    shared = {locks.campaign_key(key.campaign_id) for key in told}
    if stopping := [key for key in told if may_suppress(told[key])]:
        views = await facts.read_attempts(conn, stopping)
        phones = {locks.phone_key(view.account_id, view.phone) for view in views}
        await locks.lock_shared_and_exclusive(conn, shared, phones)
    else:
        await locks.lock_shared(conn, shared)


def may_suppress(told: Sequence[Report]) -> bool:
    for report in told:
        error = report.error or (report.event.error if report.event is not None else None)
        if error is not None and error.fault is Fault.OPTED_OUT:
            return True
    return False


async def _load_campaigns(
    conn: AsyncConnection, told: Collection[AttemptKey], context: SettleContext
) -> dict[int, Campaign]:
    limits = facts.limits_of(context.settings, context.clock.speed)
    ids = {key.campaign_id for key in told}
    takes = opening.takes(context.settings.ticket_s, context.clock)
    return await facts.load_campaigns(conn, ids, limits, context.document_carriers, takes)


def fold(
    view: AttemptView,
    told: Sequence[Report],
    campaign: Campaign,
    one_off: CallPlan | SmsPlan | None,
    now: datetime,
    now_real_s: float,
    *,
    renders: bool = False,
) -> Decision:
    ref = attempt_ref(view.campaign_id, view.prospect_id, view.attempt)
    plan = one_off or campaign.plan
    if isinstance(plan, SmsPlan):
        return sms_flow.fold(view, told, plan, now, now_real_s, ref)
    if renders and plan.is_document:
        plan = replace(plan, renders=True)
    return call_flow.fold(view, told, plan, now, now_real_s, ref)


def collect(decision: Decision, campaign: Campaign, result: SettleResult) -> None:
    view = decision.view
    if decision.is_command_due and decision.command is not None and decision.carrier_id is not None:
        result.commands.append(orders.order_of(view, decision.carrier_id, decision.command))
    if decision.is_released:
        result.released.append(record.key_of(decision))
        if decision.pause_reason:
            result.paused[view.campaign_id] = decision.pause_reason
    if decision.is_ended and decision.outcome is not None:
        result.ended[campaign.channel, LABELS[decision.outcome]] += 1


async def _after_commit(engine: AsyncEngine, context: SettleContext, result: SettleResult) -> None:
    """A pause needs the key exclusive that settling holds shared, so it follows. Lost in a crash, the next create that
    the carrier refuses for the same reason pauses again."""
    for (channel, outcome), count in result.ended.items():
        metrics.ATTEMPTS.labels(channel, outcome).inc(count)
    for campaign_id, reason in result.paused.items():
        await campaigns.pause_for(engine, campaign_id, reason, context.clock.now())
        log.warning("campaign.paused", campaign=encode("camp", campaign_id), reason=reason)
