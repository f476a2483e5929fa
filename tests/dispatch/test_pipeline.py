"""From hints to settled attempts through the pipeline, with the instant carrier, real slots and a real database."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import text
from structlog.testing import capture_logs

from engine import metrics
from engine.carriers import fence
from engine.carriers.instant import Instant
from engine.carriers.port import Carrier, CarrierError, Fault, Outcome, PlaceCall, Receipt, Ticket
from engine.clock import Clock, boottime
from engine.dispatch.hints import Job
from engine.dispatch.pipeline import Pipeline
from engine.dispatch.settle import SettleContext
from engine.dispatch.settling import Settling
from engine.ids import attempt_ref, encode
from engine.limits.slots import HORIZON_S, LEAD_S, WIDE_S, Grant, Lane, SendSlots, Slot
from engine.rules.telephony import Channel
from engine.settings import Settings
from engine.store import locks
from tests.dispatch.conftest import World

PHONES = [f"+1212555{n:04d}" for n in range(100, 140)]


class Watched(Instant):
    """The instant carrier, remembering when each create began."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[tuple[str, float]] = []
        self.not_after: set[datetime | None] = set()

    async def place_call(self, call: PlaceCall, ticket: Ticket) -> Receipt:
        self.not_after.add(call.not_after)
        receipt = await super().place_call(call, ticket)
        if receipt.outcome is not Outcome.NOT_SENT:
            self.begun.append((call.ref, boottime()))
        return receipt


class Late(Watched):
    """Misses each create's first slot, as a stalled process would."""

    def __init__(self) -> None:
        super().__init__()
        self.missed: set[str] = set()

    async def place_call(self, call: PlaceCall, ticket: Ticket) -> Receipt:
        if call.ref not in self.missed:
            self.missed.add(call.ref)
            return fence.not_sent(fence.SLOT_MISSED)
        return await super().place_call(call, ticket)


class Throttling(Watched):
    """Refuses its first create for its rate, and wants no other for a while."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__()
        self.retry_after_s = retry_after_s
        self.refused_at = 0.0

    async def place_call(self, call: PlaceCall, ticket: Ticket) -> Receipt:
        if self.refused_at:
            return await super().place_call(call, ticket)
        self.refused_at = boottime()
        error = CarrierError(Fault.RATE_LIMITED, "429", "slow down", True, self.retry_after_s)
        return Receipt(Outcome.REJECTED, error=error)


class Broken(Watched):
    """Its adapter has a bug."""

    async def place_call(self, call: PlaceCall, ticket: Ticket) -> Receipt:
        self.begun.append((call.ref, boottime()))
        raise KeyError("a bug")


class Bench:
    """A pipeline and what it finished."""

    def __init__(self, pipeline: Pipeline, settling: Settling, finished: list[str]) -> None:
        self.pipeline, self.settling, self.finished = pipeline, settling, finished

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 — the condition is the database's
                await asyncio.sleep(0)


@asynccontextmanager
async def running(
    world: World, redis: Redis, clock: Clock, carrier: Carrier, slots: SendSlots | None = None
) -> AsyncIterator[Bench]:
    url = "postgresql://unused"
    settings = Settings(DATABASE_URL=url, REDIS_URL=url)  # type: ignore[call-arg]
    finished: list[str] = []
    carriers: dict[str, Carrier] = {"simulated-command": carrier}
    settling = Settling(world.db, carriers, SettleContext(clock, settings, 1), lambda _queue, ids: finished.extend(ids))
    pipeline = Pipeline(
        Channel.VOICE,
        world.db,
        clock,
        settings,
        slots or SendSlots(redis),
        carriers,
        settling,
        lambda jobs: finished.extend(job.message_id for job in jobs),
        100,
    )
    try:
        yield Bench(pipeline, settling, finished)
    finally:
        await pipeline.drain()
        await settling.drain()


async def jobs_of(world: World, **mode: object) -> tuple[int, list[Job]]:
    campaign = await world.campaign(phones=PHONES, **mode)
    await world.execute("update campaigns set calls_per_second = 500")
    hints = await world.hints(campaign, await world.did())
    return campaign, [Job(hint, Channel.VOICE, str(hint.prospect_id)) for hint in hints]


def submit(bench: Bench, jobs: Sequence[Job]) -> None:
    for job in jobs:
        bench.pipeline.submit(job)


async def call_all(bench: Bench, jobs: Sequence[Job], carrier: Watched, hints_each: int = 1, but: int = 0) -> None:
    """Until everybody was called, `but` so many. On a busy machine a create may miss every slot; the coordinator, as
    here, enqueues its hint again."""
    async with asyncio.timeout(60):
        while len(carrier.begun) < len(jobs) - but:
            done = len(bench.finished)
            for _ in range(hints_each):
                submit(bench, jobs)
            await bench.until(lambda done=done: len(bench.finished) == done + hints_each * len(jobs))


async def test_every_hint_becomes_one_settled_attempt(world: World, redis: Redis, clock: Clock) -> None:
    campaign, jobs = await jobs_of(world)
    carrier = Watched()
    async with running(world, redis, clock, carrier) as bench:
        await call_all(bench, jobs, carrier, hints_each=2)  # doubled hints lose at the intent

    assert len({ref for ref, _ in carrier.begun}) == len(carrier.begun) == len(PHONES)
    counts = await world.counts(campaign)
    assert (counts["total"], counts["completed"]) == (len(PHONES), len(PHONES))


async def test_a_create_that_fails_is_named_in_the_log(world: World, redis: Redis, clock: Clock) -> None:
    campaign, jobs = await jobs_of(world)
    carrier = Broken()
    with capture_logs() as lines:
        async with running(world, redis, clock, carrier) as bench:
            await call_all(bench, jobs[:1], carrier)
    (line,) = [line for line in lines if line["event"] == "create.failed"]
    assert (line["campaign"], line["attempt"]) == (encode("camp", campaign), carrier.begun[0][0])
    assert line["carrier"] == "simulated-command"


async def test_the_carrier_is_told_until_when_it_may_queue_a_create(world: World, redis: Redis, clock: Clock) -> None:
    _, jobs = await jobs_of(world)
    carrier = Watched()
    async with running(world, redis, clock, carrier) as bench:
        submit(bench, jobs)
        await bench.until(lambda: len(bench.finished) == len(jobs))
    now = datetime.now(UTC)
    assert all(at is not None and now < at < now + timedelta(hours=4) for at in carrier.not_after)


async def test_creates_keep_the_campaigns_rate(world: World, redis: Redis, clock: Clock) -> None:
    _, jobs = await jobs_of(world)
    await world.execute("update campaigns set calls_per_second = 50")
    carrier = Watched()
    async with running(world, redis, clock, carrier) as bench:
        submit(bench, jobs)
        await bench.until(lambda: len(bench.finished) == len(jobs))

    times = sorted(at for _, at in carrier.begun)
    # 40 calls at 50 a second: any ten in a row take at least nine steps, less the 15 ms that a create may be late.
    assert all(later - earlier >= 9 / 50 - 0.015 for earlier, later in zip(times, times[9:], strict=False))


async def limit_account(world: World, limits: str) -> None:
    await world.execute("update accounts set settings = jsonb_build_object('limits', cast(:l as jsonb))", l=limits)


async def test_campaigns_of_an_account_share_its_rate_at_the_carrier(world: World, redis: Redis, clock: Clock) -> None:
    _, jobs = await jobs_of(world)
    other = await world.campaign(phones=[f"+1646555{n:04d}" for n in range(100, 140)])
    await world.execute("update campaigns set calls_per_second = 500")
    jobs += [Job(hint, Channel.VOICE, f"o{hint.prospect_id}") for hint in await world.hints(other, world.did_ids[0])]
    await limit_account(world, '{"callsPerSecond": 60}')
    carrier = Watched()
    async with running(world, redis, clock, carrier) as bench:
        submit(bench, jobs)
        await bench.until(lambda: len(bench.finished) == len(jobs))

    times = sorted(at for _, at in carrier.begun)
    assert all(later - earlier >= 19 / 60 - 0.015 for earlier, later in zip(times, times[19:], strict=False))


@pytest.mark.slow
async def test_a_refusal_for_the_rate_closes_the_lane_of_every_worker_and_costs_no_attempt(
    world: World, redis: Redis, clock: Clock
) -> None:
    campaign, jobs = await jobs_of(world)
    await world.execute("update campaigns set calls_per_second = 10")
    carrier, other = Throttling(2.5), Watched()
    async with running(world, redis, clock, carrier) as bench, running(world, redis, clock, other) as second:
        submit(bench, jobs[:20])
        await bench.until(lambda: carrier.refused_at > 0)
        submit(second, jobs[20:30])
        await bench.until(lambda: len(bench.finished) + len(second.finished) == 30)

    opened_at = carrier.refused_at + 2.5
    begun = [at for _, at in [*carrier.begun, *other.begun]]
    early = [at for at in begun if at < opened_at - 0.1]
    assert all(at <= carrier.refused_at + HORIZON_S + WIDE_S for at in early)  # they held their slot by then
    assert len(early) <= 10
    counts = await world.counts(campaign)
    assert counts["completed"] == len(begun) > len(early)
    # The refused one, and on a busy machine some that missed their slot: the same attempt, another intent.
    released = await world.execute("select attempt, try, state from attempts where outcome is null")
    assert released == [(1, 1, 0)] * (30 - len(begun))


async def test_a_closed_lane_keeps_no_message_for_long(world: World, redis: Redis, clock: Clock) -> None:
    campaign, jobs = await jobs_of(world)
    slots = SendSlots(redis)
    await slots.close((Lane(f"carrier:{world.account_id}:simulated-command:voice"),), 600)
    carrier = Watched()
    async with running(world, redis, clock, carrier) as bench:
        submit(bench, jobs)
        await bench.until(lambda: len(bench.finished) == len(jobs))  # the coordinator enqueues them again
    assert carrier.begun == []
    assert await world.counts(campaign) == {"total": len(PHONES), "queued": len(PHONES)}


async def test_a_create_that_misses_its_slot_takes_another(world: World, redis: Redis, clock: Clock) -> None:
    campaign, jobs = await jobs_of(world)
    carrier = Late()
    async with running(world, redis, clock, carrier) as bench:
        await call_all(bench, jobs, carrier)

    assert len(carrier.begun) == len(PHONES)
    assert (await world.counts(campaign))["completed"] == len(PHONES)
    # Within the same intent; only on a busy machine do some need a second one.
    assert await world.execute("select min(try) from attempts") == [(1,)]


async def test_no_create_begins_after_the_pause_has_waited_for_its_tickets(
    world: World, redis: Redis, clock: Clock
) -> None:
    """P3 in small: the pause flips the state under the campaign's key, then waits as long as a ticket lives."""
    campaign, jobs = await jobs_of(world)
    await world.execute("update campaigns set calls_per_second = 20")
    carrier = Watched()
    async with running(world, redis, clock, carrier) as bench:
        submit(bench, jobs)
        await bench.until(lambda: len(carrier.begun) >= 3)
        async with world.db.begin() as conn:
            await locks.lock_exclusive(conn, [locks.campaign_key(campaign)])
            await conn.execute(text("update campaigns set status = 'paused' where id = :id"), {"id": campaign})
        await _no_ticket(world)
        answered_at = boottime()
        await bench.until(lambda: len(bench.finished) == len(jobs))

    assert all(at < answered_at for _, at in carrier.begun)
    assert len(carrier.begun) < len(PHONES)


async def test_without_redis_nothing_is_sent_and_nothing_is_lost(world: World, clock: Clock) -> None:
    campaign, jobs = await jobs_of(world)
    carrier = Watched()
    nowhere = Redis(port=1, retry=Retry(NoBackoff(), 0))
    async with running(world, nowhere, clock, carrier) as bench:
        submit(bench, jobs)
        await bench.until(lambda: len(bench.finished) == len(jobs))
    await nowhere.aclose()

    assert carrier.begun == []
    assert await world.counts(campaign) == {"total": len(PHONES), "queued": len(PHONES)}


async def test_intents_whose_session_broke_are_tried_again(world: World, redis: Redis, clock: Clock) -> None:
    """The coordinator sees no outage in it: dropped, these hints would keep their prospects waiting for their lease."""
    campaign, jobs = await jobs_of(world)
    jobs = [job._replace(enqueued_ms=int(time.time() * 1000)) for job in jobs]
    carrier = Watched()
    async with running(world, redis, clock, carrier) as bench:
        async with world.db.begin() as conn:
            await locks.lock_exclusive(conn, [locks.campaign_key(campaign)])
            submit(bench, jobs)
            await _break_who_waits(world)
        assert bench.finished == []
        await bench.until(lambda: len(bench.finished) == len(jobs))

    assert len(carrier.begun) > 0
    assert await world.execute("select count(*) from attempts") == [(len(PHONES),)]


async def test_somebody_whose_row_cannot_be_read_holds_up_no_other(world: World, redis: Redis, clock: Clock) -> None:
    """In one batch with everybody of a small campaign, it would do so each time that their hints come again."""
    campaign, jobs = await jobs_of(world)
    jobs = [job._replace(enqueued_ms=int(time.time() * 1000)) for job in jobs]
    wrong = jobs[2].hint
    await world.execute("update prospects set data = '[1]' where id = :id", id=wrong.prospect_id)
    carrier = Watched()
    with capture_logs() as lines:
        async with running(world, redis, clock, carrier) as bench:
            await call_all(bench, jobs, carrier, but=1)
    name = attempt_ref(campaign, wrong.prospect_id, wrong.attempt)
    assert {tuple(line["attempts"]) for line in lines if line["event"] == "intent.impossible"} == {(name,)}
    assert await world.execute("select count(*) from attempts") == [(len(PHONES) - 1,)]
    assert "batch.failed" not in [line["event"] for line in lines]


class Faltering(SendSlots):
    """Its second request for slots finds no Redis; nor does any that gives some back."""

    asked = 0

    async def acquire(
        self, wanted: Sequence[tuple[tuple[Lane, ...], int]], *, lead_s: float = LEAD_S, is_wide: bool = False
    ) -> list[Grant]:
        self.asked += 1
        if self.asked == 2:
            raise RedisConnectionError("gone")
        return await super().acquire(wanted, lead_s=lead_s, is_wide=is_wide)

    async def give_back(self, lanes: tuple[Lane, ...], slots: Sequence[Slot]) -> None:
        raise RedisConnectionError("gone")


async def test_who_has_a_slot_goes_on_when_redis_is_lost_before_the_others_have_theirs(
    world: World, redis: Redis, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And who has been refused meanwhile is finished, though the slot cannot be given back: each job once."""
    monkeypatch.setattr("engine.dispatch.pipeline.GROUP", 10)
    _, jobs = await jobs_of(world)
    await world.execute("update prospects set attempt = 7 where id = :id", id=jobs[0].hint.prospect_id)
    async with running(world, redis, clock, Watched(), Faltering(redis)) as bench:
        submit(bench, jobs)
        await bench.until(lambda: len(bench.finished) == len(jobs))
    assert sorted(bench.finished) == sorted(job.message_id for job in jobs)
    assert await world.execute("select count(*) from attempts") == [(9,)]


async def _break_who_waits(world: World) -> None:
    async with asyncio.timeout(10):
        while not await world.execute(  # noqa: ASYNC110
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and wait_event_type = 'Lock'"
        ):
            await asyncio.sleep(0)


async def test_drain_finishes_only_what_was_begun(world: World, redis: Redis, clock: Clock) -> None:
    """The others wait for their slots, a second each."""
    campaign, jobs = await jobs_of(world)
    await world.execute("update campaigns set calls_per_second = 1")
    async with running(world, redis, clock, watched := Watched()) as bench:
        submit(bench, jobs[:5])
        await bench.until(lambda: bool(watched.begun))
        await bench.pipeline.drain()
        await bench.settling.drain()
        assert len(watched.begun) <= len(bench.finished) < 5
    assert (await world.counts(campaign))["total"] == len(PHONES)


async def _no_ticket(world: World) -> None:
    async with asyncio.timeout(10):
        while (await world.execute("select count(*) from attempts where state = 1"))[0][0]:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_a_process_that_is_always_late_asks_for_slots_that_wait_for_it(
    world: World, redis: Redis, clock: Clock
) -> None:
    """As where a container's share of the CPU is used up for most of each tenth of a second."""
    campaign = await world.campaign(phones=[f"+1212555{n:04d}" for n in range(100, 340)])
    await world.execute("update campaigns set calls_per_second = 100")
    jobs = [Job(hint, Channel.VOICE, str(hint.prospect_id)) for hint in await world.hints(campaign, await world.did())]
    carrier = Watched()

    async def stand_still() -> None:
        while True:
            time.sleep(0.02)  # noqa: ASYNC251 — of this kind are its pauses
            await asyncio.sleep(0.005)

    async with running(world, redis, clock, carrier) as bench:
        standing = asyncio.create_task(stand_still())
        await call_all(bench, jobs[:120], carrier)
        forfeited = metrics.SLOTS_FORFEITED._value.get()
        await call_all(bench, jobs, carrier)
        standing.cancel()
    assert len({ref for ref, _ in carrier.begun}) == len(carrier.begun) == len(jobs)
    assert metrics.SLOTS_FORFEITED._value.get() - forfeited <= 12  # of 120
