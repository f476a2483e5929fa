"""People added beside everything else: what is told of a campaign goes on, its moves wait, and nobody is lost (P1).

An insert stands still here because another session holds a row of the same number: as it would over a million rows.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.checks import prospects as checks
from engine.checks.evidence import Evidence
from engine.clock import Clock
from engine.dispatch.facts import AttemptKey
from engine.dispatch.inbound import take_message
from engine.dispatch.intent import commit_intents
from engine.dispatch.refusal import Refusal
from engine.dispatch.settle import settle, settle_callbacks
from engine.errors import Conflict, Unavailable
from engine.rules import reports
from engine.rules.campaign import Action, CampaignStatus
from engine.rules.prospect import ProspectState
from engine.rules.stats import Delta
from engine.rules.telephony import CarrierError, EndReason, Fault
from engine.store import campaigns, counts, imports, inbound, locks, prospects
from engine.store.campaigns import Campaign
from tests.conftest import LEGAL_HOUR
from tests.dispatch import attempts
from tests.dispatch.attempts import assert_adds_up, reserve, unanswered
from tests.dispatch.conftest import World, world
from tests.inbound.conftest import context as inbound_context
from tests.inbound.conftest import message
from tests.store.conftest import DEADLINE_S, someone_waits, until
from tests.whom.conftest import context as intent_context

__all__ = ["world"]

CALLED, WAITING, HELD_UP = "+12125550100", "+12125550101", "+12125550102"
NEW = [HELD_UP, *(f"+1212555{n:04d}" for n in range(1000, 1020))]

Add = Callable[[World, Campaign], Awaitable[int]]


async def _import(world: World, campaign: Campaign, rows: list[str] = NEW, header: str = "phone") -> int:
    async def chunks() -> AsyncIterator[bytes]:
        yield "\n".join([header, *rows, ""]).encode()

    return (await imports.run_import(world.db, campaign, LEGAL_HOUR, chunks())).added


async def _add(world: World, campaign: Campaign) -> int:
    return await prospects.add(world.db, campaign, NEW)


both_ways = pytest.mark.parametrize("add", [_import, _add])


async def _find(world: World, campaign_id: int) -> Campaign:
    async with world.db.connect() as conn:
        return await campaigns.get(conn, world.account_id, campaign_id)


async def _move(world: World, campaign: Campaign, action: str, clock: Clock) -> Campaign:
    return await campaigns.move(world.db, world.account_id, campaign.id, Action(action), clock.now())


async def _paused(world: World, clock: Clock) -> tuple[Campaign, AttemptKey]:
    """A campaign that was paused while a call of it was under way, and that call; somebody still waits for his."""
    campaign_id = await world.campaign(phones=[CALLED], max_retries=1, retry_delay="1m")
    (key,) = await reserve(world, campaign_id, clock)
    campaign = await _move(world, await _find(world, campaign_id), "pause", clock)
    await prospects.add(world.db, campaign, [WAITING])
    return campaign, key


@asynccontextmanager
async def _adding(world: World, add: Add, campaign: Campaign) -> AsyncIterator[None]:
    """People are being added: the insert stands still until the block ends, and then adds all of them."""
    async with world.db.connect() as rival, asyncio.timeout(DEADLINE_S):
        await rival.execute(
            text("insert into prospects (campaign_id, account_id, phone) values (:c, :a, :p)"),
            {"c": campaign.id, "a": campaign.account_id, "p": HELD_UP},
        )
        adding = asyncio.ensure_future(add(world, campaign))
        await until(lambda: _waits_for_a_row(world))
        yield
        assert not adding.done()
        await rival.rollback()
        assert await adding == len(NEW)


async def _waits_for_a_row(world: World) -> bool:
    return bool(
        await world.execute(
            "select 1 from pg_stat_activity where datname = current_database() and wait_event = 'transactionid'"
        )
    )


@asynccontextmanager
async def _locked_as_before(db: AsyncEngine, campaign_id: int) -> AsyncIterator[AsyncConnection]:
    """As processes of the release before, which go on while a new one is put in place, move a campaign."""
    async with db.begin() as conn:
        await locks.lock_exclusive(conn, [locks.campaign_key(campaign_id)])
        yield conn


async def _assert_kept(world: World, campaign: Campaign, clock: Clock) -> None:
    await assert_adds_up(world, campaign.id)
    evidence = Evidence(world.db, clock)
    for check in (checks.counts_add_up, checks.counts_equal_rows, checks.completed_have_no_open, checks.open_are_due):
        assert await check(evidence) == [], check.__name__


@both_ways
@pytest.mark.parametrize("action", ["", "resume", "cancel"])
async def test_what_is_told_of_a_paused_campaign_is_settled_while_people_are_added(
    world: World, clock: Clock, add: Add, action: str
) -> None:
    """Also while a client's resume or cancel waits: behind it nobody may queue."""
    campaign, key = await _paused(world, clock)
    hints = await world.hints(campaign.id, world.did_ids[0])
    moving: asyncio.Future[Campaign] | None = None
    async with _adding(world, add, campaign):
        if action:
            moving = asyncio.ensure_future(_move(world, campaign, action, clock))
            await until(lambda: someone_waits(world.db))

        await settle(world.db, {key: [reports.accepted(1, "c1")]}, attempts.context(clock))
        await settle_callbacks(
            world.db, await attempts.inbox(world, unanswered(key, EndReason.BUSY)), attempts.context(clock)
        )
        batch = await commit_intents(world.db, hints, intent_context(clock))
        await take_message(world.db, message("STOP", from_=WAITING), inbound_context(clock))

        assert moving is None or not moving.done()
    assert [refusal for _, refusal in batch.refused] == [Refusal.NOT_LIVE] * 2
    if moving is not None:
        await moving
    counted = await world.counts(campaign.id)
    assert (counted["total"], counted["suppressed"]) == (2 + len(NEW), 1)
    assert counted["cancelled" if action == "cancel" else "queued"] == 1 + len(NEW) + (action == "cancel")
    assert await world.execute("select count(*) from carrier_callbacks where processed_at is null") == [(0,)]
    await _assert_kept(world, campaign, clock)


async def test_who_opts_out_while_a_file_brings_his_data_stays_out(world: World, clock: Clock) -> None:
    """He was held for want of it: the import would release him, and waits for the opt-out that has his row."""
    campaign = await _find(world, await world.campaign("sms", phones=[], status="created", message="Hi {{name}}"))
    assert await _import(world, campaign, [CALLED, WAITING]) == 2
    assert (await world.execute("select distinct reason from prospects")) == [("missing_value: name",)]
    async with world.db.connect() as stopping:
        await locks.lock_shared(stopping, [locks.campaign_key(campaign.id)])
        (contact,) = await inbound.contacts(stopping, world.account_id, WAITING, live_only=True)
        assert await inbound.cancel(stopping, [contact]) == [(contact, 1)]
        importing = asyncio.ensure_future(_import(world, campaign, [f"{CALLED},Ann", f"{WAITING},Bob"], "phone,name"))
        await until(lambda: _waits_for_a_row(world))
        delta = Delta()
        delta.move(ProspectState.QUEUED, ProspectState.CANCELLED)
        delta.add("suppressed")
        await counts.add(stopping, {campaign.id: delta}, counts.client_writer())
        await stopping.commit()
    assert await importing == 0

    rows = await world.execute("select phone, state, reason from prospects order by phone")
    assert rows == [(CALLED, ProspectState.QUEUED, None), (WAITING, ProspectState.CANCELLED, "opted_out")]
    await _assert_kept(world, campaign, clock)


@both_ways
@pytest.mark.parametrize("action", ["start", "cancel"])
async def test_a_move_of_a_new_campaign_waits_for_people_being_added_and_loses_nobody(
    world: World, clock: Clock, add: Add, action: str
) -> None:
    campaign = await _find(world, await world.campaign(phones=[], status="created"))
    async with _adding(world, add, campaign):
        moving = asyncio.ensure_future(_move(world, campaign, action, clock))
        await until(lambda: someone_waits(world.db))
    await moving

    assert not await campaigns.complete_if_done(world.db, campaign.id, clock.now())
    counted = await world.counts(campaign.id)
    assert counted == {"total": len(NEW), "queued" if action == "start" else "cancelled": len(NEW)}
    await _assert_kept(world, campaign, clock)


@both_ways
@pytest.mark.parametrize("locked", [campaigns.locked, _locked_as_before])
async def test_people_who_come_after_the_move_are_refused(
    world: World, clock: Clock, add: Add, locked: Callable[..., AbstractAsyncContextManager[AsyncConnection]]
) -> None:
    """They wait for the move, and look at the state after it."""
    campaign = await _find(world, await world.campaign(phones=[], status="created"))
    async with locked(world.db, campaign.id) as moving:
        adding = asyncio.ensure_future(add(world, campaign))
        await until(lambda: someone_waits(world.db))
        await moving.execute(text("update campaigns set status = 'dialing'"))
    with pytest.raises(Conflict, match="dialing"):
        await adding
    assert await campaigns.complete_if_done(world.db, campaign.id, clock.now())
    await _assert_kept(world, campaign, clock)


async def test_a_refused_sender_does_not_wait_for_people_being_added(world: World, clock: Clock) -> None:
    """The engine would pause the campaign, which is paused: the lane goes on to settle for everybody."""
    campaign, key = await _paused(world, clock)
    refused = CarrierError(Fault.AUTH, "401", "no such account")
    async with _adding(world, _import, campaign):
        result = await settle(world.db, {key: [reports.rejected(1, refused)]}, attempts.context(clock))
    assert list(result.paused) == [campaign.id]
    assert (await _find(world, campaign.id)).status is CampaignStatus.PAUSED
    await _assert_kept(world, campaign, clock)


async def test_a_completion_does_not_wait_for_people_being_added(world: World, clock: Clock) -> None:
    """A coordinator that has not heard of the pause yet, and nobody but them is in the campaign."""
    campaign = await _find(world, await world.campaign(phones=[], status="paused"))
    async with _adding(world, _import, campaign):
        assert not await campaigns.complete_if_done(world.db, campaign.id, clock.now())
    await _assert_kept(world, campaign, clock)


async def test_the_same_people_added_at_once_are_added_once(world: World, clock: Clock) -> None:
    """In opposite orders, so that two inserts beside one another would wait for each other's rows."""
    campaign, _ = await _paused(world, clock)
    people = [f"+1212{n:07d}" for n in range(5550000, 5559999)]

    added = await asyncio.gather(
        _import(world, campaign, people),
        _import(world, campaign, people[::-1]),
        prospects.add(world.db, campaign, people[::-3]),
    )

    assert sum(added) == len(people) - 2  # two were in the campaign before
    assert (await world.counts(campaign.id))["total"] == len(people)
    await _assert_kept(world, campaign, clock)


@both_ways
async def test_who_waits_too_long_for_people_being_added_is_told_so(
    world: World, clock: Clock, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign, _ = await _paused(world, clock)
    async with _adding(world, add, campaign):
        monkeypatch.setattr(campaigns, "_LOCK_TIMEOUT", "10ms")
        with pytest.raises(Unavailable, match="large import"):
            await _move(world, campaign, "resume", clock)
        with pytest.raises(Unavailable, match="large import"):
            await add(world, campaign)
