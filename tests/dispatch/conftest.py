"""Rows to dispatch against, written straight into the tables."""

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.dispatch.hints import Hint
from engine.rules.stats import Delta
from engine.store import counts

_ids = itertools.count(1_000)


@dataclass
class World:
    """One account, its DIDs and campaigns."""

    db: AsyncEngine
    account_id: int = field(default_factory=lambda: next(_ids))
    did_ids: list[int] = field(default_factory=list)

    async def execute(self, statement: str, **params: object) -> list[tuple[object, ...]]:
        async with self.db.begin() as conn:
            result = await conn.execute(text(statement), params)
            return [tuple(row) for row in result] if result.returns_rows else []

    async def campaign(
        self, channel: str = "voice", *, phones: list[str], status: str = "dialing", **mode: object
    ) -> int:
        """A campaign with queued prospects; returns its id."""
        campaign_id = next(_ids)
        await self.execute(
            "insert into campaigns (id, account_id, is_live, name, channel, status, carrier, mode, caller_ids,"
            " calls_per_second, created_at) values (:id, :account, false, 'test', :channel, :status,"
            " 'simulated-command', :mode, '[]', 10, :now)",
            id=campaign_id,
            account=self.account_id,
            channel=channel,
            status=status,
            mode=orjson.dumps({"message": "Hello"} | mode if channel == "sms" else mode).decode(),
            now=datetime.now(UTC),
        )
        await self.execute(
            "insert into prospects (campaign_id, account_id, phone)"
            " select :campaign, :account, unnest(cast(:phones as text[]))",
            campaign=campaign_id,
            account=self.account_id,
            phones=phones,
        )
        delta = Delta()
        delta.add("total", len(phones))
        delta.add("queued", len(phones))
        async with self.db.begin() as conn:
            await counts.add(conn, {campaign_id: delta}, writer=0)
        return campaign_id

    async def did(self, number: str = "+12135550100") -> int:
        did_id = next(_ids)
        await self.execute(
            "insert into dids (id, account_id, number, capabilities, state, created_at)"
            " values (:id, :account, :number, '{voice,sms}', 'active', :now)",
            id=did_id,
            account=self.account_id,
            number=number,
            now=datetime.now(UTC),
        )
        self.did_ids.append(did_id)
        return did_id

    async def hints(self, campaign_id: int, did_id: int, number: str = "+12135550100") -> list[Hint]:
        query = "select id, attempt, phone from prospects where campaign_id = :campaign order by id"
        rows: list[tuple[Any, ...]] = await self.execute(query, campaign=campaign_id)
        kind = "select is_direct and channel = 'sms' from campaigns where id = :campaign"
        ((is_one_off_text,),) = await self.execute(kind, campaign=campaign_id)
        return [
            Hint(self.account_id, campaign_id, row[0], row[1], row[2], did_id, number, bool(is_one_off_text))
            for row in rows
        ]

    async def counts(self, campaign_id: int) -> dict[str, int]:
        async with self.db.connect() as conn:
            return {name: value for name, value in (await counts.read(conn, campaign_id)).items() if value}


@pytest.fixture
async def world(db: AsyncEngine) -> World:
    world = World(db)
    await world.execute(
        "insert into accounts (id, name, created_at) values (:id, 'test', :now)",
        id=world.account_id,
        now=datetime.now(UTC),
    )
    return world
