"""Whoever is put on a list while contacts are being made is either contacted before, or not at all."""

import asyncio
from collections.abc import Sequence

import pytest

from engine.checks.contacts import suppressed_left_alone
from engine.checks.evidence import Evidence
from engine.clock import Clock, starting_at
from engine.dispatch.intent import commit_intents
from engine.dispatch.refusal import Refusal
from engine.store import consents, registries, suppressions
from engine.store.suppressions import MOST_PHONE_LOCKS
from tests.conftest import LEGAL_HOUR
from tests.dispatch.conftest import World
from tests.whom.conftest import PERSON, consent, context, intend, load, reasons, setting

PEOPLE = [f"+1212555{n:04d}" for n in range(1000, 1060)]
OTHERS = [f"+1212556{n:04d}" for n in range(MOST_PHONE_LOCKS + 1)]  # with them the account's key is taken


@pytest.mark.parametrize("company", [[], OTHERS], ids=["by phone", "by account"])
async def test_a_number_suppressed_before_the_intent_commits_is_never_contacted(
    world: World, did: int, clock: Clock, company: Sequence[str]
) -> None:
    campaign = await world.campaign(phones=PEOPLE)
    hints = await world.hints(campaign, did)

    async def suppress(phone: str) -> None:
        async with world.db.begin() as conn:
            await suppressions.add(conn, world.account_id, [phone, *company], "list", "api", clock)

    batches = [hints[n : n + 5] for n in range(0, len(hints), 5)]
    await asyncio.gather(
        *(commit_intents(world.db, batch, context(clock)) for batch in batches),
        *(suppress(phone) for phone in PEOPLE[::6]),
    )

    assert await suppressed_left_alone(Evidence(world.db, clock)) == []
    rows = await world.execute(
        "select count(*) from attempts a join suppressions s using (account_id, phone) where a.intent_at > s.created_at"
    )
    assert rows == [(0,)]
    counted = await world.counts(campaign)
    assert counted["dialing"] + counted.get("cancelled", 0) == len(PEOPLE)
    assert counted.get("suppressed", 0) == counted.get("cancelled", 0)


@pytest.mark.parametrize(
    ("scope", "channel", "is_granted"),
    [
        ("all", "voice", False),
        ("voice", "voice", False),
        ("sms", "voice", True),
        ("sms", "sms", False),
        ("voice", "sms", True),
    ],
)
async def test_a_suppression_holds_on_its_channel(
    world: World, did: int, clock: Clock, scope: str, channel: str, is_granted: bool
) -> None:
    async with world.db.begin() as conn:
        await suppressions.add(conn, world.account_id, [PERSON], "asked", "api", clock, scope)
    batch = await intend(world, await world.campaign(channel, phones=[PERSON]), did, clock, channel)
    assert bool(batch.granted) is is_granted
    assert is_granted or reasons(batch) == [Refusal.SUPPRESSED]
    assert await suppressed_left_alone(Evidence(world.db, clock)) == []


async def test_a_consent_that_was_revoked_opens_nothing_from_that_moment_on(
    world: World, did: int, clock: Clock
) -> None:
    await setting(world, require_consent=True)
    for phone in PEOPLE:
        await consent(world, phone, 2, starting_at(LEGAL_HOUR.replace(hour=17), 1.0))
    hints = await world.hints(await world.campaign(phones=PEOPLE), did)

    async def revoke(phone: str) -> None:
        async with world.db.begin() as conn:
            await consents.revoke(conn, world.account_id, phone, "all", "asked", "key_x", clock)

    await asyncio.gather(
        *(commit_intents(world.db, hints[n : n + 5], context(clock)) for n in range(0, len(hints), 5)),
        *(revoke(phone) for phone in PEOPLE[::6]),
    )

    rows = await world.execute(
        "select count(*) from attempts a join consents c using (account_id, phone) where a.intent_at > c.revoked_at"
    )
    assert rows == [(0,)]


async def test_a_registry_is_swapped_whole_while_it_is_asked(world: World, did: int, clock: Clock) -> None:
    """Two copies, the numbers of one half in the first, of the other in both: these are never seen to be missing."""
    await setting(world, require_registry=True)
    listed, sometimes = PEOPLE[:30], PEOPLE[30:]
    await load(world.db, clock, "US", PEOPLE)
    done = asyncio.Event()

    async def swap() -> None:
        for turn in range(12):
            await load(world.db, clock, "US", listed if turn % 2 else listed + sometimes)
        done.set()

    async def ask() -> set[str]:
        called: set[str] = set()
        while not done.is_set():
            batch = await intend(world, await world.campaign(phones=listed), did, clock)
            called |= {intent.hint.phone for intent in batch.granted}
            assert not {Refusal.REGISTRY_MISSING, Refusal.REGISTRY_STALE} & set(reasons(batch))
        return called

    found, _ = await asyncio.gather(ask(), swap())

    assert found == set()
    async with world.db.connect() as conn:
        (copy,) = await registries.current(conn)
    assert copy.numbers == len(listed)
    rows = await world.execute("select count(distinct copy_id) from registry_blocks")
    assert rows == [(1,)]  # the copies before are gone
