"""Whom the hours are closed for is put off at the claim: no message, the next opening, the intent's reason."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import Clock, starting_at
from engine.coordinator import pace
from engine.coordinator.dispatch import Dispatch
from engine.coordinator.lease import Lease
from engine.coordinator.shard import Shard
from engine.coordinator.windows import MOST_STRIDES
from engine.dispatch.hints import Hint
from engine.dispatch.intent import IntentContext, commit_intents
from engine.rules.telephony import Channel
from engine.runtime import Runtime
from engine.store.campaigns import Campaign
from tests.coordinator.conftest import ACCOUNT, MakeCampaign, add_dids, messages
from tests.coordinator.test_dispatch import until_sent

EVENING = datetime(2026, 3, 12, 2, 30, tzinfo=UTC)  # 19:30 in California, 22:30 in New York
CALIFORNIA, NEW_YORK, TOLL_FREE = "+13105550101", "+12125550101", "+18005550101"


@pytest.fixture
def clock() -> Clock:
    return starting_at(EVENING, 1.0)


@pytest.fixture(autouse=True)
async def account(db: AsyncEngine) -> None:
    async with db.begin() as conn:
        await conn.execute(
            text("insert into accounts (id, name, created_at) values (:id, 'x', now())"), {"id": ACCOUNT}
        )


async def add(db: AsyncEngine, campaign: Campaign, *people: tuple[str, str | None]) -> None:
    statement = text("""
        insert into prospects (campaign_id, account_id, phone, data) values (:c, :a, :p, cast(:d as jsonb))
    """)
    async with db.begin() as conn:
        for phone, data in people:
            await conn.execute(statement, {"c": campaign.id, "a": ACCOUNT, "p": phone, "d": data})


async def waiting(db: AsyncEngine) -> list[tuple[object, ...]]:
    query = "select phone, reason, next_attempt_at::text from prospects where reason is not null order by id"
    async with db.connect() as conn:
        return [tuple(row) for row in await conn.execute(text(query))]


async def dialed(queue: Redis) -> list[object]:
    return [message[4] for message in await messages(queue)]


async def test_who_is_open_is_enqueued_and_the_others_are_put_off(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    campaign = await make_campaign()
    await add(db, campaign, (NEW_YORK, None), (CALIFORNIA, None), (TOLL_FREE, None))
    await add_dids(db, clock)
    await lease.run_once()
    await until_sent(Dispatch(runtime, shard), shard, 1)
    assert await dialed(runtime.queue) == [CALIFORNIA]
    put_off = await waiting(db)
    assert [row[:2] for row in put_off] == [(NEW_YORK, "outside_window"), (TOLL_FREE, "no_timezone")]
    assert str(put_off[0][2]) > "2026-03-12 11:59"


async def test_it_writes_what_the_intent_would_have_written(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    campaign = await make_campaign()
    await add(db, campaign, (NEW_YORK, None))
    (did,) = await add_dids(db, clock)
    async with db.connect() as conn:
        (prospect,) = (await conn.execute(text("select id from prospects"))).scalars()
    hint = Hint(ACCOUNT, campaign.id, prospect, 1, NEW_YORK, did.id, did.number)
    await commit_intents(db, [hint], IntentContext(Channel.VOICE, clock, ticket_s=2.0, answer_s=7.0, writer=1))
    by_intent = await waiting(db)
    async with db.begin() as conn:
        await conn.execute(text("update prospects set reason = null, next_attempt_at = '-infinity'"))
    await lease.run_once()
    await until_sent(Dispatch(runtime, shard), shard, 1, tries=3)
    assert await waiting(db) == by_intent


@pytest.mark.parametrize(
    ("data", "is_called"),
    [
        ('{"name": "Ann"}', True),
        ('{"Time Zone": "America/New_York"}', False),  # may be there: both must be open
        ('{"ZIP": "10001", "location_verified": "yes", "name": "Ann"}', False),
        ('{"note": "the state of things"}', True),
    ],
)
async def test_columns_say_where_somebody_is(
    runtime: Runtime,
    lease: Lease,
    shard: Shard,
    make_campaign: MakeCampaign,
    db: AsyncEngine,
    clock: Clock,
    data: str,
    is_called: bool,
) -> None:
    campaign = await make_campaign()
    await add(db, campaign, (CALIFORNIA, data))
    await add_dids(db, clock)
    await lease.run_once()
    await until_sent(Dispatch(runtime, shard), shard, 1, tries=30 if is_called else 5)
    assert (await dialed(runtime.queue) == [CALIFORNIA]) is is_called
    assert bool(await waiting(db)) is not is_called


async def test_a_row_that_cannot_be_read_is_left_to_the_intent(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    """Which tells of it; here it would keep everybody else of this coordinator from being enqueued."""
    campaign = await make_campaign()
    await add(db, campaign, (NEW_YORK, '["zip"]'), (CALIFORNIA, None))
    await add_dids(db, clock)
    await lease.run_once()
    await until_sent(Dispatch(runtime, shard), shard, 2)
    assert sorted(map(str, await dialed(runtime.queue))) == [NEW_YORK, CALIFORNIA]
    assert await waiting(db) == []


async def test_they_are_called_when_their_window_opens(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    campaign = await make_campaign()
    await add(db, campaign, (NEW_YORK, None))
    await add_dids(db, clock)
    await lease.run_once()
    dispatch = Dispatch(runtime, shard)
    assert await until_sent(dispatch, shard, 1, tries=3) == 0
    async with db.connect() as conn:
        (opens,) = (await conn.execute(text("select next_attempt_at from prospects"))).scalars()
    runtime.clock = replace(clock, engine_anchor=clock.engine_anchor + (opens - EVENING).total_seconds() + 1)
    shard.walks[campaign.id].look_at = 0.0
    assert await until_sent(dispatch, shard, 1) == 1


async def test_a_night_full_of_people_is_put_off_in_growing_strides(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    """Behind a thousand who are asleep waits one who is not: a slow campaign must not count them off at its pace."""
    campaign = await make_campaign(calls_per_second=1)
    people = [(f"+1212555{number:04d}", None) for number in range(1_000)]
    await add(db, campaign, *people, (CALIFORNIA, None))
    await add_dids(db, clock)
    await lease.run_once()
    assert await until_sent(Dispatch(runtime, shard), shard, 1, tries=40) == 1
    assert await dialed(runtime.queue) == [CALIFORNIA]
    assert len(await waiting(db)) == 1_000


async def test_a_row_that_has_moved_on_stays_as_it_is(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    """Somebody holds the row of one, and another has been called meanwhile: neither is waited for nor touched."""
    campaign = await make_campaign()
    await add(db, campaign, (NEW_YORK, None), ("+12125550102", None))
    await add_dids(db, clock)
    await lease.run_once()
    dispatch = Dispatch(runtime, shard)
    async with db.begin() as conn:
        lock = text("update prospects set state = 1 where phone = :phone")
        await conn.execute(lock, {"phone": NEW_YORK})
        assert await until_sent(dispatch, shard, 1, tries=2) == 0
    assert [row[0] for row in await waiting(db)] == ["+12125550102"]


async def test_long_strides_share_what_one_tick_may_read(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    """Two campaigns with thousands of people who are asleep, each of which would fill the tick by itself."""
    asleep = [await make_campaign(calls_per_second=10) for _ in range(2)]
    crowd = text("""
        insert into prospects (campaign_id, account_id, phone)
        select :c, :a, '+1212' || 5550000 + n from generate_series(1, 4000) n
    """)
    async with db.begin() as conn:
        for campaign in asleep:
            await conn.execute(crowd, {"c": campaign.id, "a": ACCOUNT})
    await add_dids(db, clock)
    await lease.run_once()
    for campaign in asleep:
        shard.walks[campaign.id].stride = MOST_STRIDES
    await Dispatch(runtime, shard).run_once()
    async with db.connect() as conn:
        query = text("select campaign_id, count(*) from prospects where reason is not null group by 1")
        put_off = {row[0]: row[1] for row in await conn.execute(query)}
    assert sum(put_off.values()) <= pace.MOST_PER_TICK
    assert min(put_off[campaign.id] for campaign in asleep) >= pace.MOST_PER_TICK // 3
