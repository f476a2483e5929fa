"""One-off contacts: prospects of the account's hidden direct campaign, so they take the same fenced path as all others.

Their ids come from `ids.new_id`: in the order of time, and in one order with what comes in.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.ids import new_id
from engine.store import locks, prospects
from engine.store.campaigns import Campaign

# In any of the account's hidden campaigns of the kind: its carrier may have changed since the request came first.
_SAME = """select p.id from campaigns c join prospects p on p.campaign_id = c.id
     where c.account_id = :account_id and c.is_direct and c.channel = :channel and p.phone = :phone
       and p.one_off = :one_off"""
_INSERT = text(f"""
    insert into prospects (id, campaign_id, account_id, phone, one_off, data, next_attempt_at)
    select :id, :campaign_id, :account_id, :phone, :one_off, cast(:data as jsonb), :now
     where not exists ({_SAME})
    on conflict (campaign_id, phone, one_off) do nothing returning id
""")
_FIND = text(_SAME)


async def add(
    conn: AsyncConnection,
    campaign: Campaign,
    phone: str,
    data: Mapping[str, object],
    now: datetime,
    request_name: str = "",
) -> int:
    """Queues one contact in a direct campaign, due at once, and returns its prospect's id.

    `data["from"]` is the number that it must come from. `request_name` names the request that asks for it, when its
    client did (Idempotency-Key): however often it comes and whatever died in between, one name and phone is one
    contact. The lock that this takes is the last one in the order of `locks`.
    """
    if request_name:  # or its repeat could come in beside it, over another carrier
        await locks.lock_exclusive(conn, [locks.named_key(f"one-off {campaign.account_id} {request_name}")])
    new = new_id()
    params = {
        "id": new,
        "campaign_id": campaign.id,
        "account_id": campaign.account_id,
        "channel": campaign.channel,
        "phone": phone,
        "one_off": number_of(request_name) if request_name else new,
        "data": orjson.dumps(data).decode(),
        "now": now,
    }
    if (await conn.execute(_INSERT, params)).scalar_one_or_none() is None:
        found: int = (await conn.execute(_FIND, params)).scalar_one()
        return found
    await prospects.count_added(conn, campaign.id, 1)
    return new


def number_of(request_name: str) -> int:
    """What tells the contacts with one phone apart."""
    digest = hashlib.blake2b(request_name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
