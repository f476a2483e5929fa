"""The whole loop: wake-ups, outages, the end."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from prometheus_client import REGISTRY
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import Clock, boottime
from engine.coordinator import duty as duties
from engine.coordinator.duty import Keeper, backoff_s, end
from engine.coordinator.lease import Lease
from engine.coordinator.loop import Coordinator
from engine.coordinator.shard import Shard
from engine.coordinator.wake import LIST, Wake
from engine.embedded.servers import Servers
from engine.runtime import Runtime, connect_redis
from tests.coordinator.conftest import MakeCampaign, add_dids, messages

DEADLINE_S = 60.0  # only a hang reaches it: a busy machine needs 20 s to start a process


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Waits until `condition` holds; fails at the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not await condition():  # noqa: ASYNC110 — what is waited for happens in servers, not in this loop
            await asyncio.sleep(0.01)


@asynccontextmanager
async def started(runtime: Runtime) -> AsyncIterator[Coordinator]:
    stop = asyncio.Event()
    coordinator = Coordinator(runtime)
    task = asyncio.create_task(coordinator.run(stop))
    try:
        yield coordinator
    finally:
        stop.set()
        await task


async def test_the_loop_enqueues_everything_and_gives_its_leases_up(
    runtime: Runtime, make_campaign: MakeCampaign, db: AsyncEngine, clock: Clock
) -> None:
    await make_campaign(prospects=300)
    await add_dids(db, clock)
    async with started(runtime) as coordinator:

        async def all_sent() -> bool:
            return len(await messages(runtime.queue)) == 300

        await eventually(all_sent)
        assert all(coordinator.health().values())
        for duty in ("dispatch", "lease"):
            age_s = REGISTRY.get_sample_value("carillon_coordinator_duty_age_seconds", {"duty": duty})
            assert age_s is not None
            assert 0 <= age_s < 15
    async with db.connect() as conn:
        row = (await conn.execute(text("select lease_owner, lease_until::text from campaigns"))).one()
        assert tuple(row) == ("", "-infinity")
        assert (await conn.execute(text("select count(*) from leaders"))).scalar_one() == 0


async def test_a_connection_that_has_just_gone_is_an_outage(servers: Servers) -> None:
    """Between the pool's look at it and the first byte."""
    client = connect_redis(servers.redis_url)
    await client.ping()
    (connection,) = client.connection_pool._available_connections
    connection._writer.transport.abort()
    with pytest.raises(RedisConnectionError, match="has gone"):
        await client.ping()
    assert await client.ping()
    await client.aclose()


async def test_a_wake_up_finds_a_campaign_that_nobody_holds(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign
) -> None:
    campaign = await make_campaign(prospects=1)
    nudge = asyncio.Event()
    await runtime.redis.rpush(LIST, campaign.id)  # type: ignore[misc]
    assert await Wake(runtime, shard, lease, "me", nudge).run_once() == 1
    assert nudge.is_set()
    assert set(shard.walks) == {campaign.id}


async def test_a_wake_up_for_another_coordinators_campaign_is_passed_on(
    runtime: Runtime, lease: Lease, shard: Shard, make_campaign: MakeCampaign
) -> None:
    campaign = await make_campaign(prospects=1)
    await lease.run_once()  # "me" holds it
    shard.walks[campaign.id].look_at = boottime() + 60
    other = Shard()
    wake_other = Wake(runtime, other, Lease(runtime, other, "other"), "other", asyncio.Event())
    await runtime.redis.rpush(LIST, campaign.id, "nonsense")  # type: ignore[misc]
    assert await wake_other.run_once() == 0
    nudge = asyncio.Event()
    assert await Wake(runtime, shard, lease, "me", nudge).run_once() == 1
    assert nudge.is_set()
    assert shard.walks[campaign.id].look_at == 0.0


class _Flaky:
    every_s = 0.0

    def __init__(self, *outcomes: Exception | None) -> None:
        self._outcomes = list(outcomes)
        self.is_through = asyncio.Event()

    async def run_once(self) -> None:
        if not self._outcomes:
            self.is_through.set()
            return
        outcome = self._outcomes.pop(0)
        if outcome:
            raise outcome


async def test_an_outage_is_waited_out() -> None:
    duty = _Flaky(RedisConnectionError("away"), ConnectionRefusedError(), None)
    task = asyncio.create_task(Keeper(duty).keep())
    async with asyncio.timeout(DEADLINE_S):
        await duty.is_through.wait()
    task.cancel()


@pytest.mark.parametrize(
    ("every_s", "waits"),
    [(0.0, [0.05, 0.05, 0.3, 1.5, 2.0]), (0.1, [0.1, 0.1, 0.3, 1.5, 2.0]), (60.0, [0.5, 0.5, 0.5, 1.5, 2.0])],
)
def test_a_short_outage_is_over_soon_after_its_end_and_a_long_one_is_asked_after_seldom(
    every_s: float, waits: list[float]
) -> None:
    assert [backoff_s(away_s, every_s) for away_s in (0.0, 0.1, 1.2, 6.0, 3600.0)] == pytest.approx(waits)


async def test_a_bug_ends_the_process() -> None:
    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(DEADLINE_S):
            await Keeper(_Flaky(ZeroDivisionError())).keep()


class _Statement:
    """Work that a server may hold up; a client library takes its cancellation for an outage, as some do."""

    every_s = 0.01

    def __init__(self) -> None:
        self.begun, self.answered = asyncio.Event(), asyncio.Event()
        self.was_cancelled = False

    async def run_once(self) -> None:
        self.begun.set()
        try:
            await self.answered.wait()
        except asyncio.CancelledError as error:
            self.was_cancelled = True
            raise RedisConnectionError("cut off") from error


async def test_what_is_under_way_is_finished_at_the_end() -> None:
    duty = _Statement()
    keeper = Keeper(duty)
    task = asyncio.create_task(keeper.keep())
    await duty.begun.wait()
    ending = asyncio.create_task(end({keeper: task}))
    asyncio.get_running_loop().call_soon(duty.answered.set)
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(ending, task)
    assert not duty.was_cancelled


async def test_a_cancellation_taken_for_an_outage_holds_up_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duties, "_STOP_S", 0.01)
    duty = _Statement()
    keeper = Keeper(duty)
    task = asyncio.create_task(keeper.keep())
    await duty.begun.wait()
    async with asyncio.timeout(DEADLINE_S):
        await end({keeper: task})
        await task
    assert duty.was_cancelled


async def test_the_process_works_and_stops_at_sigterm(
    servers: Servers, database_url: str, db: AsyncEngine, make_campaign: MakeCampaign, clock: Clock, runtime: Runtime
) -> None:
    campaign = await make_campaign(prospects=5)
    await add_dids(db, clock)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "workers.coordinator",
        env=os.environ
        | servers.environment()
        | {"DATABASE_URL": database_url, "CARILLON_DID_CALLS_PER_MINUTE": "60000"},
        stderr=asyncio.subprocess.PIPE,
    )
    try:

        async def all_sent() -> bool:
            return process.returncode is None and len(await messages(runtime.queue)) == 5

        await eventually(all_sent)
        process.send_signal(signal.SIGTERM)
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(DEADLINE_S):
            _, log = await process.communicate()
    assert process.returncode == 0, log.decode()
    assert b"coordinator.stopped" in log
    assert await runtime.redis.lrange(LIST, 0, -1) == [b"%d" % campaign.id]  # whoever listens takes it now
