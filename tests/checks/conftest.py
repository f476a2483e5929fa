"""A small campaign that keeps every promise; each test breaks one and sees its checker say so."""

from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.checks.evidence import Create, Evidence
from engine.clock import Clock
from engine.ids import attempt_ref
from engine.rules.events import Event
from engine.rules.telephony import Channel
from engine.store import accounts, campaigns, dids, prospects
from engine.store.campaigns import Campaign, NewCampaign
from engine.store.dids import NewDid

Sql = Callable[[str], Awaitable[None]]

FROM = "+14155550101"
DONE, WAITING, LATER = "+14155550110", "+14155550111", "+14155550112"


@pytest.fixture
async def sql(db: AsyncEngine) -> Sql:
    async def execute(statement: str) -> None:
        async with db.begin() as conn:
            await conn.execute(text(statement))

    return execute


@pytest.fixture
async def kept(db: AsyncEngine, clock: Clock, sql: Sql) -> Campaign:
    """Dialing: one prospect had its voicemail at the second attempt, one is dialed, one waits to be retried."""
    async with db.begin() as conn:
        account = await accounts.create(conn, "Acme", clock.now())
        await dids.add(conn, account.id, [NewDid(FROM)], clock.now())
        new = NewCampaign("Spring", "voice", False, "simulated", {}, calls_per_second=5.0)
        campaign = await campaigns.create(conn, account.id, new, clock.now())
    await prospects.add(db, campaign, [DONE, WAITING, LATER])
    await sql("update campaigns set status = 'dialing'")
    await sql(
        f"update prospects set state = 4, outcome = 2, attempt = 2, next_attempt_at = 'infinity' where phone = '{DONE}'"
    )
    await sql(f"update prospects set state = 1 where phone = '{WAITING}'")
    await sql(f"update prospects set attempt = 2 where phone = '{LATER}'")
    await sql("update campaign_counts set queued = 1, dialing = 1, completed = 1, voicemail = 1, retrying = 1")
    at = clock.now().isoformat()
    for phone, attempt, state in ((DONE, 1, 9), (DONE, 2, 9), (WAITING, 1, 4), (LATER, 1, 9)):
        await sql(
            "insert into attempts (prospect_id, attempt, campaign_id, account_id, phone, did_id, from_number, carrier,"
            f" state, intent_at, rules_version) select p.id, {attempt}, campaign_id, p.account_id, phone, d.id,"
            f" d.number, 'simulated', {state}, '{at}', 't' from prospects p, dids d where phone = '{phone}'"
        )
    await put_events(
        sql, campaign.account_id, clock, "voice.initiated", "voice.answered", "voice.amd", "voice.completed"
    )
    return campaign


async def put_events(sql: Sql, account_id: int, clock: Clock, *types: str, tracking_id: str = "call_1") -> None:
    """Appends events of one call to the account's log, as the relay does."""
    await sql(f"insert into event_heads (account_id, seq) values ({account_id}, 0) on conflict do nothing")
    for type_ in types:
        body = Event(type_, clock.now(), {}, tracking_id).encode()
        await sql(
            f"with head as (update event_heads set seq = seq + 1 where account_id = {account_id} returning *)"
            f" insert into event_chunks select account_id, seq, current_date, seq, '{body}'".replace(":", r"\:")
            + " from head"
        )


@pytest.fixture
async def creates(db: AsyncEngine, kept: Campaign, clock: Clock) -> tuple[Create, ...]:
    """What the carrier's log says of the attempts of `kept`: a call every half second."""
    statement = text("select prospect_id, attempt, phone, intent_at from attempts order by prospect_id, attempt")
    async with db.connect() as conn:
        rows = (await conn.execute(statement)).all()
    return tuple(
        Create(
            attempt_ref(kept.id, row.prospect_id, row.attempt),
            clock.real_at(row.intent_at) + 0.5 * n,
            True,
            FROM,
            row.phone,
            Channel.VOICE,
        )
        for n, row in enumerate(rows)
    )


@pytest.fixture
def evidence(db: AsyncEngine, clock: Clock, creates: tuple[Create, ...]) -> Evidence:
    return Evidence(db, clock, creates)
