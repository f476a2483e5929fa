"""The media of incoming messages: fetched once by a worker, kept here, served from here.

A message that lacks any has `media_due_at` set: when a worker asks the carrier, or asks again after one that died.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# One worker at a time has a message, for `lease_s`; whoever dies with it is followed then.
_CLAIM = text("""
    update inbound_messages m
       set media_due_at = clock_timestamp() + make_interval(secs => :lease_s), media_tries = m.media_tries + 1
     where m.id = any(array(
           select id from inbound_messages where media_due_at <= clock_timestamp()
            order by media_due_at limit :limit for update skip locked))
    returning m.id, m.account_id, m.carrier, m.components, m.media_tries,
              array(select component from inbound_media where message_id = m.id) as kept
""")
_SAVE = text("""
    insert into inbound_media (message_id, component, account_id, content_type, body)
    values (:message_id, :component, :account_id, :content_type, :body) on conflict (message_id, component) do nothing
""")
_FAULT = text("""
    update inbound_messages set components = jsonb_set(components, array[cast(:index as text), 'fault'],
                                                       to_jsonb(cast(:fault as text)))
     where id = :message_id
""")
_NEXT = text("""
    update inbound_messages set media_due_at = clock_timestamp() + make_interval(secs => :after_s)
     where id = :message_id and media_due_at is not null
""")
_DONE = text("update inbound_messages set media_due_at = null where id = :message_id")
_LIST = text("""
    select c.n, c.component ->> 'contentType' as announced, c.component ->> 'fault' as fault,
           k.content_type, octet_length(k.body) as size, m.media_due_at is not null as is_awaited
      from inbound_messages m
     cross join lateral jsonb_array_elements(m.components) with ordinality as c(component, n)
      left join inbound_media k on k.message_id = m.id and k.component = c.n
     where m.id = :message_id and m.account_id = :account_id order by c.n
""")
_BODY = text("""
    select content_type, body from inbound_media
     where message_id = :message_id and component = :component and account_id = :account_id
""")
_EXISTS = text("select exists (select from inbound_messages where id = :message_id and account_id = :account_id)")


@dataclass(frozen=True, slots=True)
class Awaited:
    """A message whose media are to be fetched; `kept` are the numbers (1, 2, …) of those that are here."""

    message_id: int
    account_id: int
    carrier: str
    components: list[Mapping[str, Any]]  # url, contentType, fault
    tries: int
    kept: frozenset[int]


@dataclass(frozen=True, slots=True)
class Component:
    """One file of a message. Without `size` it is still awaited, or will not come, for the reason in `fault`."""

    number: int
    content_type: str
    size: int | None
    is_awaited: bool
    fault: str | None


async def claim(conn: AsyncConnection, limit: int, lease_s: float) -> list[Awaited]:
    """Takes messages whose media are due."""
    rows = await conn.execute(_CLAIM, {"limit": limit, "lease_s": lease_s})
    return [
        Awaited(row.id, row.account_id, row.carrier, row.components, row.media_tries, frozenset(row.kept))
        for row in rows
    ]


async def save(conn: AsyncConnection, awaited: Awaited, component: int, content_type: str, body: bytes) -> None:
    params = {
        "message_id": awaited.message_id,
        "component": component,
        "account_id": awaited.account_id,
        "content_type": content_type,
        "body": body,
    }
    await conn.execute(_SAVE, params)


async def fault(conn: AsyncConnection, awaited: Awaited, component: int, reason: str) -> None:
    """Notes why a file will not come."""
    params = {"message_id": awaited.message_id, "index": str(component - 1), "fault": reason}
    await conn.execute(_FAULT, params)


async def finish(conn: AsyncConnection, awaited: Awaited, retry_after_s: float | None) -> None:
    """Over, or due again after so many real seconds."""
    if retry_after_s is None:
        await conn.execute(_DONE, {"message_id": awaited.message_id})
    else:
        await conn.execute(_NEXT, {"message_id": awaited.message_id, "after_s": retry_after_s})


async def components(conn: AsyncConnection, account_id: int, message_id: int) -> list[Component] | None:
    """The files of the account's incoming message, in order; None when it has no such message."""
    params = {"message_id": message_id, "account_id": account_id}
    if not (await conn.execute(_EXISTS, params)).scalar():
        return None
    return [
        Component(row.n, row.content_type or row.announced, row.size, row.is_awaited and not row.fault, row.fault)
        for row in await conn.execute(_LIST, params)
    ]


async def body(conn: AsyncConnection, account_id: int, message_id: int, number: int) -> tuple[str, bytes] | None:
    """(content type, bytes) of a file that is here."""
    params = {"message_id": message_id, "account_id": account_id, "component": number}
    row = (await conn.execute(_BODY, params)).one_or_none()
    return None if row is None else (row.content_type, bytes(row.body))
