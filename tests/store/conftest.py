"""An account with a campaign, and ways to watch two transactions meet."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.clock import Clock
from engine.rules.campaign import Action
from engine.store import accounts, campaigns
from engine.store.accounts import Account
from engine.store.campaigns import Campaign, NewCampaign

DEADLINE_S = 30.0  # generous: a busy machine is slow, not wrong


@pytest.fixture
async def account(db: AsyncEngine, clock: Clock) -> Account:
    async with db.begin() as conn:
        return await accounts.create(conn, "Acme", clock.now())


@pytest.fixture
async def campaign(db: AsyncEngine, account: Account, clock: Clock) -> Campaign:
    """A voice campaign, created."""
    async with db.begin() as conn:
        return await campaigns.create(
            conn, account.id, NewCampaign("Spring", "voice", False, "simulated", {}), clock.now()
        )


@pytest.fixture
def act(
    db: AsyncEngine, account: Account, campaign: Campaign, clock: Clock
) -> Callable[..., Coroutine[None, None, Campaign]]:
    """`await act("start")` moves the campaign."""

    async def act_(action: str, ticket_s: float = 2.0) -> Campaign:
        now = clock.now()
        return await campaigns.transition(db, account.id, campaign.id, Action(action), now, ticket_s=ticket_s)

    return act_


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.002)


async def someone_waits(db: AsyncEngine) -> bool:
    """True when a transaction of this database waits for an advisory lock."""
    async with db.connect() as conn:
        statement = text(
            "select exists (select from pg_locks where locktype = 'advisory' and not granted"
            " and database = (select oid from pg_database where datname = current_database()))"
        )
        return bool((await conn.execute(statement)).scalar())


@asynccontextmanager
async def holding(db: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction that a test keeps open for as long as it likes; rolled back unless committed."""
    async with db.connect() as conn:
        yield conn
