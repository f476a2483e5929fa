"""Writes what was decided: attempts, prospects, senders, suppressions, counters and events, each in one statement.

Every update names the state it comes from, so what a rival has moved stays as the rival left it, and only what was
really moved is counted and told.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from operator import add
from random import Random
from typing import Any

import orjson
import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.dispatch.breath import breathing
from engine.dispatch.facts import AttemptKey, Campaign
from engine.rules import did_health
from engine.rules.attempt import AttemptState
from engine.rules.decision import OVER, UNANSWERED, CallPlan, Decision
from engine.rules.did_outcome import kind_of
from engine.rules.events import Owner
from engine.rules.prospect import Outcome, ProspectState
from engine.rules.stats import Delta
from engine.rules.telephony import Channel
from engine.rules.usage import Use, billed, day_of, meter_of
from engine.settings import Settings
from engine.store import arrays, call_hours, counts, lines, outbox, suppressions, usage
from engine.store import did_health as health_store
from engine.store.database import KEYED

log = structlog.get_logger(__name__)

Settled = tuple[Campaign, Decision]

# The tables are large and their statistics old: a hash join would scan a partition for five hundred rows. Workers'
# sessions are made for that; in the api's these hold until the transaction ends.
_PLAN_BY_KEY = text("select set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)")
# `+ 0`: the planner must not trust the statistics of a column that changes by the second. `= any(array[…])` finds a row
# by its key as `=` does, but nothing can be merged by it: while the tables were nearly empty, the planner would read
# all of their rows in the order of the index for that, and the cached plan stays.
_ATTEMPTS = text("""
    update attempts a
       set state = u.state, agent_state = u.agent_state, amd = u.amd, outcome = u.outcome, reason = u.reason,
           carrier_id = u.carrier_id, answered_at = u.answered_at, greeting_ended_at = u.greeting_ended_at,
           ended_at = u.ended_at, duration_s = u.duration_s, check_at = to_timestamp(u.check_s),
           command = cast(u.command as jsonb), command_no = u.command_no,
           error_code = coalesce(u.error_code, a.error_code)
      from unnest(cast(:prospects as bigint[]), cast(:attempts as smallint[]), cast(:tries as smallint[]),
                  cast(:from_states as smallint[]), cast(:states as smallint[]), cast(:agent_states as smallint[]),
                  cast(:amds as text[]), cast(:outcomes as smallint[]), cast(:reasons as text[]),
                  cast(:carrier_ids as text[]), cast(:answered as timestamptz[]), cast(:greeted as timestamptz[]),
                  cast(:ended as timestamptz[]), cast(:durations as int[]), cast(:checks as float8[]),
                  cast(:commands as text[]), cast(:command_nos as smallint[]), cast(:error_codes as text[]))
           as u(prospect_id, attempt, try, from_state, state, agent_state, amd, outcome, reason, carrier_id,
                answered_at, greeting_ended_at, ended_at, duration_s, check_s, command, command_no, error_code)
     where a.prospect_id = any(array[u.prospect_id]) and a.attempt = u.attempt
       and a.try + 0 = u.try and a.state + 0 = u.from_state
    returning a.prospect_id, a.attempt
""")
# Whose columns say where they are is judged by those when the time comes.
_PROSPECTS = text(f"""
    update prospects p
       set state = u.state, attempt = u.next_attempt, outcome = u.outcome, reason = u.reason,
           next_attempt_at = case when u.state = {ProspectState.SENT:d} then p.next_attempt_at
                                  else coalesce(case when p.data is null then u.open_at end, u.next_at, 'infinity') end
      from unnest(cast(:campaigns as bigint[]), cast(:ids as bigint[]), cast(:attempts as smallint[]),
                  cast(:from_states as smallint[]), cast(:states as smallint[]), cast(:next_attempts as smallint[]),
                  cast(:outcomes as smallint[]), cast(:reasons as text[]), cast(:next_at as timestamptz[]),
                  cast(:open_at as timestamptz[]))
           as u(campaign_id, id, attempt, from_state, state, next_attempt, outcome, reason, next_at, open_at)
     where p.campaign_id = any(array[u.campaign_id]) and p.id = u.id
       and p.attempt + 0 = u.attempt and p.state + 0 = u.from_state
    returning p.id
""")
_SENDERS = text("""
    update dids d set sms_free_at = u.free_at
      from unnest(cast(:ids as bigint[]), cast(:free_at as timestamptz[])) as u(id, free_at)
     where d.id = u.id and d.sms_free_at = 'infinity'
""")
_SUPPRESS = text(f"""
    insert into suppressions as s (account_id, phone, reason, source, created_at)
    select account_id, phone, 'opted_out', '{suppressions.CARRIER}', :now
      from unnest(cast(:accounts as bigint[]), cast(:phones as text[])) as u(account_id, phone)
    {suppressions.AGAIN}
""")

# The prospect's state while its attempt is under way; of one that is not, none.
_WHILE_IN: Mapping[Channel, Mapping[int, ProspectState]] = {
    Channel.VOICE: {state: ProspectState.DIALING for state in AttemptState if state not in OVER},
    Channel.SMS: {
        state: ProspectState.SENDING if state in UNANSWERED else ProspectState.SENT
        for state in AttemptState
        if state not in OVER
    },
}


class Move:
    """Where one decision takes its prospect."""

    __slots__ = ("after", "before", "decision", "next_at", "next_attempt", "open_at", "outcome", "reason")

    def __init__(self, decision: Decision, before: ProspectState, after: ProspectState) -> None:
        self.decision = decision
        self.before, self.after = before, after
        self.next_attempt: int = decision.view.attempt
        self.next_at: datetime | None = None
        self.open_at: datetime | None = None
        self.outcome: Outcome | None = None
        self.reason = decision.reason

    @property
    def is_retry(self) -> bool:
        """Queued for an attempt that is not the first: `retrying` in the stats."""
        return self.after is ProspectState.QUEUED and self.next_attempt > 1


def key_of(decision: Decision) -> AttemptKey:
    view = decision.view
    return AttemptKey(view.campaign_id, view.prospect_id, view.attempt)


def move_of(campaign: Campaign, decision: Decision) -> Move | None:
    """None when the prospect stays as it is. A cancelled campaign tries nothing again."""
    while_in = _WHILE_IN[campaign.channel]
    before = while_in.get(decision.view.state)
    if before is None:
        return None
    if decision.is_released:
        move = Move(decision, before, ProspectState.CANCELLED if campaign.is_over else ProspectState.QUEUED)
        move.next_at = None if campaign.is_over else decision.release_at
        return move
    if decision.is_ended:
        is_last = decision.next_attempt_at is None
        move = Move(decision, before, ProspectState.COMPLETED if is_last else ProspectState.QUEUED)
        move.next_at, move.open_at = decision.next_attempt_at, decision.open_at
        if is_last:
            move.outcome = decision.outcome
        else:
            move.next_attempt += 1
        return move
    after = while_in.get(decision.state)
    return Move(decision, before, after) if after is not None and after is not before else None


async def write(
    conn: AsyncConnection, settled: Sequence[Settled], rng: Random, settings: Settings, writer: int
) -> Sequence[Settled]:
    """Writes decisions, in ascending order of their keys; returns those whose row was still as they began with it."""
    if not settled:
        return settled
    if not (conn.sync_connection and conn.sync_connection.get_execution_options().get(KEYED)):
        await conn.execute(_PLAN_BY_KEY)
    found = await conn.execute(_ATTEMPTS, _attempt_columns([decision for _, decision in settled]))
    if found.rowcount != len(settled):
        kept = {tuple(row) for row in found}
        settled = [each for each in settled if (each[1].view.prospect_id, each[1].view.attempt) in kept]
    moves = [move for campaign, decision in settled if (move := move_of(campaign, decision)) is not None]
    moves = await _write_prospects(conn, moves)
    await _free_senders(conn, settled, rng, settings)
    await _suppress(conn, settled)
    await counts.add(conn, deltas_of(moves), writer)
    await usage.add(conn, used_of(settled), writer)
    await _note_outcomes(conn, settled, settings)
    await call_hours.add(conn, hours_of(settled), writer)
    owners = await lines.owners(conn, {decision.view.did_id for _, decision in settled})
    await outbox.publish(conn, await events_of(settled, owners))
    return settled


def _attempt_columns(decisions: Sequence[Decision]) -> dict[str, str]:
    views = [decision.view for decision in decisions]
    return {
        "prospects": arrays.numbers([view.prospect_id for view in views]),
        "attempts": arrays.numbers([view.attempt for view in views]),
        "tries": arrays.numbers([view.try_no for view in views]),
        "from_states": arrays.numbers([view.state for view in views]),
        "states": arrays.numbers([decision.state for decision in decisions]),
        "agent_states": arrays.numbers([decision.agent_state for decision in decisions]),
        "amds": arrays.texts([decision.amd for decision in decisions]),
        "outcomes": arrays.numbers([decision.outcome for decision in decisions]),
        "reasons": arrays.texts([decision.reason for decision in decisions]),
        "carrier_ids": arrays.texts([decision.carrier_id for decision in decisions]),
        "answered": arrays.times([decision.answered_at for decision in decisions]),
        "greeted": arrays.times([decision.greeting_ended_at for decision in decisions]),
        "ended": arrays.times([decision.ended_at for decision in decisions]),
        "durations": arrays.numbers([decision.duration_s for decision in decisions]),
        "checks": arrays.numbers([decision.check_at_s for decision in decisions]),
        "commands": arrays.texts([_json(decision.command) for decision in decisions]),
        "command_nos": arrays.numbers([decision.command_no for decision in decisions]),
        "error_codes": arrays.texts([decision.error_code for decision in decisions]),
    }


async def _write_prospects(conn: AsyncConnection, moves: list[Move]) -> list[Move]:
    if not moves:
        return moves
    views = [move.decision.view for move in moves]
    params = {
        "campaigns": arrays.numbers([view.campaign_id for view in views]),
        "ids": arrays.numbers([view.prospect_id for view in views]),
        "attempts": arrays.numbers([view.attempt for view in views]),
        "from_states": arrays.numbers([move.before for move in moves]),
        "states": arrays.numbers([move.after for move in moves]),
        "next_attempts": arrays.numbers([move.next_attempt for move in moves]),
        "outcomes": arrays.numbers([move.outcome for move in moves]),
        "reasons": arrays.texts([move.reason for move in moves]),
        "next_at": arrays.times([move.next_at for move in moves]),
        "open_at": arrays.times([move.open_at for move in moves]),
    }
    found = await conn.execute(_PROSPECTS, params)
    if found.rowcount == len(moves):
        return moves
    moved = set(found.scalars())
    for move in moves:
        if move.decision.view.prospect_id not in moved:
            log.error("prospect.out_of_step", attempt=move.decision.ref, expected=move.before.label)
    return [move for move in moves if move.decision.view.prospect_id in moved]


async def _free_senders(conn: AsyncConnection, settled: Sequence[Settled], rng: Random, settings: Settings) -> None:
    """A text's sender waits its gap from the answer; what was provably not sent has used none of it. A one-off text
    took no sender, and frees none: it may be a campaign's text that holds it."""
    ids: list[int] = []
    free_at: list[datetime] = []
    for campaign, decision in settled:
        if campaign.channel is Channel.SMS and not campaign.is_direct and decision.frees_sender:
            gap_s = 0.0 if decision.was_not_sent else settings.sms_gap_s + rng.uniform(0, settings.sms_jitter_s)
            ids.append(decision.view.did_id)
            free_at.append(decision.now + timedelta(seconds=gap_s))
    if ids:
        await conn.execute(_SENDERS, {"ids": arrays.numbers(ids), "free_at": arrays.times(free_at)})


async def _suppress(conn: AsyncConnection, settled: Sequence[Settled]) -> None:
    stopped = sorted({(d.view.account_id, d.view.phone) for _, d in settled if d.suppresses})
    if stopped:
        params: dict[str, Any] = {
            "accounts": arrays.numbers([account_id for account_id, _ in stopped]),
            "phones": arrays.texts([phone for _, phone in stopped]),
            "now": settled[0][1].now,
        }
        await conn.execute(_SUPPRESS, params)


async def _note_outcomes(conn: AsyncConnection, settled: Sequence[Settled], settings: Settings) -> None:
    """For the health of the numbers: one row, whatever the size of the batch. What test keys do at a simulated network
    wears no number out that live campaigns call from."""
    counts_all = settings.did_health == "all"
    did_ids: list[int] = []
    codes: list[int] = []
    for campaign, decision in settled:
        if not decision.is_ended or decision.outcome is None or not (counts_all or campaign.is_live):
            continue
        kind = kind_of(campaign.channel, decision.outcome, decision.reason, decision.fault)
        if kind is not None:
            did_ids.append(decision.view.did_id)
            codes.append(did_health.encode(kind, decision.duration_s))
    if did_ids:
        await health_store.append(conn, did_ids, codes, settled[0][1].now)


def deltas_of(moves: Sequence[Move]) -> dict[int, Delta]:
    """Counted by kind of move first: there are a handful of kinds, and names of enum members are slow to read."""
    kinds = Counter(
        [(move.decision.view.campaign_id, move.before, move.after, move.outcome, move.is_retry) for move in moves]
    )
    deltas: dict[int, Delta] = {}
    for (campaign_id, before, after, outcome, is_retry), amount in kinds.items():
        delta = deltas.setdefault(campaign_id, Delta())
        delta.add(before.label, -amount)
        delta.add(after.label, amount)
        if outcome is not None:
            delta.add(outcome.label, amount)
        if is_retry:
            delta.add("retrying", amount)
    return deltas


def used_of(settled: Sequence[Settled]) -> dict[Use, int]:
    """By how much these decisions raise what their attempts are billed for. Summed by intent first, of which a batch
    has a handful."""
    raised: dict[tuple[int, datetime, Channel, bool], int] = {}
    for campaign, decision in settled:
        view, channel = decision.view, campaign.channel
        before = billed(channel, view.carrier_id, view.segments, view.duration_s)
        after = billed(channel, decision.carrier_id, view.segments, decision.duration_s)
        if after != before:
            kind = (view.account_id, view.intent_at, channel, decision.is_ai)
            raised[kind] = raised.get(kind, 0) + after - before
    used: Counter[Use] = Counter()
    for (account_id, intent_at, channel, is_ai), quantity in raised.items():
        used[Use(account_id, day_of(intent_at), meter_of(channel, is_ai=is_ai))] += quantity
    return used


def hours_of(settled: Sequence[Settled]) -> dict[tuple[int, int], call_hours.Sums]:
    """What the calls that ended add to their hours, of campaigns whose calls are handed to agents."""
    sums: dict[tuple[int, int], call_hours.Sums] = {}
    for campaign, decision in settled:
        plan, view = campaign.plan, decision.view
        if not isinstance(plan, CallPlan) or plan.agent is None or campaign.is_direct:
            continue
        if decision.is_ended:
            key = (view.campaign_id, call_hours.hour_of(decision.ended_at or decision.now))
            more = _sums(decision, plan.limits.speed)
            sums[key] = tuple(map(add, sums[key], more)) if key in sums else more
    return sums


def _sums(decision: Decision, speed: float) -> call_hours.Sums:
    """As `HOUR_SUMS`. A person is whoever answered and was no machine: with an agent, or abandoned."""
    is_abandoned = decision.outcome is Outcome.ABANDONED
    is_connected = decision.outcome is Outcome.HUMAN_CONNECTED
    answered_at, ended_at = decision.answered_at, decision.ended_at
    if answered_at is None or ended_at is None or not (is_abandoned or is_connected):
        return 1, 0, 0, 0, 0, 0
    ring_ms = _real_ms(answered_at - decision.view.intent_at, speed)
    talk_ms = _real_ms(ended_at - answered_at, speed) if is_connected else 0
    return 1, 1, int(is_abandoned), int(is_connected), ring_ms, talk_ms


def _real_ms(engine_time: timedelta, speed: float) -> int:
    return max(0, round(engine_time.total_seconds() / speed * 1e3))


async def events_of(settled: Sequence[Settled], owners: Mapping[int, Owner]) -> dict[int, list[str]]:
    events: dict[int, list[str]] = {}
    async for _, decision in breathing(settled):
        if decision.events:
            owner = owners.get(decision.view.did_id)
            encoded = [event.encode(owner) for event in decision.events]
            events.setdefault(decision.view.account_id, []).extend(encoded)
    return events


def _json(command: dict[str, Any] | None) -> str | None:
    return None if command is None else orjson.dumps(command).decode()
