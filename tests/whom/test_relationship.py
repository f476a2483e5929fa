"""A business relationship at the intent: what opens a listed number, what ends it, and that the decision says so."""

from datetime import timedelta

import orjson
import pytest

from engine.checks.evidence import Evidence
from engine.checks.people import registries_asked
from engine.clock import Clock
from engine.dispatch.refusal import Refusal
from engine.store import consents, suppressions
from engine.store.suppressions import SMS_KEYWORD
from tests.conftest import LEGAL_HOUR
from tests.dispatch.conftest import World
from tests.whom.conftest import ANOTHER, IN_PENNSYLVANIA, PERSON, assert_kept, intend, load, reasons, setting

LAST_WEEK = (LEGAL_HOUR - timedelta(days=7)).date().isoformat()


@pytest.fixture(autouse=True)
async def listed(world: World, clock: Clock) -> None:
    await setting(world, require_registry=True)
    await load(world.db, clock, "US", [PERSON, IN_PENNSYLVANIA])
    await load(world.db, clock, "US-PA", [IN_PENNSYLVANIA])


async def campaign_of(world: World, phone: str = PERSON, **columns: object) -> int:
    campaign = await world.campaign(phones=[phone])
    data = orjson.dumps(columns).decode()
    await world.execute("update prospects set data = cast(:d as jsonb) where campaign_id = :c", d=data, c=campaign)
    return campaign


async def bases(world: World) -> list[object]:
    return [row[0] for row in await world.execute("select allowed_by from attempts order by intent_at")]


@pytest.mark.parametrize(
    ("phone", "columns", "basis"),
    [
        (PERSON, {"last_purchase_at": LAST_WEEK}, f"US: purchase {LAST_WEEK}"),
        (PERSON, {"Last Inquiry At": LAST_WEEK}, f"US: inquiry {LAST_WEEK}"),
        (
            IN_PENNSYLVANIA,
            {"last_purchase_at": LAST_WEEK},
            f"US: purchase {LAST_WEEK}, US-PA: purchase {LAST_WEEK}",
        ),
        (ANOTHER, {}, None),  # on no list: it rests on nothing
    ],
)
async def test_a_customer_may_be_called_and_the_decision_says_why(
    world: World, did: int, clock: Clock, phone: str, columns: dict[str, object], basis: str | None
) -> None:
    batch = await intend(world, await campaign_of(world, phone, **columns), did, clock)
    assert len(batch.granted) == 1
    assert await bases(world) == [basis]
    await assert_kept(world, clock)


@pytest.mark.parametrize(
    ("phone", "columns"),
    [
        (PERSON, {"last_purchase_at": "2024-01-01"}),
        (PERSON, {"last_purchase_at": "last week"}),
        (PERSON, {"last_purchase_at": "9999-12-31T23:59:59-05:00"}),  # it broke the batch of everybody in it
        (PERSON, {"last_inquiry_at": "2025-06-01"}),
        (IN_PENNSYLVANIA, {"last_inquiry_at": LAST_WEEK}),
    ],
)
async def test_one_that_is_over_or_cannot_be_read_opens_nothing(
    world: World, did: int, clock: Clock, phone: str, columns: dict[str, object]
) -> None:
    batch = await intend(world, await campaign_of(world, phone, **columns), did, clock)
    assert reasons(batch) == [Refusal.REGISTRY]


@pytest.mark.parametrize("how", ["START", "removed", "on the other channel", "consent withdrawn"])
async def test_the_persons_own_request_ends_it_though_it_be_lifted(
    world: World, did: int, clock: Clock, how: str
) -> None:
    """Somebody who asked to be left alone and may be contacted again is no customer of before."""
    async with world.db.begin() as conn:
        if how == "consent withdrawn":
            await consents.revoke(conn, world.account_id, PERSON, "all", "told our agent", "key_x", clock)
        else:
            channel = "sms" if how == "on the other channel" else "all"
            await suppressions.add(conn, world.account_id, [PERSON], "stop", SMS_KEYWORD, clock, channel)
        if how == "START":
            assert await suppressions.lift(conn, world.account_id, PERSON, clock.now())
        elif how == "removed":
            await suppressions.remove(conn, world.account_id, PERSON, "key_x", clock.now(), "a mistake")
    batch = await intend(world, await campaign_of(world, last_purchase_at=LAST_WEEK), did, clock)
    assert reasons(batch) == [Refusal.REGISTRY]


async def test_a_purchase_after_they_came_back_is_a_new_one(world: World, did: int, clock: Clock) -> None:
    async with world.db.begin() as conn:
        await suppressions.add(conn, world.account_id, [PERSON], "stop", SMS_KEYWORD, clock)
        await suppressions.lift(conn, world.account_id, PERSON, clock.now())
        for name in ("suppressed_at", "lifted_at"):
            await conn.exec_driver_sql(f"update lifted_suppressions set {name} = {name} - interval '9 days'")
    assert len((await intend(world, await campaign_of(world, last_purchase_at=LAST_WEEK), did, clock)).granted) == 1
    await assert_kept(world, clock)


@pytest.mark.parametrize(
    "broken",
    [
        "update attempts set allowed_by = null",
        "update attempts set allowed_by = 'US: consent'",
        'update prospects set data = \'{"last_purchase_at": "2024-01-01"}\'',
        """insert into consents (account_id, phone, class, channel, source, given_at, recorded_at)
           select account_id, phone, 0, 'all', 'withdrawn', intent_at, intent_at from attempts""",
        """insert into lifted_suppressions
           select account_id, phone, intent_at - interval '1 s', intent_at + interval '1 s' from attempts""",
    ],
)
async def test_the_checker_sees_a_call_that_rests_on_nothing(world: World, did: int, clock: Clock, broken: str) -> None:
    await intend(world, await campaign_of(world, last_purchase_at=LAST_WEEK), did, clock)
    assert await registries_asked(Evidence(world.db, clock)) == []
    async with world.db.begin() as conn:
        await conn.exec_driver_sql(broken)
    (problem,) = await registries_asked(Evidence(world.db, clock))
    assert "on the national registry" in problem
