"""The duties of whom: campaigns without a fresh registry pause, and what is old enough is forgotten."""

from datetime import UTC, date, datetime, timedelta

import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import Clock
from engine.coordinator.lease import Lease
from engine.coordinator.registries import Registries
from engine.coordinator.shard import Shard
from engine.coordinator.upkeep import Purge
from engine.runtime import Runtime
from engine.store import registries
from tests.conftest import LEGAL_HOUR
from tests.coordinator.conftest import ACCOUNT, MakeCampaign

MUST_ASK = orjson.dumps({"compliance": {"require_registry": True}}).decode()


async def run(db: AsyncEngine, statement: str, **params: object) -> list[tuple[object, ...]]:
    async with db.begin() as conn:
        result = await conn.execute(text(statement), params)
        return [tuple(row) for row in result] if result.returns_rows else []


@pytest.mark.parametrize(
    ("as_of", "reason"),
    [
        (None, "registry_missing"),
        (LEGAL_HOUR.date() - timedelta(days=32), "registry_stale"),
        (LEGAL_HOUR.date() - timedelta(days=31), ""),
    ],
)
async def test_a_marketing_campaign_that_must_ask_pauses_itself_with_the_reason(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock,
    as_of: date | None, reason: str,
) -> None:  # fmt: skip
    marketing, informational = await make_campaign(), await make_campaign()
    await run(db, "update campaigns set purpose = 'informational' where id = :id", id=informational.id)
    await run(
        db,
        "insert into accounts (id, name, settings, created_at) values (:id, 'a', cast(:settings as jsonb), :now)",
        id=ACCOUNT, settings=MUST_ASK, now=clock.now(),
    )  # fmt: skip
    if as_of:
        await registries.replace(db, "US", as_of, {}, 0, clock.now())
    await lease.run_once()

    assert await Registries(runtime, shard).run_once() == (1 if reason else 0)

    found = dict(await run(db, "select id, status || ' ' || status_reason from campaigns"))
    assert found == {
        marketing.id: f"paused {reason}" if reason else "dialing ",
        informational.id: "dialing ",
    }
    assert (marketing.id in shard.walks) is not bool(reason)
    assert informational.id in shard.walks
    assert await Registries(runtime, shard).run_once() == 0


async def test_an_account_that_need_not_ask_goes_on(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    campaign = await make_campaign()
    await run(db, "insert into accounts (id, name, created_at) values (:id, 'a', :now)", id=ACCOUNT, now=clock.now())
    await lease.run_once()
    assert await Registries(runtime, shard).run_once() == 0
    assert campaign.id in shard.walks


async def test_suppressions_are_forgotten_after_their_states_term_and_contacts_after_a_week(
    runtime: Runtime, db: AsyncEngine, clock: Clock
) -> None:
    ages = {
        "+12125550147": datetime(2021, 3, 11, 17, 0, tzinfo=UTC),  # New York, five years and an hour
        "+12125550148": datetime(2021, 3, 11, 20, 0, tzinfo=UTC),
        "+17035550147": datetime(2021, 3, 11, 17, 0, tzinfo=UTC),  # Virginia: ten years
        "+17035550148": datetime(2016, 3, 11, 17, 0, tzinfo=UTC),
    }
    for phone, at in ages.items():
        await run(db, "insert into suppressions values (7, :phone, 'stop', 'sms_text', :at)", phone=phone, at=at)
    for days in (6, 9):
        at = clock.now() - timedelta(days=days)
        await run(db, "insert into person_contacts values (7, 12125550147, :at, true)", at=at)

    await Purge(runtime).run_once()

    kept = await run(db, "select phone from suppressions order by phone")
    assert kept == [("+12125550148",), ("+17035550147",)]
    assert await run(db, "select account_id, action, subject from audit") == [(7, "suppression.expire", "2 numbers")]
    assert len(await run(db, "select * from person_contacts")) == 1


async def test_suppressions_are_forgotten_though_forgetting_contacts_fails(
    runtime: Runtime, db: AsyncEngine, clock: Clock
) -> None:
    old = clock.now() - timedelta(days=6 * 366)
    await run(db, "insert into suppressions values (7, '+12125550147', 'stop', 'sms_text', :at)", at=old)
    await run(db, "alter table person_contacts rename to away")
    try:
        with pytest.raises(DBAPIError):
            await Purge(runtime).run_once()
    finally:
        await run(db, "alter table away rename to person_contacts")
    assert await run(db, "select phone from suppressions") == []
