"""What people sent to our numbers: messages and calls, and what the account knows of who sent them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.clock import iso
from engine.ids import id_at, new_id
from engine.rules.attempt import AttemptState
from engine.rules.prospect import ProspectState
from engine.rules.telephony import InboundCall, InboundMessage
from engine.store import arrays

OPTED_OUT = "opted_out"

_NUMBER = text("""
    select d.id as did_id, d.account_id, d.line_id, d.number, d.state, d.capabilities, a.name, a.settings
      from dids d join accounts a on a.id = d.account_id where d.number = :number and d.state <> 'released'
""")
_INSERT_MESSAGE = text("""
    insert into inbound_messages (id, account_id, did_id, line_id, from_number, to_number, body, segments, components,
                                  carrier, carrier_id, meaning, campaign_id, prospect_id, received_at, media_due_at)
    values (:id, :account_id, :did_id, :line_id, :from_number, :to_number, :body, :segments, cast(:components as jsonb),
            :carrier, :carrier_id, :meaning, :campaign_id, :prospect_id, :now, :media_due_at)
    on conflict (carrier, carrier_id) do nothing
""")
# `offset 0` keeps each look-up a probe of one partition's index per campaign, whatever the statistics say.
_CONTACTS = text(f"""
    select c.id as campaign_id, p.id as prospect_id, c.channel, c.is_direct, p.sender, a.intent_at,
           p.state = {ProspectState.QUEUED:d} and c.status in ('created', 'dialing', 'paused') as is_open
      from campaigns c
     cross join lateral (select id, state, case when c.is_direct then data ->> 'from' end as sender from prospects
                          where campaign_id = c.id and phone = :phone offset 0) p
      left join lateral (select intent_at from attempts
                          where prospect_id = p.id and c.channel = 'sms' and state <> {AttemptState.RELEASED:d}
                          order by attempt desc limit 1 offset 0) a on true
     where c.account_id = :account_id and not c.is_system
       and (:is_whole or c.status in ('created', 'dialing', 'paused'))
""")
_CANCEL = text(f"""
    update prospects p set state = {ProspectState.CANCELLED:d}, reason = '{OPTED_OUT}', next_attempt_at = 'infinity'
      from unnest(cast(:campaigns as bigint[]), cast(:prospects as bigint[])) as h(campaign_id, prospect_id)
     where p.campaign_id = h.campaign_id and p.id = h.prospect_id and p.state = {ProspectState.QUEUED:d}
       and exists (select from campaigns where id = h.campaign_id and status in ('created', 'dialing', 'paused'))
    returning p.campaign_id, p.id, p.attempt
""")
_QUEUE_REPLY = text("""
    insert into prospects (campaign_id, id, account_id, phone, one_off, data, next_attempt_at)
    values (:campaign_id, :id, :account_id, :phone, :one_off, cast(:data as jsonb), :now)
    on conflict (campaign_id, phone, one_off) do nothing
""")
_ANSWERED_SINCE = text("""
    select exists (select from prospects where campaign_id = :campaign_id and phone = :phone and one_off > :since)
""")
_START_CALL = text("""
    insert into inbound_calls (id, account_id, did_id, line_id, from_number, to_number, carrier, carrier_id,
                               received_at)
    values (:id, :account_id, :did_id, :line_id, :from_number, :to_number, :carrier, :carrier_id, :now)
    on conflict (carrier, carrier_id) do nothing
""")
_ANSWER_CALL = text("""
    update inbound_calls set state = 1, answered_at = :now
     where carrier = :carrier and carrier_id = :carrier_id and account_id = :account_id and state = 0
    returning id
""")
_END_CALL = text("""
    update inbound_calls set state = 2, ended_at = :now, duration_s = :duration_s
     where carrier = :carrier and carrier_id = :carrier_id and account_id = :account_id and state < 2
    returning id, received_at
""")


@dataclass(frozen=True, slots=True)
class Number:
    """One of our numbers, and whose it is."""

    did_id: int
    account_id: int
    line_id: int | None
    number: str
    state: str
    capabilities: Sequence[str]
    name: str  # of the account
    settings: Mapping[str, object]  # of the account


@dataclass(frozen=True, slots=True)
class Contact:
    """A prospect that this person is or was. `intent_at`: when it was last written to; None: never."""

    campaign_id: int
    prospect_id: int
    channel: str
    is_direct: bool
    sender: str | None  # of a one-off contact: our number that it was to come from
    intent_at: datetime | None
    is_open: bool  # queued in a campaign that is not over


@dataclass(frozen=True, slots=True)
class NewMessage:
    id: int
    number: Number
    carrier: str
    message: InboundMessage
    body: str
    segments: int
    meaning: str
    now: datetime  # engine time
    campaign_id: int | None = None
    prospect_id: int | None = None
    components: Sequence[Mapping[str, object]] = field(default_factory=tuple)
    media_due_at: datetime | None = None  # real


async def find_number(conn: AsyncConnection, number: str) -> Number | None:
    row = (await conn.execute(_NUMBER, {"number": number})).one_or_none()
    return None if row is None else Number(**row._mapping)


async def insert_message(conn: AsyncConnection, new: NewMessage) -> bool:
    """False when the carrier has told us of this message before."""
    params = {
        **_identity(new.id, new.number, new.carrier, new.message, new.now),
        "body": new.body,
        "segments": new.segments,
        "components": orjson.dumps(list(new.components)).decode(),
        "meaning": new.meaning,
        "campaign_id": new.campaign_id,
        "prospect_id": new.prospect_id,
        "media_due_at": new.media_due_at,
    }
    return bool((await conn.execute(_INSERT_MESSAGE, params)).rowcount)


async def contacts(conn: AsyncConnection, account_id: int, phone: str, *, live_only: bool = False) -> list[Contact]:
    """The account's prospects with this number, in any campaign or in those that are not over.

    A probe per campaign (some 8 µs), never a scan: attempts have no index by phone, which each of them would pay for.
    """
    params = {"account_id": account_id, "phone": phone, "is_whole": not live_only}
    rows = await conn.execute(_CONTACTS, params)
    return [Contact(**row._mapping) for row in rows]


async def cancel(conn: AsyncConnection, open_ones: Collection[Contact]) -> list[tuple[Contact, int]]:
    """Cancels those that are still queued; returns them with the number of the attempt that they waited for.

    The caller holds the phone's key, and each campaign's shared: counters must move with the rows.
    """
    if not open_ones:
        return []
    params = {
        "campaigns": arrays.numbers(each.campaign_id for each in open_ones),
        "prospects": arrays.numbers(each.prospect_id for each in open_ones),
    }
    attempts = {(row.campaign_id, row.id): row.attempt for row in await conn.execute(_CANCEL, params)}
    keyed = [((each.campaign_id, each.prospect_id), each) for each in open_ones]
    return [(each, attempts[key]) for key, each in keyed if key in attempts]


async def queue_reply(
    conn: AsyncConnection, campaign_id: int, number: Number, phone: str, message_id: int, text: str, now: datetime
) -> bool:
    """Queues the answer to one incoming message in the account's system campaign, once; the caller counts it. It is due
    now, where a woken coordinator looks (`coordinator.shard.Walk.begin_again`)."""
    params = {
        "campaign_id": campaign_id,
        "id": new_id(),
        "account_id": number.account_id,
        "phone": phone,
        "one_off": message_id,
        "data": orjson.dumps({"from": number.number, "message": text, "at": iso(now)}).decode(),
        "now": now,
    }
    return bool((await conn.execute(_QUEUE_REPLY, params)).rowcount)


async def was_answered(
    conn: AsyncConnection, campaign_id: int, phone: str, now_real: datetime, within_s: float
) -> bool:
    """Did this person get a system message within the last `within_s` real seconds?"""
    since = id_at(now_real - timedelta(seconds=within_s))
    params = {"campaign_id": campaign_id, "phone": phone, "since": since}
    return bool((await conn.execute(_ANSWERED_SINCE, params)).scalar())


async def start_call(
    conn: AsyncConnection, call_id: int, number: Number, carrier: str, call: InboundCall, now: datetime
) -> bool:
    """False when the call is known."""
    return bool((await conn.execute(_START_CALL, _identity(call_id, number, carrier, call, now))).rowcount)


async def answer_call(
    conn: AsyncConnection, number: Number, carrier: str, call: InboundCall, now: datetime
) -> int | None:
    """The call's id; None when it was answered or has ended before."""
    found: int | None = (
        await conn.execute(_ANSWER_CALL, _identity(0, number, carrier, call, now))
    ).scalar_one_or_none()
    return found


async def end_call(
    conn: AsyncConnection, number: Number, carrier: str, call: InboundCall, now: datetime
) -> tuple[int, datetime] | None:
    """The call's id and when it came in (engine time); None when it has ended before."""
    params = _identity(0, number, carrier, call, now) | {"duration_s": call.duration_s or 0}
    row = (await conn.execute(_END_CALL, params)).one_or_none()
    return None if row is None else (row.id, row.received_at)


def _identity(
    row_id: int, number: Number, carrier: str, what: InboundMessage | InboundCall, now: datetime
) -> dict[str, Any]:
    return {
        "id": row_id,
        "account_id": number.account_id,
        "did_id": number.did_id,
        "line_id": number.line_id,
        "from_number": what.from_,
        "to_number": number.number,
        "carrier": carrier,
        "carrier_id": what.carrier_id,
        "now": now,
    }
