"""The intent: the transaction after which, and only after which, one create may be sent.

Order is everything (DESIGN 2a). First the locks: shared on accounts and campaigns, exclusive on each (account, phone).
Only then, in later statements, the facts: is the campaign live, is the prospect still due, is the number suppressed, is
its window open, is the sender free. The pure rules judge them, and what they allow is inserted under the key (prospect,
attempt). A pause, an opt-out or a cancel takes the same locks exclusive: it is either seen here or waits for us.

What is not allowed is written down as well: a suppressed prospect is cancelled, one outside its window gets the time at
which it opens next. A hint that is simply out of date changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache, reduce
from operator import or_
from typing import NamedTuple

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.clock import Clock, add, boottime, real_now
from engine.dispatch import callers, ceilings, opening, ten_dlc
from engine.dispatch.breath import breathing
from engine.dispatch.callers import Sender
from engine.dispatch.campaigns import CampaignFacts, load_campaigns
from engine.dispatch.compose import Message
from engine.dispatch.facts import AttemptKey
from engine.dispatch.held import Held, leave_queue, write_held
from engine.dispatch.hints import Hint
from engine.dispatch.judge import NO_COPIES, Fact, allowed_by, is_counted, is_due, judge
from engine.dispatch.refusal import Refusal
from engine.rules.attempt import AttemptState
from engine.rules.prospect import ProspectState
from engine.rules.states import rules
from engine.rules.stats import Delta
from engine.rules.telephony import Channel
from engine.store import arrays, counts, locks, people, registries
from engine.store.people import Contact

_IN_PROGRESS = {Channel.VOICE: ProspectState.DIALING, Channel.SMS: ProspectState.SENDING}


class Intent(NamedTuple):
    """A committed permission to send one create before `deadline` (boottime seconds)."""

    hint: Hint
    try_no: int
    campaign: CampaignFacts
    deadline: float
    intent_at: datetime  # engine time
    check_at: datetime  # real: when the watch would look at it, were it still without an answer
    data: Mapping[str, object] | None  # the prospect's own columns, or a one-off call's parameters
    not_after: datetime  # real: the end of the window, beyond which it may wait in no queue
    message: Message | None = None  # of a text

    @property
    def key(self) -> AttemptKey:
        return AttemptKey(self.hint.campaign_id, self.hint.prospect_id, self.hint.attempt)


@dataclass(frozen=True, slots=True)
class IntentContext:
    channel: Channel  # of every hint in the batch
    clock: Clock
    ticket_s: float
    answer_s: float  # how long the carrier may take to answer: then the watch calls the attempt doubtful
    writer: int
    caps_test_calls: bool = False  # the caps of numbers hold for test keys too
    did_policy: str = ""  # the setting
    calls_at_carrier: int = 0  # at one time, of an account that says nothing of it; 0: no limit

    @property
    def takes(self) -> timedelta:
        """How long after its intent a request may leave, in engine time."""
        return opening.takes(self.ticket_s, self.clock)


@dataclass(slots=True)
class IntentBatch:
    granted: list[Intent] = field(default_factory=list)
    refused: list[tuple[Hint, Refusal]] = field(default_factory=list)


# `offset 0` keeps these look-ups by key, one row at a time, whatever the statistics say: the planner must not pull them
# up into a join, which while the tables were nearly empty it would begin with all of their rows. A cached plan stays.
@lru_cache
def _facts(wanted: int) -> TextClause:
    """The statement that looks up what the hints want, and nothing else."""
    look = people.lookups(wanted)
    return text(f"""
        select p.state, p.attempt, p.phone, p.data, a.state as attempt_state, s.phone is not null as suppressed,
               a.intent_at, {look.columns}
          from unnest(cast(:campaigns as bigint[]), cast(:prospects as bigint[]), cast(:attempts as smallint[]),
                      cast(:accounts as bigint[]), cast(:phones as text[]), cast(:phone_numbers as bigint[]),
                      cast(:wants as smallint[]))
               with ordinality as h(campaign_id, prospect_id, attempt, account_id, phone, number, wants, n)
          left join lateral (select state, attempt, phone, data from prospects
                              where campaign_id = h.campaign_id and id = h.prospect_id offset 0) p on true
          left join lateral (select state, intent_at from attempts
                              where prospect_id = h.prospect_id and attempt = h.attempt offset 0) a on true
          left join lateral (select phone from suppressions where account_id = h.account_id and phone = h.phone
                              and channel in ('all', :channel) offset 0) s on true
          {look.joins}
         order by h.n
    """)


_TAKE_SMS_DIDS = text("""
    update dids set sms_free_at = 'infinity' where id = any(cast(:ids as bigint[])) and sms_free_at <= :now returning id
""")

_INSERT = text(f"""
    with granted as (
        insert into attempts (prospect_id, attempt, campaign_id, account_id, phone, did_id, from_number, carrier, state,
                              intent_at, check_at, rules_version, segments, encoding, needs_agent, allowed_by)
        select h.prospect_id, h.attempt, h.campaign_id, h.account_id, h.phone, h.did_id, h.from_number, h.carrier,
               {AttemptState.RESERVED:d}, :now, :check_at, :rules_version, h.segments, h.encoding, h.needs_agent,
               h.allowed_by
          from unnest(cast(:prospects as bigint[]), cast(:attempts as smallint[]), cast(:campaigns as bigint[]),
                      cast(:accounts as bigint[]), cast(:phones as text[]), cast(:dids as bigint[]),
                      cast(:numbers as text[]), cast(:carriers as text[]), cast(:segments as smallint[]),
                      cast(:encodings as text[]), cast(:need_agents as boolean[]), cast(:allowed_by as text[]))
               as h(prospect_id, attempt, campaign_id, account_id, phone, did_id, from_number, carrier, segments,
                    encoding, needs_agent, allowed_by)
        on conflict (prospect_id, attempt) do update
           set try = attempts.try + 1, state = excluded.state, did_id = excluded.did_id,
               from_number = excluded.from_number, carrier = excluded.carrier, intent_at = excluded.intent_at,
               check_at = excluded.check_at, rules_version = excluded.rules_version, segments = excluded.segments,
               encoding = excluded.encoding, allowed_by = excluded.allowed_by, carrier_id = null, reason = null,
               error_code = null
         where attempts.state = {AttemptState.RELEASED:d}
        returning campaign_id, prospect_id, attempt, try
    ), moved as (
        update prospects p set state = :state, reason = null from granted g
         where p.campaign_id = any(array[g.campaign_id]) and p.id = g.prospect_id
           and p.state = {ProspectState.QUEUED:d}
        returning p.id
    ), counted as (
        insert into person_contacts (account_id, number, at, is_live)
        select account_id, number, :now, is_live
          from unnest(cast(:counted_accounts as bigint[]), cast(:counted_numbers as bigint[]),
                      cast(:counted_live as boolean[])) as c(account_id, number, is_live)
    )
    select g.prospect_id, g.try, (select count(*) from moved) as moved from granted g
""")


async def commit_intents(engine: AsyncEngine, hints: Sequence[Hint], context: IntentContext) -> IntentBatch:
    """Decides and commits one batch (see `take_batch`). Returns what may be sent, and what may not and why.

    Raises what PostgreSQL raises; nothing is then committed, and nothing may be sent.
    """
    deadline = boottime() + context.ticket_s
    check_at = add(real_now(), context.ticket_s + context.answer_s)
    takes = context.takes
    batch = IntentBatch()
    async with engine.begin() as conn:
        await _lock(conn, hints)
        now = context.clock.now()
        campaigns = await load_campaigns(conn, {hint.campaign_id for hint in hints}, context.did_policy)
        senders = await callers.load(conn, (hint.did_id for hint in hints), now)
        # Before the look-up in them: a copy that is loaded in between is then not yet believed.
        copies = await registries.dates(conn) if any(map(asks_registries, campaigns.values())) else NO_COPIES
        facts = await read_facts(conn, hints, campaigns, context.channel, now)
        held = Held()
        allowed: list[Hint] = []
        messages: dict[int, Message] = {}
        facts_by_prospect = {hint.prospect_id: fact for hint, fact in zip(hints, facts, strict=True)}
        async for hint, fact in breathing(list(zip(hints, facts, strict=True))):
            campaign, sender = campaigns.get(hint.campaign_id), senders.get(hint.did_id)
            verdict = judge(hint, fact, campaign, sender, context.channel, now, takes, copies)
            if verdict.refusal is None:
                allowed.append(hint)
                if verdict.message is not None:
                    messages[hint.prospect_id] = verdict.message
            else:
                batch.refused.append((hint, verdict.refusal))
                held.add(hint, verdict.written, verdict.again_at)
        if context.channel is Channel.SMS:
            allowed = await _within_caps(conn, allowed, messages, campaigns, now, batch, held)
        else:
            allowed = await _within_ceilings(conn, allowed, campaigns, now, context, batch, held)
            allowed = await _take_calls(conn, allowed, campaigns, senders, now, context, batch, held)
        deltas: dict[int, Delta] = {}
        counted = [h for h in allowed if is_counted(h, facts_by_prospect[h.prospect_id], campaigns[h.campaign_id], now)]
        await _uncount(conn, counted, facts_by_prospect)
        bases = [
            allowed_by(h, facts_by_prospect[h.prospect_id], campaigns[h.campaign_id], copies, now) for h in allowed
        ]
        tries = await _reserve(conn, allowed, bases, counted, campaigns, messages, now, check_at, context)
        leave_queue(deltas, allowed, _IN_PROGRESS[context.channel])
        async for hint in breathing(allowed):
            id_ = hint.prospect_id
            campaign, data = campaigns[hint.campaign_id], facts_by_prospect[id_].data
            until = opening.not_after(campaign, hint.phone, data, now, context.clock)
            granted = Intent(hint, tries[id_], campaign, deadline, now, check_at, data, until, messages.get(id_))
            batch.granted.append(granted)
        await write_held(conn, held, campaigns, now, deltas)
        await counts.add(conn, deltas, context.writer)
    return batch


async def _lock(conn: AsyncConnection, hints: Sequence[Hint]) -> None:
    accounts, campaigns = {h.account_id for h in hints}, {h.campaign_id for h in hints}
    shared = {*map(locks.account_key, accounts), *map(locks.campaign_key, campaigns)}
    await locks.lock_shared_and_exclusive(conn, shared, {locks.phone_key(h.account_id, h.phone) for h in hints})


def asks_registries(campaign: CampaignFacts) -> bool:
    return campaign.compliance.requires_registry and (campaign.kind.is_marketing or campaign.is_direct)


async def read_facts(
    conn: AsyncConnection,
    hints: Sequence[Hint],
    campaigns: Mapping[int, CampaignFacts],
    channel: Channel,
    now: datetime,
) -> list[Fact]:
    wants = [c.wants if (c := campaigns.get(h.campaign_id)) else 0 for h in hints]
    rows = await conn.execute(
        _facts(reduce(or_, wants, 0)),
        {
            "campaigns": arrays.numbers(h.campaign_id for h in hints),
            "prospects": arrays.numbers(h.prospect_id for h in hints),
            "attempts": arrays.numbers(h.attempt for h in hints),
            "accounts": arrays.numbers(h.account_id for h in hints),
            "phones": arrays.texts([h.phone for h in hints]),
            "phone_numbers": arrays.numbers([people.number_of(h.phone) for h in hints]),
            "wants": arrays.numbers(wants),
            "channel": channel,
            "since": people.since(now),
        },
    )
    return [
        Fact(
            is_due(hint, state, attempt, phone, attempt_state),
            suppressed,
            data,
            people.person(*known),
            intent_at if attempt_state == AttemptState.RELEASED else None,
        )
        for hint, (state, attempt, phone, data, attempt_state, suppressed, intent_at, *known) in zip(
            hints, rows, strict=True
        )
    ]


async def _uncount(conn: AsyncConnection, counted: Sequence[Hint], facts: Mapping[int, Fact]) -> None:
    """Of an attempt that is made again: its intent that came to nothing was no contact."""
    made_again = [(hint, at) for hint in counted if (at := facts[hint.prospect_id].released_at)]
    if made_again:
        await people.uncount(conn, [Contact(hint.account_id, hint.phone, at) for hint, at in made_again])


async def _take_calls(
    conn: AsyncConnection,
    allowed: list[Hint],
    campaigns: dict[int, CampaignFacts],
    senders: dict[int, Sender],
    now: datetime,
    context: IntentContext,
    batch: IntentBatch,
    held: Held,
) -> list[Hint]:
    """Counts the calls against their numbers' caps; those beyond them wait."""
    capped = [hint for hint in allowed if context.caps_test_calls or campaigns[hint.campaign_id].is_live]
    if not capped:
        return allowed
    wanted = ((hint.did_id, campaigns[hint.campaign_id].did_policy) for hint in capped)
    left = await callers.take_calls(conn, wanted, senders, now)
    late: set[int] = set()
    for hint in capped:
        if left[hint.did_id] > 0:
            left[hint.did_id] -= 1
        else:
            late.add(hint.prospect_id)
            _put_off(hint, Refusal.SENDER_AT_CAP, now, batch, held)
    return [hint for hint in allowed if hint.prospect_id not in late]


def _put_off(hint: Hint, refusal: Refusal, now: datetime, batch: IntentBatch, held: Held) -> None:
    """Its sender is used up: the coordinator chooses it another."""
    batch.refused.append((hint, refusal))
    held.later.append((hint, refusal, now + callers.NOT_READY_FOR))


async def _take_senders(
    conn: AsyncConnection, allowed: list[Hint], now: datetime, batch: IntentBatch, held: Held
) -> list[Hint]:
    """Holds the senders of campaign texts: the update's row lock decides between two workers that saw one DID free."""
    ids = sorted(hint.did_id for hint in allowed if not hint.is_one_off_text)
    taken = set((await conn.execute(_TAKE_SMS_DIDS, {"ids": ids, "now": now})).scalars()) if ids else set()
    for hint in allowed:
        if not hint.is_one_off_text and hint.did_id not in taken:
            _put_off(hint, Refusal.SENDER_NOT_READY, now, batch, held)
    return [hint for hint in allowed if hint.is_one_off_text or hint.did_id in taken]


async def _within_ceilings(
    conn: AsyncConnection,
    allowed: list[Hint],
    campaigns: Mapping[int, CampaignFacts],
    now: datetime,
    context: IntentContext,
    batch: IntentBatch,
    held: Held,
) -> list[Hint]:
    """The last locks: on the limits on calls at one time, under which the calls that are up are counted."""
    speed = context.clock.speed
    ids = [hint.campaign_id for hint in allowed]
    verdicts = await ceilings.admit(conn, ids, campaigns, context.calls_at_carrier, now, speed)
    for hint, has_room in zip(allowed, verdicts, strict=True):
        if not has_room:
            batch.refused.append((hint, Refusal.TOO_MANY_CALLS))
            held.later.append((hint, Refusal.TOO_MANY_CALLS, add(now, ceilings.AGAIN_S * speed)))
    return [hint for hint, has_room in zip(allowed, verdicts, strict=True) if has_room]


async def _within_caps(
    conn: AsyncConnection,
    allowed: list[Hint],
    messages: Mapping[int, Message],
    campaigns: Mapping[int, CampaignFacts],
    now: datetime,
    batch: IntentBatch,
    held: Held,
) -> list[Hint]:
    """The caps of 10DLC, then the senders; what both leave is counted against the caps."""
    wanted = [ten_dlc.Wanted(hint, messages[hint.prospect_id].segments) for hint in allowed]
    verdict = await ten_dlc.admit(conn, wanted, campaigns, now)
    for each, at in verdict.later:
        batch.refused.append((each.hint, Refusal.CARRIER_CAP))
        held.later.append((each.hint, Refusal.CARRIER_CAP, at))
    sent = set(await _take_senders(conn, [each.hint for each in verdict.allowed], now, batch, held))
    counted = [each for each in verdict.allowed if each.hint in sent]
    await ten_dlc.count(conn, counted, campaigns, now)
    return [each.hint for each in counted]


async def _reserve(
    conn: AsyncConnection,
    allowed: Sequence[Hint],
    bases: Sequence[str],
    counted: Sequence[Hint],
    campaigns: dict[int, CampaignFacts],
    messages: Mapping[int, Message],
    now: datetime,
    check_at: datetime,
    context: IntentContext,
) -> dict[int, int]:
    """Inserts the attempts and moves their prospects. Returns the try number of each prospect that got one."""
    if not allowed:
        return {}
    said = [messages.get(hint.prospect_id) for hint in allowed]
    rows = await conn.execute(
        _INSERT,
        {
            "prospects": arrays.numbers(h.prospect_id for h in allowed),
            "attempts": arrays.numbers(h.attempt for h in allowed),
            "campaigns": arrays.numbers(h.campaign_id for h in allowed),
            "accounts": arrays.numbers(h.account_id for h in allowed),
            "phones": arrays.texts([h.phone for h in allowed]),
            "dids": arrays.numbers(h.did_id for h in allowed),
            "numbers": arrays.texts([h.from_number for h in allowed]),
            "carriers": arrays.texts([campaigns[h.campaign_id].carrier for h in allowed]),
            "segments": arrays.numbers(message and message.segments for message in said),
            "encodings": arrays.texts([message and message.encoding for message in said]),
            "counted_accounts": arrays.numbers([h.account_id for h in counted]),
            "counted_numbers": arrays.numbers([people.number_of(h.phone) for h in counted]),
            "counted_live": arrays.flags([campaigns[h.campaign_id].is_live for h in counted]),
            "need_agents": arrays.flags([campaigns[h.campaign_id].is_paced_by_agents for h in allowed]),
            "allowed_by": arrays.texts([basis or None for basis in bases]),
            "state": _IN_PROGRESS[context.channel],
            "now": now,
            "check_at": check_at,
            "rules_version": rules().version,
        },
    )
    tries: dict[int, int] = {}
    moved = 0
    for prospect_id, try_no, moved in rows:  # noqa: B007 — the same count in every row
        tries[prospect_id] = try_no
    if len(tries) != len(allowed) or moved != len(allowed):
        # Facts were read under the locks, so this cannot be; if it is, no create may rest on it.
        raise RuntimeError(
            f"of {len(allowed)} prospects {len(tries)} got an attempt and {moved} moved, under their locks"
        )
    return tries
