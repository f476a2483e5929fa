"""What people send to us: stored, understood and acted on in one transaction, before the carrier is answered.

An opt-out takes the person's key exclusive, as each intent does: an intent is either committed before the opt-out, or
sees it. In the same transaction the number is suppressed for all channels, its queued prospects are cancelled in every
campaign of the account, and the one confirmation is queued. Whatever is killed, all of it has happened or none, and the
carrier, unanswered, sends the message again.

Contacts that are under way when the opt-out commits go on to their end; none of them is tried again.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine import metrics
from engine.clock import Clock, iso, real_now
from engine.dispatch.held import left_alone
from engine.ids import encode, new_id
from engine.rules import did_health, did_pool, opt_out, segments
from engine.rules import inbound as answers
from engine.rules.did_health import Kind
from engine.rules.events import Event, Owner
from engine.rules.opt_out import Meaning, Reading
from engine.rules.phone import is_e164
from engine.rules.prospect import ProspectState
from engine.rules.stats import Delta
from engine.rules.telephony import (
    CallStage,
    CarrierEvent,
    Channel,
    Command,
    CommandKind,
    EventKind,
    Inbound,
    InboundCall,
    InboundMessage,
)
from engine.rules.usage import Use, day_of
from engine.store import callbacks, campaigns, counts, inbound, lines, locks, outbox, suppressions, usage
from engine.store import did_health as health_store
from engine.store.callbacks import Report
from engine.store.inbound import OPTED_OUT, Contact, NewMessage, Number

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class InboundContext:
    """`carrier` is the catalog's name of who tells us; `simulated` are the names of the simulated ones; `base_url` is
    where clients find our media."""

    clock: Clock
    carrier: str
    simulated: Collection[str]
    base_url: str

    @property
    def is_live(self) -> bool:
        return self.carrier not in self.simulated


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a report. `is_known`: the number is one that this carrier serves."""

    is_known: bool
    wake: int | None = None  # a campaign with an answer to send
    command: Command | None = None  # what a caller hears


async def take_message(engine: AsyncEngine, message: InboundMessage, context: InboundContext) -> Taken:
    """Stores a message and does what it asks for; a repeat changes nothing. Raises what PostgreSQL raises."""
    reading = opt_out.read(message.text)
    async with engine.begin() as conn:
        number = await _find(conn, message.to, context)
        if number is None:
            return Taken(is_known=False)
        locked = await _lock(conn, number.account_id, message.from_, reading.meaning)
        known = await inbound.contacts(conn, number.account_id, message.from_)
        now = context.clock.now()  # under the lock: no intent that was allowed before bears a later time
        new = _new(message, number, context.carrier, reading.meaning, known, now)
        if not await inbound.insert_message(conn, new):
            return Taken(is_known=True)
        await callbacks.insert_many(conn, [Report(context.carrier, record(message, EventKind.INBOUND))])
        wake = await _act(conn, new, reading, [each for each in known if each.campaign_id in locked], context)
        writer = counts.client_writer()
        await usage.add(conn, {Use(number.account_id, day_of(now), "sms.receive"): new.segments}, writer)
    metrics.INBOUND.labels(context.carrier, "sms", reading.meaning or "message").inc()
    return Taken(is_known=True, wake=wake)


async def take_call(engine: AsyncEngine, call: InboundCall, context: InboundContext) -> Taken:
    """Stores one stage of a call. What its caller hears is decided at the start: nobody takes calls yet."""
    async with engine.begin() as conn:
        number = await _find(conn, call.to, context)
        if number is None:
            return Taken(is_known=False)
        await callbacks.insert_many(conn, [Report(context.carrier, record(call, EventKind.INBOUND))])
        await _store_call(conn, call, number, context.carrier, context.clock.now())
    if call.stage is not CallStage.STARTED:
        return Taken(is_known=True)
    metrics.INBOUND.labels(context.carrier, "voice", "call").inc()
    words = answers.greeting(number.settings, number.name, number.number)
    return Taken(is_known=True, command=Command(CommandKind.PLAY, 1, text=words))


def record(read: Inbound, kind: EventKind) -> CarrierEvent:
    """How the inbox keeps what came in: with its raw report, and nothing to settle."""
    return CarrierEvent(kind, read.key, "", read.carrier_id, read.occurred_at, raw=read.raw)


async def _find(conn: AsyncConnection, to: str, context: InboundContext) -> Number | None:
    """Our number, if this carrier may speak for it: an account's own carrier for its numbers, the simulated one only
    where there is no real one. Or whoever knows the test secret could opt people out of live campaigns."""
    number = await inbound.find_number(conn, to)
    if number is None:
        return None
    own = number.settings.get("carrier")
    if own is None or own in context.simulated:
        return number if context.carrier in context.simulated else None
    return number if own == context.carrier else None


async def _lock(conn: AsyncConnection, account_id: int, phone: str, meaning: Meaning) -> set[int]:
    """Takes the keys in their order and returns the campaigns whose key is held: what an opt-out may count in."""
    open_in: set[int] = set()
    if meaning is Meaning.OPT_OUT:
        known = await inbound.contacts(conn, account_id, phone, live_only=True)
        open_in = {each.campaign_id for each in known if each.is_open}
    shared = {locks.account_key(account_id)} | {locks.campaign_key(campaign_id) for campaign_id in open_in}
    await locks.lock_shared_and_exclusive(conn, shared, {locks.phone_key(account_id, phone)})
    return open_in


def _new(
    message: InboundMessage,
    number: Number,
    carrier: str,
    meaning: Meaning,
    known: Sequence[Contact],
    now: datetime,
) -> NewMessage:
    body = message.text.replace("\0", "\ufffd")
    cause = last_written(known)
    return NewMessage(
        id=new_id(),
        number=number,
        carrier=carrier,
        message=message,
        body=body,
        segments=1 if message.media else max(1, segments.count(body).parts),
        meaning=meaning,
        now=now,
        campaign_id=cause.campaign_id if cause else None,
        prospect_id=cause.prospect_id if cause else None,
        components=[{"url": each.url, "contentType": each.content_type} for each in message.media],
        media_due_at=real_now() if message.media else None,
    )


def last_written(known: Sequence[Contact]) -> Contact | None:
    """The campaign's prospect that this person answers: whose message was the last. None when that was a one-off."""
    written = [(each.intent_at, each.prospect_id, each) for each in known if each.intent_at is not None]
    if not written:
        return None
    last = max(written, key=lambda each: each[:2])[2]
    return None if last.is_direct else last


async def _act(
    conn: AsyncConnection, new: NewMessage, reading: Reading, mine: Sequence[Contact], context: InboundContext
) -> int | None:
    """Writes all that follows from a new message; returns the campaign of its answer, if it has one."""
    owner = (await lines.owners(conn, [new.number.did_id])).get(new.number.did_id)
    events = [_received(new, owner, context.base_url)]
    deltas: dict[int, Delta] = {}
    is_answered = reading.meaning is Meaning.HELP
    if reading.meaning is Meaning.OPT_OUT:
        is_answered, told = await _opt_out(conn, new, reading, mine, context.clock, deltas)
        events += told
    elif reading.meaning is Meaning.OPT_IN:
        is_answered = await suppressions.lift(conn, new.number.account_id, new.message.from_, new.now)
    wake = await _answer(conn, new, reading.meaning, context, deltas) if is_answered else None
    await counts.add(conn, deltas, counts.client_writer())
    await outbox.publish(conn, {new.number.account_id: [event.encode(owner) for event in events]})
    return wake


async def _opt_out(
    conn: AsyncConnection,
    new: NewMessage,
    reading: Reading,
    mine: Sequence[Contact],
    clock: Clock,
    deltas: dict[int, Delta],
) -> tuple[bool, list[Event]]:
    """True, when the number was not suppressed before; and what is to be told."""
    account_id, phone = new.number.account_id, new.message.from_
    source = suppressions.SMS_KEYWORD if reading.is_keyword else suppressions.SMS_TEXT
    is_new = bool(await suppressions.add(conn, account_id, [phone], OPTED_OUT, source, clock))
    if is_new:
        await health_store.append(conn, [new.number.did_id], [did_health.encode(Kind.STOPPED, None)], new.now)
    cancelled = await inbound.cancel(conn, [each for each in mine if each.is_open])
    _count_cancelled(deltas, cancelled)
    events = [_opted_out(new, reading)] if is_new else []
    return is_new, events + [_left_alone(contact, phone, new.now) for contact, _ in cancelled]


def _count_cancelled(deltas: dict[int, Delta], cancelled: Sequence[tuple[Contact, int]]) -> None:
    for contact, attempt in cancelled:
        delta = deltas.setdefault(contact.campaign_id, Delta())
        delta.move(ProspectState.QUEUED, ProspectState.CANCELLED)
        delta.add("suppressed")
        if attempt > 1:
            delta.add("retrying", -1)


async def _answer(
    conn: AsyncConnection, new: NewMessage, meaning: Meaning, context: InboundContext, deltas: dict[int, Delta]
) -> int | None:
    """Queues the one answer to this message, from the number that was written to."""
    number, phone = new.number, new.message.from_
    if number.state not in did_pool.ANSWERING or Channel.SMS not in number.capabilities or not is_e164(phone):
        log.warning("reply.impossible", message=encode("msg", new.id), number=number.number, state=number.state)
        return None
    home = await campaigns.direct(
        conn, number.account_id, Channel.SMS, context.is_live, context.carrier, new.now, is_system=True
    )
    if meaning is Meaning.HELP and await inbound.was_answered(conn, home.id, phone, real_now(), answers.HELP_GAP_S):
        return None
    words = answers.reply(meaning, number.settings, number.name, number.number)
    if not await inbound.queue_reply(conn, home.id, number, phone, new.id, words, new.now):
        return None
    delta = deltas.setdefault(home.id, Delta())
    delta.add("total")
    delta.add("queued")
    return home.id


async def _store_call(conn: AsyncConnection, call: InboundCall, number: Number, carrier: str, now: datetime) -> None:
    """Whichever stage comes first makes the row and its event; a later start then changes nothing."""
    owner = (await lines.owners(conn, [number.did_id])).get(number.did_id)
    events: list[Event] = []
    call_id = new_id()
    if await inbound.start_call(conn, call_id, number, carrier, call, now):
        events.append(_of_call("voice.inbound", call_id, call, number, owner, now, status="ringing"))
    if call.stage is CallStage.ANSWERED:
        if answered := await inbound.answer_call(conn, number, carrier, call, now):
            events.append(_of_call("call.incoming.answered", answered, call, number, owner, now))
    elif call.stage is CallStage.ENDED and (ended := await inbound.end_call(conn, number, carrier, call, now)):
        ended_id, received_at = ended
        talked_s = call.duration_s or 0
        events.append(_of_call("call.incoming.ended", ended_id, call, number, owner, now, durationS=talked_s))
        use = Use(number.account_id, day_of(received_at), "voice.inbound")
        await usage.add(conn, {use: talked_s}, counts.client_writer())
    await outbox.publish(conn, {number.account_id: [event.encode(owner) for event in events]})


def _received(new: NewMessage, owner: Owner | None, base_url: str) -> Event:
    name = encode("msg", new.id)
    media = f"{base_url.rstrip('/')}/api/sms/{name}/components"
    payload: dict[str, object] = {
        "id": name,
        "from": new.message.from_,
        "to": new.number.number,
        "message": new.body,
        "direction": "inbound",
        "created_at": iso(new.now),
        "segments": new.segments,
        "encoding": segments.count(new.body).encoding,
    }
    optional = {
        "line": owner.line if owner else None,
        "mediaUrls": [f"{media}/{n}" for n in range(1, len(new.components) + 1)],
        "campaignId": encode("camp", new.campaign_id) if new.campaign_id else None,
        "prospectId": encode("pros", new.prospect_id) if new.prospect_id else None,
        "meaning": new.meaning,
    }
    payload |= {key: value for key, value in optional.items() if value}
    return Event("sms.received", new.now, payload, tracking_id=name, unique_id=name)


def _opted_out(new: NewMessage, reading: Reading) -> Event:
    name = encode("msg", new.id)
    payload = {
        "phone": new.message.from_,
        "from": new.message.from_,
        "to": new.number.number,
        "messageId": name,
        "keyword": reading.words,
    }
    return Event("sms.opt_out", new.now, payload, tracking_id=name, unique_id=name)


def _left_alone(contact: Contact, phone: str, now: datetime) -> Event:
    """A prospect or a one-off call is not contacted any more; a one-off text that was still queued has failed."""
    if contact.is_direct and contact.channel == Channel.SMS:
        name = encode("msg", contact.prospect_id)
        facts = {"id": name, "from": contact.sender, "to": phone, "status": "suppressed", "reason": OPTED_OUT}
        return Event("sms.failed", now, facts, tracking_id=name, unique_id=name)
    return left_alone(contact.campaign_id, contact.prospect_id, phone, OPTED_OUT, contact.is_direct, now)


def _of_call(
    name: str, call_id: int, call: InboundCall, number: Number, owner: Owner | None, now: datetime, **facts: object
) -> Event:
    public_id = encode("call", call_id)
    payload: dict[str, object] = {"id": public_id, "from": call.from_, "to": number.number, **facts}
    if owner is not None and owner.line:
        payload["line"] = owner.line
    return Event(name, now, payload, tracking_id=public_id, unique_id=public_id)
