"""Refuses to delete what something else still refers to. These tables have no foreign keys; a row lock stands for them:
whoever refers to a row takes it `for share` first, whoever deletes it `for update`, and looks for uses afterwards.
"""

from collections.abc import Mapping

from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.clock import real_now
from engine.errors import Conflict
from engine.ids import encode

MOST_NAMED = 10

# A key that cannot be used again holds nothing.
WORKING = "revoked_at is null and (expires_at is null or expires_at > :real_now)"


async def refuse_if_used(
    conn: AsyncConnection, account_id: int, number: int, noun: str, queries: Mapping[str, tuple[str, TextClause]]
) -> None:
    """`queries`: plural noun → prefix of its ids (none: they are names), and what finds them by `:id`, up to `:limit`.

    Raises Conflict that names the first of each kind.
    """
    params = {"account_id": account_id, "id": number, "limit": MOST_NAMED, "real_now": real_now()}
    found: dict[str, object] = {}
    names: list[str] = []
    for plural, (prefix, query) in queries.items():
        needed = {name: params[name] for name in query.compile().params}
        users = [encode(prefix, each) if prefix else each for each in await conn.scalars(query, needed)]
        if users:
            found[plural] = users
            names += users
    if found:
        raise Conflict(f"the {noun} is in use by {', '.join(names)}; move or delete those first", found)
