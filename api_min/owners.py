"""Reads whose something is to be from a request, and shows whose it is. Unknown ids and those of another account are
refused alike, and named by their field."""

from collections.abc import Awaitable, Callable

from sqlalchemy.ext.asyncio import AsyncConnection

from engine import ids
from engine.errors import InvalidInput
from engine.store import lines, teams, users

Hold = Callable[[AsyncConnection, int, int], Awaitable[bool]]


async def one_of(
    conn: AsyncConnection, account_id: int, user_id: str | None, team_id: str | None
) -> tuple[int | None, int | None]:
    """A user or a team or neither; it stays until the transaction ends. Raises InvalidInput."""
    if user_id is not None and team_id is not None:
        fault = "give userId or teamId, not both: a user's team hears of their numbers anyway"
        raise InvalidInput(fault, {"userId": fault, "teamId": fault})
    user = await _held(conn, account_id, "user", user_id, users.hold)
    return user, await team(conn, account_id, team_id)


async def team(conn: AsyncConnection, account_id: int, text: str | None) -> int | None:
    """Raises InvalidInput."""
    return await _held(conn, account_id, "team", text, teams.hold)


async def line(conn: AsyncConnection, account_id: int, text: str | None) -> int | None:
    """Raises InvalidInput."""
    return await _held(conn, account_id, "line", text, lines.hold)


def show(prefix: str, number: int | None) -> str | None:
    return None if number is None else ids.encode(prefix, number)


async def _held(conn: AsyncConnection, account_id: int, noun: str, text: str | None, hold: Hold) -> int | None:
    if text is None:
        return None
    number = ids.decode(noun, text)
    if number is None or not await hold(conn, account_id, number):
        fault = f"there is no {noun} {text[:40]!r} in this account; GET /api/{noun}s lists them"
        raise InvalidInput(f"{noun}Id: {fault}", {f"{noun}Id": fault})
    return number
