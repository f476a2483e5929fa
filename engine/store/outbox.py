"""Events, written in the transaction that causes them. Only the relay reads them back (P6)."""

from collections.abc import Mapping, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.store.event_chunks import CHUNK_EVENTS

_INSERT = text("insert into outbox (account_id, count, body) values (:account_id, :count, :body)")


async def publish(conn: AsyncConnection, events_by_account: Mapping[int, Sequence[str]]) -> None:
    """Appends encoded events (`Event.encode()`), in order, as few rows as hold them.

    Call it late in the transaction, in or after the statement that locked the events' subjects: the row's id is then
    taken after the cause is fixed, so that no event precedes its cause.
    """
    rows = [
        {"account_id": account_id, "count": len(chunk), "body": "\n".join(chunk)}
        for account_id, events in events_by_account.items()
        for chunk in (events[begin : begin + CHUNK_EVENTS] for begin in range(0, len(events), CHUNK_EVENTS))
    ]
    if rows:
        await conn.execute(_INSERT, rows)
