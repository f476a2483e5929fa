"""The numbers that a campaign may send from, as the coordinator needs them, and those that only rest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.rules import did_pool
from engine.rules.did_pool import DidState
from engine.store.campaigns import Campaign

# Infinity is a valid timestamp in PostgreSQL and none in Python: as an epoch it is a float's own.
_OF_CAMPAIGN = text("""
    select d.id, d.number, d.state, d.state_reason, d.state_until, d.flags, d.calls_per_minute,
           extract(epoch from d.sms_free_at)::float8 as sms_free_epoch, h.score, h.sms_score,
           coalesce(extract(epoch from h.used_at)::float8, '-infinity') as used_epoch,
           coalesce(u.free_at, '-infinity') as call_free_epoch, coalesce(u.room, 1) as room
      from dids d left join did_usage u on u.did_id = d.id left join did_health h on h.did_id = d.id
     where d.account_id = :account_id and (d.state <> 'released' or d.flags > 0) and :channel = any(d.capabilities)
       and (:any or d.number = any(cast(:numbers as text[])) or left(d.number, 5) = any(cast(:prefixes as text[])))
     order by d.id
""")


@dataclass(frozen=True, slots=True)
class Sender:
    """A number in use. Epochs are engine time, seconds; -inf: never, inf: a message is under way."""

    id: int
    number: str
    calls_per_minute: int | None  # engine minutes; None: the setting
    sms_free_epoch: float
    score: float | None  # of the campaign's channel; None: not known yet
    used_epoch: float
    call_free_epoch: float  # its hourly and daily caps allow the next call then,
    room: int  # and so many


class Resting(NamedTuple):
    number: str
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Senders:
    usable: Sequence[Sender]
    resting: Mapping[int, Resting]
    blocked: Mapping[int, str] = field(default_factory=dict)  # `did_pool.is_blocked`: their numbers, by id


async def of_campaign(conn: AsyncConnection, campaign: Campaign) -> Senders:
    """The account's numbers that can carry the campaign's channel and match its caller ids, oldest first.

    A caller id is an E.164 number or a North American area code; no caller ids mean every number of the account. An
    answer that the law asks for comes from the number that was written to, even while that rests.
    """
    params = {
        "account_id": campaign.account_id,
        "channel": campaign.channel,
        "any": not campaign.caller_ids,
        "numbers": [caller_id for caller_id in campaign.caller_ids if caller_id.startswith("+")],
        "prefixes": [f"+1{caller_id}" for caller_id in campaign.caller_ids if not caller_id.startswith("+")],
    }
    rows = (await conn.execute(_OF_CAMPAIGN, params)).all()
    is_sms = campaign.channel == "sms"
    in_use = did_pool.ANSWERING if campaign.is_system else did_pool.USABLE
    usable = [
        Sender(
            row.id,
            row.number,
            row.calls_per_minute,
            row.sms_free_epoch,
            row.sms_score if is_sms else row.score,
            row.used_epoch,
            row.call_free_epoch,
            row.room,
        )
        for row in rows
        if DidState(row.state) in in_use
    ]
    resting = {
        row.id: Resting(row.number, row.state_until)
        for row in rows
        if DidState(row.state) in (DidState.COOLING, DidState.QUARANTINE)
    }
    blocked = {
        row.id: row.number for row in rows if did_pool.is_blocked(DidState(row.state), row.state_reason, row.flags)
    }
    return Senders(usable, resting, blocked)
