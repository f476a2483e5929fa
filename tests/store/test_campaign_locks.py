"""Where a campaign's moves meet intents, settles and imports: the specification of P1 and P3 in the store."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.checks import prospects as checks
from engine.checks.evidence import Evidence
from engine.clock import Clock
from engine.errors import Conflict
from engine.rules.prospect import Outcome, ProspectState
from engine.rules.stats import Delta
from engine.store import campaigns, counts, imports, locks, prospects, tickets
from engine.store.campaigns import Campaign
from tests.conftest import LEGAL_HOUR
from tests.store.conftest import DEADLINE_S, holding, someone_waits, until

Act = Callable[..., Coroutine[None, None, Campaign]]

PHONES = [f"+1415555{n:04d}" for n in range(100, 200)]


async def _reserve(conn: AsyncConnection, campaign: Campaign, prospect_id: int = 1) -> None:
    """An intent as the workers write it: its watch looks after the ticket's end and the answer's."""
    await conn.execute(
        text("""
            insert into attempts (prospect_id, attempt, campaign_id, account_id, phone, did_id, from_number, carrier,
                                  state, intent_at, check_at, rules_version)
            values (:id, 1, :campaign, :account, '+14155550100', 1, '+14155550101', 'simulated', 1,
                    now(), clock_timestamp() + interval '50 s', 'test')
        """),
        {"id": prospect_id, "campaign": campaign.id, "account": campaign.account_id},
    )


async def _settle(db: AsyncEngine) -> None:
    async with db.begin() as conn:
        await conn.execute(text("update attempts set state = 3"))


@pytest.mark.parametrize("jump_s", [-600, 15, 3600])
async def test_open_tickets_are_seen_when_a_clock_was_set_meanwhile(
    db: AsyncEngine, campaign: Campaign, jump_s: int
) -> None:
    async with db.begin() as conn:
        await _reserve(conn, campaign)
        await conn.execute(
            text("update attempts set check_at = clock_timestamp() + make_interval(secs => :s)"), {"s": 9 - jump_s}
        )

    assert len(await tickets.open_tickets(db, campaign.id)) == 1


@pytest.mark.parametrize("action", ["pause", "cancel"])
async def test_a_stop_waits_for_the_intent_before_it_and_for_its_ticket(
    db: AsyncEngine, campaign: Campaign, act: Act, action: str
) -> None:
    await act("start")
    async with holding(db) as intent:
        await locks.lock_shared(intent, [locks.campaign_key(campaign.id)])
        await _reserve(intent, campaign)
        stopping = asyncio.create_task(act(action, ticket_s=60.0))
        await until(lambda: someone_waits(db))
        await intent.commit()
    async with db.connect() as conn:

        async def is_stopped() -> bool:
            await conn.rollback()
            return bool((await conn.execute(text("select status <> 'dialing' from campaigns"))).scalar())

        await until(is_stopped)
    assert not stopping.done()  # the ticket is open: a create may still begin
    await _settle(db)
    async with asyncio.timeout(DEADLINE_S):
        await stopping


async def test_a_stop_answers_when_the_last_ticket_has_expired(db: AsyncEngine, campaign: Campaign, act: Act) -> None:
    await act("start")
    async with db.begin() as conn:
        await _reserve(conn, campaign)
    before = time.monotonic()
    await act("pause", ticket_s=0.1)
    assert 0.3 <= time.monotonic() - before < DEADLINE_S


async def test_tickets_of_other_campaigns_do_not_delay(db: AsyncEngine, campaign: Campaign, act: Act) -> None:
    await act("start")
    async with db.begin() as conn:
        await conn.execute(text("update campaigns set id = id"))
        await _reserve(conn, campaign)
        await conn.execute(text("update attempts set campaign_id = campaign_id + 1"))
    async with asyncio.timeout(DEADLINE_S):
        await act("pause", ticket_s=60.0)


async def test_an_intent_after_the_stop_sees_it(db: AsyncEngine, campaign: Campaign, act: Act) -> None:
    await act("start")
    async with holding(db) as stop:
        await locks.lock_exclusive(stop, [locks.campaign_key(campaign.id)])
        async with holding(db) as intent:
            asking = asyncio.create_task(locks.lock_shared(intent, [locks.campaign_key(campaign.id)]))
            await until(lambda: someone_waits(db))
            await stop.execute(text("update campaigns set status = 'paused'"))
            await stop.commit()
            await asking
            assert (await intent.execute(text("select status from campaigns"))).scalar() == "paused"


async def _work(db: AsyncEngine, campaign: Campaign, writer: int, rng: random.Random, stop: asyncio.Event) -> None:
    """Intents and settles as a worker makes them: locks, then facts, then rows and counters together."""
    while not stop.is_set():
        async with db.begin() as conn:
            await locks.lock_shared(conn, [locks.campaign_key(campaign.id)])
            live = (await conn.execute(text("select status = 'dialing' from campaigns"))).scalar()
            dials = bool(live) and rng.random() < 0.6
            before, after = (
                (ProspectState.QUEUED, ProspectState.DIALING)
                if dials
                else (ProspectState.DIALING, ProspectState.COMPLETED)
            )
            rows = await conn.execute(
                text("""
                    update prospects set state = :after, outcome = case when :after = 4 then 4 end,
                           next_attempt_at = case when :after = 4 then 'infinity' else next_attempt_at end
                     where id in (select id from prospects where state = :before limit 3 for update skip locked)
                    returning id
                """),
                {"before": before, "after": after},
            )
            delta = Delta()
            for _ in rows:
                delta.move(before, after, None if dials else Outcome.BUSY)
            await counts.add(conn, {campaign.id: delta}, writer)


@pytest.mark.parametrize("seed", range(4))
async def test_cancel_amid_work_loses_nobody(
    db: AsyncEngine, campaign: Campaign, act: Act, clock: Clock, seed: int
) -> None:
    rng = random.Random(seed)
    await prospects.add(db, campaign, PHONES)
    await act("start")
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for writer in range(3):
            group.create_task(_work(db, campaign, writer, rng, stop))

        async def some_are_done() -> bool:
            async with db.connect() as conn:
                return (await counts.read(conn, campaign.id))["completed"] > 5 + 5 * seed

        await until(some_are_done)
        await act("cancel")
        evidence = Evidence(db, clock)
        assert await checks.counts_equal_rows(evidence) == []
        async with db.begin() as conn:
            while await campaigns.sweep_cancelled(conn, campaign.id, 7):
                pass

        async def none_is_dialing() -> bool:
            async with db.connect() as conn:
                return (await counts.read(conn, campaign.id))["dialing"] == 0

        await until(none_is_dialing)
        stop.set()
    for check in (checks.counts_add_up, checks.counts_equal_rows, checks.open_are_due):
        assert await check(evidence) == []
    async with db.connect() as conn:
        found = await counts.read(conn, campaign.id)
    assert (found["completed"] + found["cancelled"], found["total"]) == (100, 100)


@pytest.mark.parametrize("seed", range(3))
async def test_people_added_amid_pauses_and_work_are_all_contacted(
    db: AsyncEngine, campaign: Campaign, act: Act, clock: Clock, seed: int
) -> None:
    """Each pause lets files and lists of the same people in, while a resume comes to take their place."""
    rng = random.Random(seed)
    stop = asyncio.Event()
    added = await prospects.add(db, campaign, PHONES[:10])
    await act("start")
    async with asyncio.TaskGroup() as group:
        for writer in range(3):
            group.create_task(_work(db, campaign, writer, rng, stop))
        for _ in range(8):
            await act("pause")
            some = rng.sample(PHONES, 20)
            doing = [
                *(_import(db, campaign, each) for each in (some, some[::-1])),
                prospects.add(db, campaign, rng.sample(some, 20)),
                act("resume"),
                campaigns.complete_if_done(db, campaign.id, clock.now()),
            ]
            rng.shuffle(doing)
            done = await asyncio.gather(*doing, return_exceptions=True)
            assert {type(each) for each in done} <= {int, bool, Campaign, Conflict}
            added += sum(each for each in done if type(each) is int)
            if True in done:  # everybody was done at the resume
                break

        async def is_completed() -> bool:
            return True in done or await campaigns.complete_if_done(db, campaign.id, clock.now())

        await until(is_completed)
        stop.set()
    evidence = Evidence(db, clock)
    for check in (checks.counts_add_up, checks.counts_equal_rows, checks.completed_have_no_open, checks.open_are_due):
        assert await check(evidence) == []
    async with db.connect() as conn:
        found = await counts.read(conn, campaign.id)
    assert (found["completed"], found["total"]) == (added, added)


async def _import(db: AsyncEngine, campaign: Campaign, phones: list[str]) -> int:
    async def chunks() -> AsyncIterator[bytes]:
        yield "\n".join(["phone", *phones, ""]).encode()

    return (await imports.run_import(db, campaign, LEGAL_HOUR, chunks())).added


async def test_an_import_that_ends_after_the_start_adds_nobody(
    db: AsyncEngine, campaign: Campaign, act: Act, clock: Clock
) -> None:
    half, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"phone\n4155550100\n"
        half.set()
        await go_on.wait()
        yield b"4155550101\n"

    importing = asyncio.create_task(imports.run_import(db, campaign, LEGAL_HOUR, slowly()))
    await half.wait()
    await act("start")
    assert await campaigns.complete_if_done(db, campaign.id, clock.now())
    go_on.set()
    with pytest.raises(Conflict, match="completed"):
        await importing
    async with db.connect() as conn:
        assert (await conn.execute(text("select count(*) from prospects"))).scalar() == 0
        assert (await counts.read(conn, campaign.id))["total"] == 0
