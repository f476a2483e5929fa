from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import starting_at
from engine.errors import Misconfigured
from engine.rules.whereabouts import whereabouts
from engine.rules.window import hours
from engine.store import accounts, clock, dids, keys, seed
from engine.store.accounts import Account

AGENT = {"kind": "ws_media", "url": "ws://127.0.0.1:1/"}


async def test_everything_is_there(db: AsyncEngine) -> None:
    seeded = await seed.seed_dev(db, agent=AGENT, speed=60.0)
    async with db.connect() as conn:
        key = await keys.find_key(conn, seeded.key)
        owned = await dids.list_dids(conn, seeded.account_id)
        account = await accounts.get(conn, seeded.account_id)
    assert seeded.key.startswith("tk_test_")
    assert key is not None
    assert (key.account_id, key.scopes, key.is_live) == (seeded.account_id, ("*",), False)
    assert {did.number for did in owned} >= {"+14155559876", "+17145551000", "+19495551000"}
    assert all(did.state == "active" and set(did.capabilities) == {"voice", "sms"} for did in owned)
    assert account is not None
    assert account.agent == AGENT
    assert await clock.load(db) == seeded.clock
    assert seeded.clock.speed == 60.0


async def test_again_with_its_key_adds_nothing(db: AsyncEngine) -> None:
    first = await seed.seed_dev(db)
    again = await seed.seed_dev(db, secret=first.key, agent=AGENT)
    assert (again.key, again.account_id) == (first.key, first.account_id)
    async with db.connect() as conn:
        assert len(await keys.list_keys(conn, first.account_id)) == 1
        assert len(await dids.list_dids(conn, first.account_id)) == len(seed.DEV_NUMBERS)


async def test_a_kept_key_survives_a_lost_database(db: AsyncEngine) -> None:
    secret = "tk_test_" + "a" * 32
    assert (await seed.seed_dev(db, secret=secret)).key == secret
    async with db.connect() as conn:
        assert await keys.find_key(conn, secret)


async def test_refused_beside_live_keys(db: AsyncEngine, account: Account) -> None:
    async with db.begin() as conn:
        await keys.create_key(conn, account.id, "live", ["*"], 60, None, True)
    with pytest.raises(Misconfigured):
        await seed.seed_dev(db, speed=10.0)


async def test_engine_time_never_goes_back(db: AsyncEngine) -> None:
    ahead = datetime.now(UTC) + timedelta(days=400)
    await clock.save(db, starting_at(ahead, 1.0))
    assert (await seed.set_legal_hour(db)).now() >= ahead


@pytest.mark.parametrize("hours_on", range(0, 24 * 9, 5))
def test_the_legal_hour_is_legal_everywhere(hours_on: int) -> None:
    start = datetime(2026, 10, 29, 0, 30, tzinfo=UTC) + timedelta(hours=hours_on)  # over a weekend and the end of DST
    legal = seed.next_legal_hour(start)
    assert start <= legal <= start + timedelta(days=6)  # Election Day is closed in Louisiana
    for phone in ("+12125550100", "+14155550100", "+18085550100", "+12075550100", "+15025550100", "+15045550100"):
        assert hours("sms").at(whereabouts(phone), legal).open
        assert hours("voice").at(whereabouts(phone), legal).open
    assert seed.next_legal_hour(legal) == legal


async def test_a_clock_that_is_sped_up_starts_early_in_the_day(db: AsyncEngine) -> None:
    """Late in the legal hours a sped-up day ends within minutes, before a campaign of some size does."""
    afternoon = datetime(2031, 3, 12, 19, 30, tzinfo=UTC)  # a Wednesday, 12:30 in Los Angeles
    await clock.save(db, starting_at(afternoon, 1.0))
    assert (await seed.set_legal_hour(db, 1.0)).now() - afternoon < timedelta(minutes=5)
    morning = (await seed.set_legal_hour(db, 60.0)).now()
    assert timedelta() <= morning - datetime(2031, 3, 13, 18, 0, tzinfo=UTC) < timedelta(hours=1)
