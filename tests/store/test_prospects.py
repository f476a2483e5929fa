from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.errors import Conflict
from engine.rules.prospect import ProspectState
from engine.store import counts, prospects
from engine.store.campaigns import Campaign

Act = Callable[..., Awaitable[Campaign]]

PHONES = [f"+1415555{n:04d}" for n in (109, 103, 107, 101, 105)]


async def test_added_once_in_their_order(db: AsyncEngine, campaign: Campaign) -> None:
    assert await prospects.add(db, campaign, [*PHONES, PHONES[0]]) == 5
    assert await prospects.add(db, campaign, [PHONES[1], "+14155550100"]) == 1
    async with db.connect() as conn:
        found = await prospects.page(conn, campaign)
        stats = await counts.read(conn, campaign.id)
    assert [each.phone for each in found] == [*PHONES, "+14155550100"]
    assert all(each.state is ProspectState.QUEUED and each.next_attempt_at is None for each in found)
    assert (stats["total"], stats["queued"]) == (6, 6)


async def test_adding_only_known_ones_changes_nothing(db: AsyncEngine, campaign: Campaign) -> None:
    await prospects.add(db, campaign, PHONES)
    assert await prospects.add(db, campaign, PHONES) == 0
    async with db.connect() as conn:
        assert (await counts.read(conn, campaign.id))["total"] == 5


async def test_pages_follow_one_another(db: AsyncEngine, campaign: Campaign) -> None:
    await prospects.add(db, campaign, PHONES)
    async with db.connect() as conn:
        first = await prospects.page(conn, campaign, 2)
        rest = await prospects.page(conn, campaign, 10, first[-1].id)
        assert await prospects.get(conn, campaign, first[0].id) == first[0]
        assert await prospects.get(conn, campaign, 999_999) is None
    assert [each.phone for each in first + rest] == PHONES


async def test_pages_of_one_state(db: AsyncEngine, campaign: Campaign) -> None:
    await prospects.add(db, campaign, PHONES)
    async with db.begin() as conn:
        await conn.execute(text("update prospects set state = 1 where phone = :p"), {"p": PHONES[2]})
        dialing = await prospects.page(conn, campaign, state=ProspectState.DIALING)
        queued = await prospects.page(conn, campaign, 3, state=ProspectState.QUEUED)
    assert [each.phone for each in dialing] == [PHONES[2]]
    assert [each.phone for each in queued] == [PHONES[0], PHONES[1], PHONES[3]]


async def test_cancelled_before_the_sweep(db: AsyncEngine, campaign: Campaign, act: Act) -> None:
    await prospects.add(db, campaign, PHONES)
    cancelled = await act("cancel")
    async with db.connect() as conn:
        assert len(await prospects.page(conn, cancelled, state=ProspectState.CANCELLED)) == 5
        assert await prospects.page(conn, cancelled, state=ProspectState.QUEUED) == []
        (first,) = await prospects.page(conn, cancelled, 1)
        found = await prospects.get(conn, cancelled, first.id)
    assert found is not None
    assert found.state is ProspectState.CANCELLED


async def test_only_while_created_or_paused(db: AsyncEngine, campaign: Campaign, act: Act) -> None:
    await act("start")
    with pytest.raises(Conflict, match="it is dialing") as caught:
        await prospects.add(db, campaign, PHONES)
    assert caught.value.fields == {"status": "dialing", "allowed": ["pause", "cancel"]}
    await act("pause")
    assert await prospects.add(db, campaign, PHONES) == 5
    await act("cancel")
    with pytest.raises(Conflict, match="it is cancelled"):
        await prospects.add(db, campaign, ["+14155550100"])
