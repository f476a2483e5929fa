"""Completion, sweep, statistics, watch, inbox, upkeep: each run once."""

from dataclasses import replace
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.clock import Clock, add, boottime, real_now
from engine.coordinator.census import Census, in_doubt
from engine.coordinator.complete import Complete
from engine.coordinator.dispatch import Dispatch
from engine.coordinator.hold import Hold
from engine.coordinator.inbox import Inbox
from engine.coordinator.lease import Lease
from engine.coordinator.shard import Shard
from engine.coordinator.stats import Stats
from engine.coordinator.sweep import Sweep
from engine.coordinator.upkeep import Fold, Partitions, Purge
from engine.coordinator.watch import Watch, overdue
from engine.jobs import NAMESPACE, Queue
from engine.rules.campaign import Action
from engine.runtime import Runtime
from engine.store import campaigns, counts, database
from engine.store.campaigns import Campaign
from tests.coordinator.conftest import ACCOUNT, MakeCampaign, add_dids, events, finish_all, messages


async def status_of(db: AsyncEngine, campaign: Campaign) -> str:
    async with db.connect() as conn:
        query = text("select status from campaigns where id = :id")
        return str((await conn.execute(query, {"id": campaign.id})).scalar_one())


async def test_a_campaign_completes_when_nothing_is_open_and_not_before(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    campaign = await make_campaign(prospects=3)
    await add_dids(db, clock)
    await lease.run_once()
    complete = Complete(runtime, shard)
    shard.walks[campaign.id].look_at = boottime() + 60
    assert await complete.run_once() == 0
    await finish_all(db, campaign)
    assert await complete.run_once() == 1
    assert await status_of(db, campaign) == "completed"
    assert not shard.walks


async def test_an_empty_campaign_completes_after_its_first_look(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine
) -> None:
    campaign = await make_campaign()
    await lease.run_once()
    complete = Complete(runtime, shard)
    assert await complete.run_once() == 0  # nobody has looked yet
    await Dispatch(runtime, shard).run_once()
    assert await complete.run_once() == 1
    assert await status_of(db, campaign) == "completed"


async def test_one_off_calls_never_complete(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine
) -> None:
    campaign = await make_campaign()
    async with db.begin() as conn:
        await conn.execute(text("update campaigns set is_direct = true"))
    await lease.run_once()
    await Dispatch(runtime, shard).run_once()
    assert await Complete(runtime, shard).run_once() == 0
    assert await status_of(db, campaign) == "dialing"


async def test_a_cancelled_campaign_is_swept_and_then_left_alone(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    campaign = await make_campaign(prospects=12)
    await campaigns.transition(db, ACCOUNT, campaign.id, Action.CANCEL, clock.now())
    await lease.run_once()
    assert set(shard.walks) == {campaign.id}
    assert await Sweep(runtime, shard).run_once() == 12
    async with db.connect() as conn:
        query = text("select count(*) from prospects where state = 5 and next_attempt_at = 'infinity'")
        assert (await conn.execute(query)).scalar_one() == 12
    assert not shard.walks
    await lease.run_once()
    assert not shard.walks


async def test_a_cancelled_campaign_is_kept_while_a_call_is_in_progress(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    campaign = await make_campaign(prospects=2)
    async with db.begin() as conn:
        await conn.execute(text("update prospects set state = 1 where id = (select min(id) from prospects)"))
    await campaigns.transition(db, ACCOUNT, campaign.id, Action.CANCEL, clock.now())
    await lease.run_once()
    assert await Sweep(runtime, shard).run_once() == 1
    assert set(shard.walks) == {campaign.id}


async def test_nothing_of_a_cancelled_campaign_is_enqueued(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    await make_campaign(prospects=2, status="cancelled")
    await add_dids(db, clock)
    await lease.run_once()
    dispatch = Dispatch(runtime, shard)
    assert [await dispatch.run_once() for _ in range(3)] == [0, 0, 0]


async def test_statistics_are_told_when_they_change_and_at_the_end(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine
) -> None:
    campaign = await make_campaign(prospects=4)
    await lease.run_once()
    stats = Stats(runtime, shard)
    assert await stats.run_once() == 1
    assert await stats.run_once() == 0  # nothing has changed
    await finish_all(db, campaign)
    shard.walks[campaign.id].look_at = boottime() + 60
    assert await Complete(runtime, shard).run_once() == 1
    assert await stats.run_once() == 1
    assert await stats.run_once() == 0
    told = await events(db, "campaign.stats.updated")
    payloads = [event["payload"] for event in told]
    assert [payload["stats"]["progress"] for payload in payloads] == [0, 100]  # type: ignore[index]
    assert {payload["id"] for payload in payloads} == {campaign.public_id}  # type: ignore[index]


async def test_a_new_holder_does_not_repeat_old_statistics(
    runtime: Runtime, make_campaign: MakeCampaign, lease: Lease, shard: Shard, db: AsyncEngine
) -> None:
    await make_campaign(prospects=4)
    await lease.run_once()
    await lease.release_all()
    heir = Shard()
    await Lease(runtime, heir, "heir").run_once()
    assert await Stats(runtime, heir).run_once() == 0


async def add_attempts(db: AsyncEngine, *, first: int = 1, count: int, due_in_s: float) -> None:
    async with db.begin() as conn:
        await conn.execute(
            text("""
                insert into attempts (prospect_id, attempt, campaign_id, account_id, phone, did_id, from_number,
                                      carrier, state, intent_at, check_at, rules_version)
                select n, 1, 5, 7, '+14155550100', 1, '+14155550101', 'x', 1, now(),
                       now() + make_interval(secs => :due_in_s), ''
                  from generate_series(cast(:first as int), :last) n
            """),
            {"first": first, "last": first + count - 1, "due_in_s": due_in_s},
        )


async def test_overdue_attempts_are_handed_to_workers_once_in_a_while(runtime: Runtime, db: AsyncEngine) -> None:
    await add_attempts(db, first=1, count=250, due_in_s=-1)
    await add_attempts(db, first=251, count=50, due_in_s=3_600)
    watch = Watch(runtime)
    assert await watch.run_once() == 250
    assert await watch.run_once() == 0
    sent = await messages(runtime.queue, Queue.SETTLE, "watch_attempts")
    assert [len(args[0]) for args in sent] == [100, 100, 50]  # type: ignore[arg-type]
    handed = sorted(tuple(each) for args in sent for each in args[0])  # type: ignore[attr-defined]
    assert handed == [(5, n, 1) for n in range(1, 251)]


async def test_the_watch_reads_what_is_due_and_not_the_table(database_url: str, db: AsyncEngine) -> None:
    """On statistics of empty tables the planner would scan every attempt that there is, four times a second."""
    await add_attempts(db, count=20_000, due_in_s=3_600)
    coordinators = database.connect(database_url, pool_size=1, keyed=True)
    reader = coordinators.execution_options(isolation_level="AUTOCOMMIT")
    try:
        before = await scans_of_attempts(reader)
        assert await overdue(reader, real_now()) == ([], None)
        assert await scans_of_attempts(reader) == before
    finally:
        await coordinators.dispose()


async def test_attempts_in_doubt_are_counted_and_the_others_not_read(
    runtime: Runtime, database_url: str, db: AsyncEngine
) -> None:
    await add_attempts(db, count=20_000, due_in_s=3_600)
    await add_attempts(db, first=20_001, count=7, due_in_s=20)
    async with db.begin() as conn:
        await conn.execute(text("update attempts set state = 2 where prospect_id in (20002, 20003, 20004)"))
    await runtime.queue.rpush(f"{NAMESPACE}:{Queue.SEND}", "one", "two")  # type: ignore[misc]
    coordinators = database.connect(database_url, pool_size=1, keyed=True)
    reader = coordinators.execution_options(isolation_level="AUTOCOMMIT")
    try:
        before = await scans_of_attempts(reader)
        assert await in_doubt(reader, add(real_now(), 30.0)) == 3
        assert await scans_of_attempts(reader) == before
    finally:
        await coordinators.dispose()
    await Census(runtime).run_once()
    assert REGISTRY.get_sample_value("carillon_unknown_open") == 3
    assert REGISTRY.get_sample_value("carillon_queue_depth", {"queue": "send"}) == 2


async def scans_of_attempts(reader: AsyncEngine) -> int:
    """How often a partition was read from end to end, this session's own scans included."""
    async with reader.connect() as conn:
        await conn.execute(text("select pg_stat_force_next_flush()"))
        statement = text("select sum(seq_scan) from pg_stat_user_tables where relname like 'attempts\\_%'")
        return int((await conn.execute(statement)).scalar_one())


async def test_the_watch_begins_where_it_found_the_first_that_was_due(runtime: Runtime, db: AsyncEngine) -> None:
    """What lies dead before that is not read again; who comes in before it is found by a look from the front."""
    watch = Watch(runtime)
    assert await watch.run_once() == 0
    await add_attempts(db, first=1, count=1, due_in_s=-3_600)
    await add_attempts(db, first=2, count=1, due_in_s=-1)
    assert await watch.run_once() == 1
    watch.front.at = 0.0
    assert await watch.run_once() == 1


async def test_forgotten_callbacks_are_handed_to_workers(runtime: Runtime, db: AsyncEngine) -> None:
    now = real_now()
    rows = {"old": (now - timedelta(seconds=5), None), "new": (now, None), "done": (now - timedelta(seconds=5), now)}
    async with db.begin() as conn:
        for key, (received, processed) in rows.items():
            await conn.execute(
                text("""
                    insert into carrier_callbacks (received_on, carrier, event_key, campaign_id, prospect_id, attempt,
                                                   event, received_at, processed_at)
                    values (current_date, 'x', :key, 1, 1, 1, '{}', :received, :processed)
                """),
                {"key": key, "received": received, "processed": processed},
            )
        old = (await conn.execute(text("select id from carrier_callbacks where event_key = 'old'"))).scalar_one()
    inbox = Inbox(runtime)
    assert await inbox.run_once() == 1
    assert await inbox.run_once() == 0
    assert await messages(runtime.queue, Queue.SETTLE, "settle_callbacks") == [[[old]]]


async def add_callbacks(conn: AsyncConnection, count: int) -> None:
    """Unsettled, and old enough to be looked for."""
    await conn.execute(
        text("""
            insert into carrier_callbacks (received_on, carrier, event_key, campaign_id, prospect_id, attempt, event,
                                           received_at)
            select current_date, 'x', gen_random_uuid()::text, 1, 1, 1, '{}', now() - interval '5 s'
              from generate_series(1, :count)
        """),
        {"count": count},
    )


async def settle_callbacks(db: AsyncEngine) -> None:
    async with db.begin() as conn:
        await conn.execute(text("update carrier_callbacks set processed_at = now()"))


async def callbacks_read(reader: AsyncEngine) -> int:
    """How many entries of the index of open ones were read, this session's own included."""
    async with reader.connect() as conn:
        await conn.execute(text("select pg_stat_force_next_flush()"))
        entries = "select sum(idx_tup_read) from pg_stat_user_indexes where relname like 'carrier\\_callbacks\\_%'"
        return int((await conn.execute(text(entries))).scalar_one())


async def test_a_look_for_callbacks_passes_over_what_lies_dead(
    database_url: str, runtime: Runtime, db: AsyncEngine
) -> None:
    """A callback that was settled stays in the index for as long as an old snapshot may see it unsettled."""
    coordinators = database.connect(database_url, pool_size=1, keyed=True)
    inbox = Inbox(replace(runtime, db=coordinators))
    try:
        async with db.connect() as old:
            await old.execute(text("set transaction isolation level repeatable read"))
            await old.execute(text("set idle_in_transaction_session_timeout = 0"))
            async with db.begin() as conn:
                await add_callbacks(conn, 100_000)
            await old.execute(text("select count(*) from campaigns"))
            await settle_callbacks(db)
            for _ in range(2):
                inbox.front.at = 0.0
                assert await inbox.run_once() == 0
            async with db.begin() as conn:
                await add_callbacks(conn, 3)
            before = await callbacks_read(inbox.reader)
            assert await inbox.run_once() == 3
            assert await callbacks_read(inbox.reader) - before < 100
    finally:
        await coordinators.dispose()


async def test_callbacks_that_come_late_are_found_by_a_look_from_the_front(runtime: Runtime, db: AsyncEngine) -> None:
    """Their transaction took its numbers long before it committed."""
    inbox = Inbox(runtime)
    async with db.begin() as late:
        await add_callbacks(late, 2)
        async with db.begin() as conn:
            await add_callbacks(conn, 1)
        await settle_callbacks(db)
        for _ in range(2):
            inbox.front.at = 0.0
            assert await inbox.run_once() == 0
    assert await inbox.run_once() == 0
    inbox.front.at = 0.0
    assert await inbox.run_once() == 2


async def test_what_no_worker_settles_is_asked_for_again(runtime: Runtime, db: AsyncEngine) -> None:
    """Every two seconds, not when the next look from the front comes: the looks begin with it."""
    inbox = Inbox(runtime)
    async with db.begin() as conn:
        await add_callbacks(conn, 1)
    for _ in range(2):
        inbox.front.at = 0.0
        await inbox.run_once()
    inbox.hold = Hold(0.0)
    assert [await inbox.run_once() for _ in range(3)] == [1, 1, 1]


def test_a_hold_lets_go() -> None:
    hold: Hold[int] = Hold(2.0)
    assert hold.take([1, 2], 10.0) == [1, 2]
    assert hold.take([1, 2, 3], 11.0) == [3]
    assert hold.take([1, 2, 3], 12.0) == [1, 2]


def test_what_is_asked_for_again_is_held_longer() -> None:
    """Else those who are behind would be asked ever more often: what is under way would hold up what is new."""
    hold: Hold[int] = Hold(2.0)
    asked = [at for at in range(100) if hold.take([1], float(at))]
    assert asked == [0, 2, 6, 14, 30, 46, 62, 78, 94]
    assert hold.take([2], 100.0) == [2]
    assert hold.take([2], 104.5) == [2]  # it had been answered, and is there again
    assert hold.take([2], 106.5) == [2]


@pytest.mark.parametrize("minutes", [(1, 2), (1, 2, 3, 4)])
async def test_folding_keeps_the_sums(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign, db: AsyncEngine, minutes: tuple[int, ...]
) -> None:
    campaign = await make_campaign(prospects=4)
    async with db.begin() as conn:
        for minute in minutes:
            await conn.execute(
                text("""
                    insert into campaign_counts (campaign_id, minute, writer, queued, dialing)
                    values (:i, :m, 1, -1, 1)
                """),
                {"i": campaign.id, "m": minute},
            )
    await lease.run_once()
    async with db.connect() as conn:
        before = await counts.read(conn, campaign.id)
    await Fold(runtime, shard).run_once()
    async with db.connect() as conn:
        assert await counts.read(conn, campaign.id) == before
        assert (await conn.execute(text("select count(*) from campaign_counts where minute > 0"))).scalar_one() == 0


async def test_upkeep_of_the_logs_can_be_repeated(runtime: Runtime, db: AsyncEngine) -> None:
    for duty in (Partitions(runtime), Purge(runtime), Partitions(runtime)):
        await duty.run_once()
    async with db.connect() as conn:
        query = text("select to_regclass(:name) is not null")
        today = f"event_chunks_{real_now():%Y%m%d}"
        assert (await conn.execute(query, {"name": today})).scalar_one()
