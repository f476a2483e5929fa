"""What the workers learn, settled in batches: whole in spite of a broken row, of a database that is away, and of
carriers that do not answer."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy.exc import DataError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from structlog.testing import capture_logs

from engine.carriers.instant import Instant
from engine.carriers.port import Ack, Carrier, Receipt
from engine.carriers.port import Outcome as Answered
from engine.clock import Clock
from engine.dispatch import settling
from engine.dispatch.facts import AttemptKey
from engine.dispatch.hints import Job
from engine.dispatch.intent import IntentContext, commit_intents
from engine.dispatch.settle import SettleResult, settle
from engine.dispatch.settling import Settling
from engine.dispatch.watch import LOOKUPS_AT_ONCE
from engine.ids import attempt_ref
from engine.rules import reports
from engine.rules.attempt import AgentState, AttemptState
from engine.rules.prospect import Outcome
from engine.rules.telephony import Amd, CarrierError, Channel, EndReason, EventKind, Fault
from engine.store.database import connect
from tests.dispatch.attempts import assert_adds_up, context, event, heard, human, inbox, reserve
from tests.dispatch.conftest import World
from tests.dispatch.test_settle import AGENT, PHONES, attempt
from tests.dispatch.test_watch import Scripted, due, learning

PATIENCE_S = 20  # of a test, on a slow machine


class Workers:
    """A worker's settling, and the messages that it has finished."""

    def __init__(self, world: World, clock: Clock, carrier: Carrier | None = None) -> None:
        self.finished: list[str] = []
        carriers = {"simulated-command": carrier or Instant()}
        self.settling = Settling(world.db, carriers, context(clock), lambda _queue, ids: self.finished.extend(ids))


async def test_answers_and_callbacks_share_a_batch(world: World, clock: Clock) -> None:
    campaign, did_id = await world.campaign(phones=PHONES[:2]), await world.did()
    hints = await world.hints(campaign, did_id)
    intents = (await commit_intents(world.db, hints, IntentContext(Channel.VOICE, clock, 2.0, 7.0, 5))).granted
    worker = Workers(world, clock)
    # The callbacks of the first call have overtaken the answer to its create.
    worker.settling.settle("callbacks", await inbox(world, human(intents[0].key)))
    for intent in intents:
        job = Job(intent.hint, Channel.VOICE, f"create {intent.hint.prospect_id}")
        worker.settling.answered(intent, Receipt(Answered.ACCEPTED, "c1"), job)
    await worker.settling.drain()
    first, second = [await attempt(world, intent.key) for intent in intents]
    assert (first.outcome, first.carrier_id) == (Outcome.HUMAN_CONNECTED, "c1")
    assert (second.state, second.carrier_id) == (AttemptState.PLACED, "c1")
    assert sorted(worker.finished) == ["callbacks", *sorted(f"create {each.hint.prospect_id}" for each in intents)]
    await assert_adds_up(world, campaign)


async def test_one_report_that_cannot_be_read_holds_up_no_other(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:3])
    keys = await reserve(world, campaign, clock)
    ids = await inbox(world, [event(key, EventKind.ANSWERED) for key in keys])
    broken = '{"kind": "of another world"}'
    await world.execute(
        "update carrier_callbacks set event = cast(:event as jsonb) where id = :id", event=broken, id=ids[1]
    )
    worker = Workers(world, clock)
    for callback_id in ids:
        worker.settling.settle(f"message {callback_id}", [callback_id])
    await worker.settling.drain()
    assert [(await attempt(world, key)).state for key in keys] == [
        AttemptState.ANSWERED,
        AttemptState.RESERVED,
        AttemptState.ANSWERED,
    ]
    assert sorted(worker.finished) == sorted(f"message {callback_id}" for callback_id in ids)


@pytest.mark.parametrize("broken", ['{"kind": "of another world"}', '{"duration_s": 2147483648}'])
async def test_a_broken_callback_holds_up_no_neighbour_of_its_message(world: World, clock: Clock, broken: str) -> None:
    """The api and the sweep of the inbox put up to a hundred into one message, of all tenants."""
    campaign = await world.campaign(phones=PHONES[:5])
    keys = await reserve(world, campaign, clock)
    ids = await inbox(world, [event(key, EventKind.CALL_ENDED, end=EndReason.BUSY) for key in keys])
    await world.execute(
        "update carrier_callbacks set event = event || cast(:event as jsonb) where id = :id", event=broken, id=ids[2]
    )
    worker = Workers(world, clock)
    with capture_logs() as lines:
        worker.settling.settle("message", ids)
        await worker.settling.drain()
    states = [(await attempt(world, key)).state for key in keys]
    assert states == [*[AttemptState.ENDED] * 2, AttemptState.RESERVED, *[AttemptState.ENDED] * 2]
    left = await world.execute("select id from carrier_callbacks where processed_at is null")
    assert left == [(ids[2],)]
    assert [line["log_level"] for line in lines if line["event"] == "settle.impossible"] == ["error"]
    assert "settle.retried" not in [line["event"] for line in lines]
    assert worker.finished == ["message"]


async def test_an_attempt_that_cannot_be_folded_holds_up_no_other_lost_command(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:3])
    keys = await reserve(world, campaign, clock)
    busy = Ack(ok=False, error=CarrierError(Fault.UNKNOWN, "503", retryable=True))
    carrier = Scripted(acks=[busy] * 3)
    verdicts = {key: [heard(key, EventKind.ANSWERED), heard(key, EventKind.AMD, amd=Amd.HUMAN)] for key in keys}
    await learning(world, carrier, clock)(verdicts)
    await due(world)
    of_another_world = "update attempts set command = '{}' where prospect_id = :id"
    await world.execute(of_another_world, id=keys[1].prospect_id)
    worker = Workers(world, clock, carrier)
    worker.settling.watch("message", keys)
    await worker.settling.drain()
    assert [(await attempt(world, key)).command for key in keys] == [None, {}, None]
    assert len(carrier.commands) == 3 + 2
    assert worker.finished == ["message"]


async def test_a_campaign_that_cannot_be_read_holds_up_no_look_up_of_another(world: World, clock: Clock) -> None:
    broken, campaign = await world.campaign(phones=PHONES[:1]), await world.campaign(phones=PHONES[1:4])
    (unreadable,), keys = await reserve(world, broken, clock), await reserve(world, campaign, clock)
    await due(world)
    await world.execute('update campaigns set mode = mode || \'{"ringTimeout": "soon"}\' where id = :c', c=broken)
    carrier = Scripted()
    worker = Workers(world, clock, carrier)
    with capture_logs() as lines:
        worker.settling.watch("message", [*keys, unreadable])
        for _ in keys:
            await asyncio.wait_for(carrier.asking.get(), PATIENCE_S)
        await worker.settling.drain()
    assert {(await attempt(world, key)).state for key in keys} == {AttemptState.UNKNOWN}
    assert (await attempt(world, unreadable)).state == AttemptState.RESERVED
    told = [line["attempts"] for line in lines if line["event"] == "watch.impossible"]
    assert told == [[attempt_ref(*unreadable)]]
    assert worker.finished == ["message"]


async def test_a_person_without_an_agent_waits_for_no_look_up_of_another_batch(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:2], agent=AGENT)
    waiting, doubtful = await reserve(world, campaign, clock)
    carrier = Scripted(hold=asyncio.Event())
    worker = Workers(world, clock, carrier)
    await due(world)
    worker.settling.watch("doubtful", [doubtful])
    await asyncio.wait_for(carrier.asking.get(), PATIENCE_S)

    await settle(world.db, {waiting: [heard(waiting, EventKind.ANSWERED)]}, context(clock))
    await settle(world.db, {waiting: [reports.command_done(1)]}, context(clock))
    late = clock.now() - timedelta(seconds=2)
    await due(world)
    await world.execute("update attempts set answered_at = :at where answered_at is not null", at=late)
    worker.settling.watch("waiting", [waiting, doubtful])
    await asyncio.wait_for(carrier.commanded.wait(), PATIENCE_S)

    assert (await attempt(world, waiting)).agent_state == AgentState.FAILED
    assert carrier.asked == [attempt_ref(*doubtful)]  # which is not asked for twice at once
    carrier.hold.set()  # type: ignore[union-attr]
    await worker.settling.drain()
    assert (await attempt(world, doubtful)).state == AttemptState.UNKNOWN
    assert worker.finished == ["doubtful", "waiting"]


async def test_a_drain_waits_for_look_ups_under_way_and_begins_no_other(world: World, clock: Clock) -> None:
    """The coordinator asks again for those that were not begun."""
    campaign = await world.campaign(phones=[f"+1212555{n:04d}" for n in range(LOOKUPS_AT_ONCE + 2)])
    keys = await reserve(world, campaign, clock)
    await due(world)
    carrier = Scripted(hold=asyncio.Event())
    worker = Workers(world, clock, carrier)
    for number, some in enumerate((keys[:20], keys[20:])):  # the bound is one for all batches
        worker.settling.watch(f"message {number}", some)
    for _ in range(LOOKUPS_AT_ONCE):
        await asyncio.wait_for(carrier.asking.get(), PATIENCE_S)

    draining = asyncio.create_task(worker.settling.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    carrier.hold.set()  # type: ignore[union-attr]
    await asyncio.wait_for(draining, PATIENCE_S)

    states = [(await attempt(world, key)).state for key in keys]
    assert states.count(AttemptState.UNKNOWN) == len(carrier.asked) == LOOKUPS_AT_ONCE
    assert await world.execute("select count(*) from attempts where state = 1 and check_at <= now()") == [(2,)]
    assert worker.finished == ["message 0", "message 1"]


async def test_a_watch_that_failed_keeps_no_place_in_the_prefetch(clock: Clock) -> None:
    """The coordinator asks again."""
    away = connect("postgresql+psycopg://127.0.0.1:1/away")
    worker = Workers(World(away), clock)
    worker.settling.watch("message", [AttemptKey(1, 2, 1)])
    await worker.settling.drain()
    assert worker.finished == ["message"]


OUTAGES = (
    PoolTimeout("no connection is free"),
    OperationalError("", None, Exception("away")),
    InterfaceError("", None, Exception("closed")),
)


@pytest.mark.parametrize("fault", OUTAGES)
async def test_a_settle_that_could_not_be_written_is_tried_again(world: World, clock: Clock, fault: Exception) -> None:
    tries: list[int] = []

    async def attempt() -> SettleResult:
        tries.append(len(tries))
        if len(tries) < 2:
            raise fault
        return SettleResult()

    assert await Workers(world, clock).settling._persist(attempt) == SettleResult()
    assert len(tries) == 2


async def test_a_drain_tries_no_longer_than_platforms_wait(
    world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many batches there are: each is tried once after that."""
    monkeypatch.setattr(settling, "DRAIN_S", 0.0)
    worker, tries = Workers(world, clock), []

    async def attempt() -> SettleResult:
        tries.append(len(tries))
        raise OUTAGES[1]

    await worker.settling.drain()
    assert [await worker.settling._persist(attempt) for _ in range(3)] == [None] * 3
    assert tries == [0, 1, 2]


async def test_settling_is_behind_when_something_has_waited(
    world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "BEHIND_S", 0.0)
    campaign = await world.campaign(phones=PHONES[:1])
    (key,) = await reserve(world, campaign, clock)
    worker = Workers(world, clock)
    assert not worker.settling.is_behind
    worker.settling.settle("message", await inbox(world, [event(key, EventKind.ANSWERED)]))
    assert worker.settling.is_behind
    await worker.settling.drain()
    assert not worker.settling.is_behind


async def test_what_is_wrong_with_the_batch_is_not_taken_for_an_outage(world: World, clock: Clock) -> None:
    tries: list[int] = []

    async def attempt() -> SettleResult:
        tries.append(len(tries))
        raise DataError("", None, Exception("out of range"))

    with pytest.raises(DataError):
        await Workers(world, clock).settling._persist(attempt)
    assert tries == [0]
