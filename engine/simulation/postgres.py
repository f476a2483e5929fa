"""The steps on PostgreSQL: each one the engine's own function, and nothing decided here."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from random import Random

import orjson
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.clock import Clock, real_now
from engine.coordinator import claim, inbox, lease, watch, windows
from engine.coordinator.shard import Claim, Due, Queued, Walk
from engine.coordinator.windows import Closed
from engine.dispatch import intent, settle
from engine.dispatch.campaigns import CampaignFacts, read_campaigns
from engine.dispatch.facts import AttemptKey
from engine.dispatch.hints import Hint
from engine.dispatch.intent import IntentBatch, IntentContext
from engine.dispatch.settle import SettleContext, SettleResult
from engine.dispatch.watch import Watched, read_due
from engine.feed.relay import Relay
from engine.rules.campaign import Action
from engine.rules.decision import AttemptView
from engine.rules.reports import Report
from engine.rules.telephony import Channel, Command
from engine.simulation.port import (
    DOCUMENT_CARRIER,
    SETTINGS,
    TEXT,
    Account,
    Imported,
    Kept,
    Number,
    Plan,
    Request,
    Snapshot,
    Usable,
)
from engine.simulation.postgres_snapshot import read_snapshot
from engine.store import callbacks, calls, campaigns, imports, messages, prospects, senders, suppressions, tickets
from engine.store.callbacks import Report as Callback
from engine.store.campaigns import Campaign
from engine.store.database import autocommit
from engine.store.tickets import Ticket

_LEASE_S = 3_600.0  # the world says when a relay's lease runs out; the database's clock must not
_WRITER = 1_000
_SWEPT = 5_000

_ACCOUNT = text("""
    insert into accounts (id, name, agent, settings, created_at)
    values (:id, :name, cast(:agent as jsonb), cast(:settings as jsonb), :now)
""")
_NUMBER = text("""
    insert into dids (id, account_id, number, capabilities, state, created_at)
    values (:id, :account_id, :number, '{voice,sms}', 'active', :now)
""")
_CAMPAIGN = text("""
    insert into campaigns (id, account_id, is_live, name, channel, purpose, status, carrier, mode, caller_ids, schedule,
                           calls_per_second, created_at)
    values (:id, :account_id, false, :name, :channel, :purpose, 'created', :carrier, cast(:mode as jsonb), '[]',
            cast(:schedule as jsonb), :calls_per_second, :now)
""")
_ACTIVE = text(f"select {lease.FACTS} from campaigns c where status in ('dialing', 'cancelled') order by id")
_DEPOSE = text("delete from leaders where name = 'relay'")


class PostgresSteps:
    """Over a migrated, empty database. `close` it: the relays hold a client that never connects."""

    def __init__(self, engine: AsyncEngine, clock: Clock, seed: int = 0) -> None:
        self.clock = clock
        self._engine = engine
        self._reader = autocommit(engine)
        self._owners: dict[int, int] = {}
        self._random = Random(seed)
        self._redis = Redis()
        self._relays: dict[str, Relay] = {}

    async def close(self) -> None:
        await self._redis.aclose()

    async def prepare(self, accounts: Sequence[Account], numbers: Sequence[Number], campaigns: Sequence[Plan]) -> None:
        now = self.clock.now()
        self._owners = {plan.id: plan.account_id for plan in campaigns}
        async with self._engine.begin() as conn:
            for account in accounts:
                await conn.execute(
                    _ACCOUNT,
                    {
                        "id": account.id,
                        "name": f"account {account.id}",
                        "agent": _json(account.agent),
                        "settings": _json({"limits": account.limits} if account.limits else {}),
                        "now": now,
                    },
                )
            for number in numbers:
                params = {"id": number.id, "account_id": number.account_id, "number": number.e164, "now": now}
                await conn.execute(_NUMBER, params)
            for plan in campaigns:
                await conn.execute(
                    _CAMPAIGN,
                    {
                        "id": plan.id,
                        "account_id": plan.account_id,
                        "name": f"campaign {plan.id}",
                        "channel": plan.channel,
                        "purpose": plan.purpose,
                        "carrier": plan.carrier,
                        "mode": _json(plan.mode),
                        "schedule": _json(plan.schedule),
                        "calls_per_second": plan.calls_per_second,
                        "now": now,
                    },
                )

    async def add_prospects(self, campaign_id: int, phones: Sequence[str]) -> int:
        return await prospects.add(self._engine, await self._campaign(campaign_id), phones)

    async def import_csv(self, campaign_id: int, body: bytes) -> Imported:
        async def chunks() -> AsyncIterator[bytes]:
            yield body

        campaign = await self._campaign(campaign_id)
        told = await imports.run_import(self._engine, campaign, self.clock.now(), chunks())
        return Imported(told.added, told.held, told.released, told.duplicates, told.invalid)

    async def move(self, campaign_id: int, action: Action) -> str:
        campaign = await self._campaign(campaign_id)
        moved = await campaigns.move(self._engine, campaign.account_id, campaign_id, action, self.clock.now())
        return str(moved.status)

    async def open_tickets(self, campaign_id: int) -> list[Ticket]:
        return sorted(await tickets.open_tickets(self._engine, campaign_id))

    async def are_open(self, open_ones: Sequence[Ticket]) -> bool:
        return await tickets.are_open(self._engine, open_ones)

    async def opt_out(self, account_id: int, phone: str) -> int:
        async with self._engine.begin() as conn:
            return await suppressions.add(conn, account_id, [phone], "opted_out", "api", self.clock)

    async def direct(self, asked: Request, now: datetime) -> int:
        async with self._engine.begin() as conn:
            return (await self._direct(conn, asked, now)).id

    async def create_call(self, asked: Request, now: datetime) -> int:
        return await calls.create_call(
            self._engine,
            asked.account_id,
            asked.number,
            asked.phone,
            asked.parameters,
            now,
            is_live=False,
            carrier=asked.carrier,
            request_name=asked.name,
        )

    async def queue_text(self, asked: Request, now: datetime) -> Kept:
        async with self._engine.begin() as conn:
            home = await self._direct(conn, asked, now)
            name, purpose = asked.name, asked.purpose
            queued = messages.queue(
                conn, home, asked.number, asked.phone, TEXT, now, request_name=name, purpose=purpose
            )
            return Kept(home.id, await queued)

    async def active(self) -> list[Campaign]:
        async with self._reader.connect() as conn:
            return [lease.campaign_of(row) for row in await conn.execute(_ACTIVE)]

    async def facts(self, campaign_ids: Collection[int]) -> dict[int, CampaignFacts]:
        return await read_campaigns(self._reader, campaign_ids)

    async def claim(self, wanted: Sequence[tuple[Walk, int]]) -> list[Claim]:
        return await claim.claim(self._reader, wanted, self.clock.now(), self.clock.speed)

    async def queued_behind(self, walks: Sequence[Walk]) -> dict[int, dict[int, Queued]]:
        return await claim.queued_behind(self._reader, walks)

    async def read_due(self, campaign: Campaign, prospect_ids: Sequence[int]) -> list[Due]:
        found = await claim.read_due(self._reader, {campaign.id: (campaign.is_direct, prospect_ids)}, self.clock.now())
        return sorted(found.get(campaign.id, []))

    async def put_off(self, closed: Sequence[Closed], now: datetime) -> None:
        await windows.put_off(self._engine, closed, now)

    async def usable(self, campaign: Campaign) -> list[Usable]:
        async with self._reader.connect() as conn:
            found = await senders.of_campaign(conn, campaign)
        return [Usable(each.id, each.number, each.sms_free_epoch) for each in found.usable]

    async def sweep(self, campaign_id: int) -> int:
        async with self._engine.begin() as conn:
            return await campaigns.sweep_cancelled(conn, campaign_id, _SWEPT)

    async def complete(self, campaign_id: int) -> bool:
        return await campaigns.complete_if_done(self._engine, campaign_id, self.clock.now())

    async def overdue(self) -> list[AttemptKey]:
        found, _ = await watch.overdue(self._reader, real_now())
        return [AttemptKey(*key) for key in found]

    async def unsettled(self) -> list[int]:
        return await inbox.unsettled(self._reader)

    async def commit_intents(self, hints: Sequence[Hint], channel: Channel) -> IntentBatch:
        answer_s = SETTINGS.carrier_timeout_s + SETTINGS.reconcile_after_s
        context = IntentContext(channel, self.clock, SETTINGS.ticket_s, answer_s, _WRITER)
        return await intent.commit_intents(self._engine, hints, context)

    async def settle(
        self,
        learned: Mapping[AttemptKey, Sequence[Report]],
        known: Mapping[AttemptKey, AttemptView] | None = None,
    ) -> SettleResult:
        return await settle.settle(self._engine, learned, self._context(), known or {})

    async def settle_callbacks(self, ids: Collection[int]) -> SettleResult:
        return await settle.settle_callbacks(self._engine, ids, self._context())

    async def due_attempts(self, keys: Collection[AttemptKey]) -> list[Watched]:
        return await read_due(self._engine, keys, self._context())

    async def receive(self, received: Sequence[Callback]) -> list[int]:
        async with self._engine.begin() as conn:
            return await callbacks.insert_many(conn, received)

    async def answer(self, callback: Callback) -> Command | None:
        async with self._reader.connect() as conn:
            ids = await callbacks.unsettled(conn, [callback])
        return await settle.settle_inline(self._engine, callback.event.ref, [callback.key], ids, self._context())

    async def number(self, relay: str) -> int | None:
        if relay not in self._relays:
            self._relays[relay] = Relay(self._engine, self._redis, keep=1, lease_s=_LEASE_S)
            self._relays[relay].owner = relay
        batch = await self._relays[relay].number()
        return None if batch is None else batch.count

    async def depose(self) -> None:
        async with self._engine.begin() as conn:
            await conn.execute(_DEPOSE)

    async def snapshot(self) -> Snapshot:
        return await read_snapshot(self._reader)

    async def _direct(self, conn: AsyncConnection, asked: Request, now: datetime) -> Campaign:
        return await campaigns.direct(conn, asked.account_id, asked.channel, False, asked.carrier, now)

    async def _campaign(self, campaign_id: int) -> Campaign:
        async with self._reader.connect() as conn:
            return await campaigns.get(conn, self._owners[campaign_id], campaign_id)

    def _context(self) -> SettleContext:
        return SettleContext(
            self.clock, SETTINGS, _WRITER + 1, document_carriers=frozenset({DOCUMENT_CARRIER}), random=self._random
        )


def _json(value: object) -> str | None:
    return None if value is None else orjson.dumps(value).decode()
