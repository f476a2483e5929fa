"""Who owns a number: a number belongs to a line, a line to a user, to a team, or to the whole account."""

from collections.abc import Collection

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.ids import public
from engine.rules.events import Owner
from engine.store import arrays

# A user's line is its team's too, so that a team sees what its members receive.
_OWNERS = text("""
    select d.id, l.id as line_id, l.user_id, coalesce(l.team_id, u.team_id) as team_id
      from dids d join lines l on l.id = d.line_id left join users u on u.id = l.user_id
     where d.id = any(cast(:ids as bigint[]))
""")


async def owners(conn: AsyncConnection, did_ids: Collection[int]) -> dict[int, Owner]:
    """The owners of those DIDs that belong to a line, by DID."""
    rows = await conn.execute(_OWNERS, {"ids": arrays.numbers(sorted(did_ids))})
    return {
        row.id: Owner(public("line", row.line_id), public("user", row.user_id), public("team", row.team_id))
        for row in rows
    }
