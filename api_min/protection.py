"""Suppressions and consents are the account's: live traffic goes by what a test key writes.

A test key may add what protects people, and take back what somebody allowed. What would open somebody to live contacts
is left to live keys, as soon as the account has one.
"""

from sqlalchemy.ext.asyncio import AsyncConnection

from api_min.auth import Caller
from engine.errors import Forbidden
from engine.store import keys


async def may_loosen(conn: AsyncConnection, caller: Caller) -> bool:
    """Whether this key may take numbers off the suppression list and record what people allow."""
    return caller.is_live or not await keys.has_live(conn, caller.account_id)


async def check_may_loosen(conn: AsyncConnection, caller: Caller, deed: str) -> None:
    """Raises Forbidden naming the `deed`, as in `records consents`."""
    if not await may_loosen(conn, caller):
        raise Forbidden(f"only a live key {deed} in an account that has one: live campaigns go by them too")
