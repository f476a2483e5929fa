"""Campaigns: reading them, and moving them through their states.

Every move takes the campaign's key exclusive and, in a later statement, updates `where status = any(legal sources)`: an
intent is then either committed before the move, or sees it (P3). So are people who are added, and none is lost (P1).
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import orjson
from psycopg.errors import LockNotAvailable
from sqlalchemy import Row, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.errors import Conflict, InvalidInput, NotFound, Unavailable
from engine.ids import encode, new_id
from engine.rules import content
from engine.rules.account_limits import parse_limits
from engine.rules.campaign import Action, CampaignStatus, after, allowed_actions, sources
from engine.rules.campaign_config import SmsMode, missing_at_start, parse_mode
from engine.rules.prospect import ProspectState
from engine.rules.purpose import Purpose
from engine.store import accounts, audit, counts, locks, outbox, tickets
from engine.store.database import autocommit
from engine.store.tickets import TICKET_GRACE_S, TICKET_S

DIRECT_CALLS_PER_SECOND = 1_000.0  # one-off calls are paced by their DIDs and the carrier
_LOCK_TIMEOUT = "20s"  # the final insert of a very large import holds a campaign's intake for this long

_COLUMNS = """id, account_id, is_direct, is_system, is_live, name, channel, purpose, status, status_reason, carrier,
    mode, caller_ids, caller_id_strategy, schedule, frequency_cap, calls_per_second, created_at, started_at,
    ended_at"""
_INSERT = text(f"""
    insert into campaigns (id, account_id, is_direct, is_system, is_live, name, channel, purpose, status, carrier,
                           mode, caller_ids, caller_id_strategy, schedule, frequency_cap, calls_per_second, created_at)
    values (:id, :account_id, :is_direct, :is_system, :is_live, :name, :channel, :purpose, :status, :carrier,
            cast(:mode as jsonb), cast(:caller_ids as jsonb), cast(:caller_id_strategy as jsonb),
            cast(:schedule as jsonb), cast(:frequency_cap as jsonb), :calls_per_second, :now)
    on conflict (account_id, channel, is_live, is_system, carrier) where is_direct do nothing
    returning {_COLUMNS}
""")
_FIND = text(f"select {_COLUMNS} from campaigns where id = :id and account_id = :account_id and not is_direct")
_DIRECT = text(f"""
    select {_COLUMNS} from campaigns
     where account_id = :account_id and channel = :channel and is_live = :is_live and is_direct
       and is_system = :is_system and carrier = :carrier
""")
_PAGE = text(f"""
    select {_COLUMNS} from campaigns
     where account_id = :account_id and id > :after and not is_direct order by id limit :limit
""")
# A pause gives the coordinator's lease up: workers refuse what is in the queue, and a coordinator that hears of the
# pause only after the resume would take those hints to be on their way still, until it gives them up for lost.
_MOVE = text(f"""
    update campaigns set status = :status, status_reason = :reason,
           lease_owner = case when :status = 'paused' then '' else lease_owner end,
           lease_until = case when :status = 'paused' then '-infinity' else lease_until end,
           started_at = case when :status = 'dialing' then coalesce(started_at, :now) else started_at end,
           ended_at = case when :status in ('completed', 'cancelled', 'failed') then :now end
     where id = :id and status = any(cast(:sources as text[])) and not is_direct
    returning {_COLUMNS}
""")
_HAS_OPEN = text("""
    select exists (select from prospects where campaign_id = :id and next_attempt_at < 'infinity')
""")
_IS_DIALING = text("select exists (select from campaigns where id = :id and status = 'dialing' and not is_direct)")
# `any(array(…))` runs the sub-select once; `in (…)` may run it per row, and then sweep more than the limit.
_SWEEP = text(f"""
    update prospects set state = {ProspectState.CANCELLED:d}, next_attempt_at = 'infinity'
     where campaign_id = :id and id = any(array(
           select id from prospects
            where campaign_id = :id and next_attempt_at < 'infinity' and state + 0 = {ProspectState.QUEUED:d}
              and exists (select from campaigns where id = :id and status = 'cancelled')
            order by next_attempt_at, id limit :limit for update skip locked))
""")


@dataclass(frozen=True, slots=True)
class NewCampaign:
    """What a client sends, already validated, and what follows from its key."""

    name: str
    channel: str
    is_live: bool
    carrier: str  # a name of the carrier catalog
    mode: Mapping[str, object]
    caller_ids: Sequence[str] = ()
    caller_id_strategy: Mapping[str, object] | None = None
    schedule: Mapping[str, object] | None = None
    calls_per_second: float = 1.0
    purpose: Purpose = Purpose.MARKETING
    frequency_cap: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Campaign:
    id: int
    account_id: int
    is_direct: bool  # holds an account's one-off calls or messages; never listed
    is_system: bool  # direct, and of the answers that the law asks for: exempt from suppression, window and pacing
    is_live: bool
    name: str
    channel: str
    purpose: Purpose
    status: CampaignStatus
    status_reason: str
    carrier: str
    mode: Mapping[str, object]
    caller_ids: tuple[str, ...]
    caller_id_strategy: Mapping[str, object] | None
    schedule: Mapping[str, object] | None
    frequency_cap: Mapping[str, object] | None
    calls_per_second: float
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def public_id(self) -> str:
        return encode("camp", self.id)


async def create(conn: AsyncConnection, account_id: int, new: NewCampaign, now: datetime) -> Campaign:
    return _campaign((await conn.execute(_INSERT, _insert_params(account_id, new, now))).one())


async def direct(
    conn: AsyncConnection,
    account_id: int,
    channel: str,
    is_live: bool,
    carrier: str,
    now: datetime,
    *,
    is_system: bool = False,
) -> Campaign:
    """The hidden campaign of the account's one-off calls or messages over a carrier, made at its first use; always
    dialing. What was asked for before an account changed its carrier stays with the old one, which knows it."""
    key = {"account_id": account_id, "channel": channel, "is_live": is_live, "is_system": is_system, "carrier": carrier}
    if row := (await conn.execute(_DIRECT, key)).one_or_none():
        return _campaign(row)
    new = NewCampaign(
        f"{'system' if is_system else 'one-off'} {channel}",
        channel,
        is_live,
        carrier,
        mode={},
        calls_per_second=DIRECT_CALLS_PER_SECOND,
    )
    params = _insert_params(account_id, new, now) | {
        "is_direct": True,
        "is_system": is_system,
        "status": CampaignStatus.DIALING,
    }
    await conn.execute(_INSERT, params)
    return _campaign((await conn.execute(_DIRECT, key)).one())  # ours, or that of whoever came first


async def find(conn: AsyncConnection, account_id: int, campaign_id: int) -> Campaign | None:
    """The account's campaign; None for another tenant's and for the hidden ones."""
    row = (await conn.execute(_FIND, {"id": campaign_id, "account_id": account_id})).one_or_none()
    return _campaign(row) if row else None


async def get(conn: AsyncConnection, account_id: int, campaign_id: int) -> Campaign:
    """As `find`; raises NotFound instead of answering None."""
    campaign = await find(conn, account_id, campaign_id)
    if campaign is None:
        raise NotFound("there is no such campaign")
    return campaign


async def list_campaigns(
    conn: AsyncConnection, account_id: int, limit: int | None = None, after_id: int | None = None
) -> list[Campaign]:
    """Oldest first; `after_id` continues behind the last one of the page before."""
    params = {"account_id": account_id, "after": after_id or 0, "limit": limit}
    return [_campaign(row) for row in await conn.execute(_PAGE, params)]


async def transition(
    engine: AsyncEngine,
    account_id: int,
    campaign_id: int,
    action: Action,
    now: datetime,
    *,
    actor: str = audit.OPERATOR,
    ticket_s: float = TICKET_S,
) -> Campaign:
    """Starts, pauses, resumes or cancels. After a pause or cancel returned, no create of the campaign begins (P3).

    Raises as `move`.
    """
    moved = await move(engine, account_id, campaign_id, action, now, actor=actor)
    if action in (Action.PAUSE, Action.CANCEL):
        await tickets.await_tickets(engine, campaign_id, ticket_s + TICKET_GRACE_S)
    return moved


async def move(
    engine: AsyncEngine,
    account_id: int,
    campaign_id: int,
    action: Action,
    now: datetime,
    *,
    actor: str = audit.OPERATOR,
) -> Campaign:
    """The transaction of a transition: no intent is committed after it, but tickets may still be open.

    Raises NotFound; Conflict naming the state and what is allowed in it; InvalidInput naming what a start lacks;
    ContentRejected for a text that the content scan blocks;
    Unavailable while a large import holds the campaign.
    """
    async with locked(engine, campaign_id) as conn:
        campaign = await get(conn, account_id, campaign_id)
        if after(campaign.status, action) is None:
            raise refusal(campaign, action)
        if action is Action.START:
            await _check_start(conn, campaign)
        moved = await _move(conn, campaign_id, action, now)
        if moved is None:
            raise refusal(campaign, action)
        if action is Action.CANCEL:
            await counts.cancel_queued(conn, campaign_id)
        await audit.record(conn, account_id, actor, f"campaign.{action}", moved.public_id, now)
    return moved


async def sweep_cancelled(conn: AsyncConnection, campaign_id: int, limit: int = 5_000) -> int:
    """Marks up to `limit` queued rows of a cancelled campaign; counters moved with the cancel. 0: nothing was left."""
    return (await conn.execute(_SWEEP, {"id": campaign_id, "limit": limit})).rowcount


async def complete_if_done(engine: AsyncEngine, campaign_id: int, now: datetime) -> bool:
    """Completes a dialing campaign that has no open prospect. True when it did.

    The counters say first, at any size, whether it is worth asking the rows under the key; the rows decide (P1).
    """
    async with autocommit(engine).connect() as conn:
        found = await counts.read(conn, campaign_id)
    if found["completed"] + found["cancelled"] < found["total"] or not await _is_dialing(engine, campaign_id):
        return False
    async with locked(engine, campaign_id) as conn:
        if (await conn.execute(_HAS_OPEN, {"id": campaign_id})).scalar():
            return False
        return await _move(conn, campaign_id, Action.COMPLETE, now) is not None


async def pause_for(
    engine: AsyncEngine, campaign_id: int, reason: str, now: datetime, events: Sequence[str] = ()
) -> Campaign | None:
    """Pauses a dialing campaign on the engine's own account, with encoded `events`; None when it was no longer dialing.
    Does not wait for tickets."""
    if not await _is_dialing(engine, campaign_id):
        return None
    async with locked(engine, campaign_id) as conn:
        moved = await _move(conn, campaign_id, Action.PAUSE, now, reason)
        if moved is not None:
            detail = {"reason": reason}
            await audit.record(conn, moved.account_id, "engine", "campaign.pause", moved.public_id, now, detail)
            await outbox.publish(conn, {moved.account_id: events})
    return moved


@asynccontextmanager
async def locked(engine: AsyncEngine, campaign_id: int) -> AsyncIterator[AsyncConnection]:
    """A transaction that may move the campaign: nobody is added meanwhile, no intent given, nothing settled.

    Raises Unavailable when its keys cannot be had in time.
    """
    async with engine.begin() as conn:
        async with _in_time(conn):
            await locks.lock_exclusive(conn, [locks.intake_key(campaign_id), locks.campaign_key(campaign_id)])
        yield conn


async def take_intake(conn: AsyncConnection, campaign_id: int) -> None:
    """For whoever adds people, first in a transaction: one at a time, and the campaign stays in its state, but what is
    under way in it goes on. Raises as `locked` does.

    The intake alone would do, but while a release is put in place, processes of the one before move by the key alone.
    """
    async with _in_time(conn):
        await locks.lock_exclusive(conn, [locks.intake_key(campaign_id)])
        await locks.lock_shared(conn, [locks.campaign_key(campaign_id)])


@asynccontextmanager
async def _in_time(conn: AsyncConnection) -> AsyncIterator[None]:
    """Raises Unavailable for a lock that could not be had in `_LOCK_TIMEOUT`."""
    await conn.execute(text(f"set local lock_timeout = '{_LOCK_TIMEOUT}'"))
    try:
        yield
    except OperationalError as error:
        if isinstance(error.orig, LockNotAvailable):
            raise Unavailable("the campaign is taking in a large import; try again in a moment") from error
        raise


async def _is_dialing(engine: AsyncEngine, campaign_id: int) -> bool:
    """Asked before the engine's own moves: one that comes too late would wait for an import into the paused campaign,
    and a settling lane with it."""
    async with autocommit(engine).connect() as conn:
        return bool((await conn.execute(_IS_DIALING, {"id": campaign_id})).scalar())


def refusal(campaign: Campaign, action: str) -> Conflict:
    """The 409 for `action` in the campaign's present state."""
    allowed = [str(each) for each in allowed_actions(campaign.status)]
    return Conflict(
        f"cannot {action} a campaign that is {campaign.status}; allowed now: {', '.join(allowed) or 'nothing'}",
        {"status": str(campaign.status), "allowed": allowed},
    )


async def _move(
    conn: AsyncConnection, campaign_id: int, action: Action, now: datetime, reason: str = ""
) -> Campaign | None:
    """The guarded update; None when the status is no legal source of `action`."""
    legal = sources(action)
    status = after(legal[0], action)  # the same from every source: a test walks the table
    params = {"id": campaign_id, "status": status, "reason": reason, "now": now, "sources": list(legal)}
    row = (await conn.execute(_MOVE, params)).one_or_none()
    return _campaign(row) if row else None


async def _check_start(conn: AsyncConnection, campaign: Campaign) -> None:
    account = await accounts.get(conn, campaign.account_id)
    has_agent = account is not None and account.agent is not None
    mode = parse_mode(campaign.channel, campaign.mode)
    parse_limits(account.settings.get("limits") if account else None)
    if missing := missing_at_start(mode, has_agent):
        raise InvalidInput("the campaign cannot start: " + "; ".join(f"{k} {v}" for k, v in missing.items()), missing)
    if isinstance(mode, SmsMode):
        policy = content.policy_of(account.settings.get("content") if account else None, is_live=campaign.is_live)
        content.raise_if_blocked(content.scan(mode.template.sample(), policy), "mode.message")


def _insert_params(account_id: int, new: NewCampaign, now: datetime) -> dict[str, object]:
    return {
        "id": new_id(),
        "account_id": account_id,
        "is_direct": False,
        "is_system": False,
        "is_live": new.is_live,
        "name": new.name,
        "channel": new.channel,
        "purpose": new.purpose,
        "status": CampaignStatus.CREATED,
        "carrier": new.carrier,
        "mode": _json(new.mode),
        "caller_ids": _json(list(new.caller_ids)),
        "caller_id_strategy": _json(new.caller_id_strategy),
        "schedule": _json(new.schedule),
        "frequency_cap": _json(new.frequency_cap),
        "calls_per_second": new.calls_per_second,
        "now": now,
    }


def _json(value: object) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def _campaign(row: Row[tuple[object, ...]]) -> Campaign:
    fields = dict(row._mapping)
    fields["status"], fields["purpose"] = CampaignStatus(fields["status"]), Purpose(fields["purpose"])
    return Campaign(**fields | {"caller_ids": tuple(fields["caller_ids"])})
