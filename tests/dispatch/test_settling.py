"""What the workers learn, settled in batches: whole in spite of a broken row, and of a database that is away."""

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from engine.carriers.instant import Instant
from engine.carriers.port import Outcome as Answered
from engine.carriers.port import Receipt
from engine.clock import Clock
from engine.dispatch import settling
from engine.dispatch.facts import AttemptKey
from engine.dispatch.hints import Job
from engine.dispatch.intent import IntentContext, commit_intents
from engine.dispatch.settle import SettleResult
from engine.dispatch.settling import Settling
from engine.rules.attempt import AttemptState
from engine.rules.prospect import Outcome
from engine.rules.telephony import Channel, EventKind
from engine.store.database import connect
from tests.dispatch.attempts import assert_adds_up, context, event, human, inbox, reserve
from tests.dispatch.conftest import World
from tests.dispatch.test_settle import PHONES, attempt


class Workers:
    """A worker's settling, and the messages that it has finished."""

    def __init__(self, world: World, clock: Clock) -> None:
        self.finished: list[str] = []
        carriers = {"simulated-command": Instant()}
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


async def test_a_watch_that_failed_keeps_no_place_in_the_prefetch(clock: Clock) -> None:
    """The coordinator asks again."""
    away = connect("postgresql+psycopg://127.0.0.1:1/away")
    worker = Workers(World(away), clock)
    worker.settling.watch("message", [AttemptKey(1, 2, 1)])
    await worker.settling.drain()
    assert worker.finished == ["message"]


@pytest.mark.parametrize("fault", [PoolTimeout("no connection is free"), OperationalError("", None, Exception("away"))])
async def test_a_settle_that_could_not_be_written_is_tried_again(fault: Exception) -> None:
    tries: list[int] = []

    async def attempt() -> SettleResult:
        tries.append(len(tries))
        if len(tries) < 2:
            raise fault
        return SettleResult()

    assert await settling._persist(attempt) == SettleResult()
    assert len(tries) == 2
