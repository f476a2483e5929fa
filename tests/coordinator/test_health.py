"""The duties that move numbers through the pool."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import Clock, iso
from engine.coordinator.census import Census
from engine.coordinator.health import Health, Rests
from engine.coordinator.operations import Audit, Operations, provider_of
from engine.jobs import Queue
from engine.rules.did_health import Kind, encode
from engine.rules.operation import Kind as Op
from engine.runtime import Runtime
from engine.store import accounts, did_health, operations
from tests.coordinator.conftest import ACCOUNT, add_dids, events, messages

K = Kind
GOOD, DULL, BAD = encode(K.PERSON, 60), encode(K.PERSON, 3), encode(K.NO_ANSWER, 0)


@pytest.fixture(autouse=True)
async def account(db: AsyncEngine, clock: Clock) -> None:
    async with db.begin() as conn:
        await accounts.create(conn, "Acme", clock.now(), account_id=ACCOUNT)


async def happened(runtime: Runtime, did_id: int, codes: Sequence[int]) -> None:
    async with runtime.db.begin() as conn:
        await did_health.append(conn, [did_id] * len(codes), codes, runtime.clock.now())
    await Health(runtime).run_once()


async def state(db: AsyncEngine, did_id: int) -> tuple[object, ...]:
    async with db.connect() as conn:
        query = text("select state, state_reason, flags, state_until from dids where id = :id")
        return tuple((await conn.execute(query, {"id": did_id})).one())


def later(runtime: Runtime, **span: float) -> None:
    clock = runtime.clock
    runtime.clock = replace(clock, engine_anchor=clock.engine_anchor + timedelta(**span).total_seconds())


async def test_a_healthy_number_stays(runtime: Runtime, db: AsyncEngine, clock: Clock) -> None:
    (did,) = await add_dids(db, clock)
    await happened(runtime, did.id, [GOOD] * 60)
    assert (await state(db, did.id))[0] == "active"
    assert await events(db, "did.state_changed") == []


async def test_a_low_score_cools_for_two_hours_and_is_told(runtime: Runtime, db: AsyncEngine, clock: Clock) -> None:
    (did,) = await add_dids(db, clock)
    await happened(runtime, did.id, [DULL] * 19)
    assert (await state(db, did.id))[0] == "active"  # too few calls to judge it by
    await happened(runtime, did.id, [DULL])
    found = await state(db, did.id)
    assert found[:3] == ("cooling", "low_score", 0)
    (event,) = await events(db, "did.state_changed")
    payload = event["payload"]
    assert payload == {
        "id": payload["id"],  # type: ignore[index]
        "number": did.number,
        "from": "active",
        "to": "cooling",
        "reason": "low_score",
        "until": iso(found[3]),  # type: ignore[arg-type]
    }
    rests = Rests(runtime)
    later(runtime, hours=1.9)
    assert await rests.run_once() == 0
    later(runtime, hours=0.2)
    assert await rests.run_once() == 1
    assert await state(db, did.id) == ("active", "rested", 0, None)
    await happened(runtime, did.id, [GOOD])  # the old calls are not held against it again
    assert (await state(db, did.id))[0] == "active"


async def test_a_score_below_a_half_burns_over_a_whole_window(runtime: Runtime, db: AsyncEngine, clock: Clock) -> None:
    (did,) = await add_dids(db, clock)
    await happened(runtime, did.id, [BAD] * 50)
    assert (await state(db, did.id))[:2] == ("burned", "worn_out")
    later(runtime, days=400)
    assert await Rests(runtime).run_once() == 0


@pytest.mark.parametrize(("kind", "cause"), [(K.BLOCKED, "network_block"), (K.FILTERED, "spam_code")])
async def test_flags_rest_longer_each_time_and_return_through_warming(
    runtime: Runtime, db: AsyncEngine, clock: Clock, kind: Kind, cause: str
) -> None:
    (did,) = await add_dids(db, clock)
    for number, days in enumerate((14, 30, 45), 1):
        await happened(runtime, did.id, [GOOD, encode(kind, 0)])
        assert (await state(db, did.id))[:3] == ("cooling", cause, number)
        await happened(runtime, did.id, [encode(kind, 0)])  # calls that were under way: the same flag
        assert (await state(db, did.id))[2] == number
        later(runtime, days=days, hours=-1)
        assert await Rests(runtime).run_once() == 0
        later(runtime, hours=2)
        assert await Rests(runtime).run_once() == 1
        assert (await state(db, did.id))[0] == "warming"
        later(runtime, days=21)
        assert await Rests(runtime).run_once() == 1
        assert (await state(db, did.id))[:2] == ("active", "warmed")
    await happened(runtime, did.id, [encode(kind, 0)])
    assert (await state(db, did.id))[:3] == ("burned", "flagged_too_often", 4)


async def test_a_number_under_a_label_does_not_come_back(runtime: Runtime, db: AsyncEngine, clock: Clock) -> None:
    (did,) = await add_dids(db, clock)
    await happened(runtime, did.id, [encode(K.BLOCKED, 0)])
    async with db.begin() as conn:
        insert = text("insert into did_reputation values (:id, :account, true, 0, '[]', :now)")
        await conn.execute(insert, {"id": did.id, "account": ACCOUNT, "now": clock.now()})
    later(runtime, days=15)
    await Rests(runtime).run_once()
    assert (await state(db, did.id))[:2] == ("quarantine", "still_labelled")


async def test_a_low_sms_score_cools_when_it_stays_low_for_an_hour(
    runtime: Runtime, db: AsyncEngine, clock: Clock
) -> None:
    (did,) = await add_dids(db, clock)
    await happened(runtime, did.id, [encode(K.UNDELIVERED, 0)] * 40 + [encode(K.OPTED_OUT, 0)] * 40)
    assert (await state(db, did.id))[0] == "active"
    later(runtime, minutes=61)
    await happened(runtime, did.id, [encode(K.UNDELIVERED, 0)])
    assert (await state(db, did.id))[:3] == ("cooling", "low_sms_score", 1)


async def test_a_flag_outlives_a_crash_between_fold_and_judgement(
    runtime: Runtime, db: AsyncEngine, clock: Clock
) -> None:
    (did,) = await add_dids(db, clock)
    async with db.begin() as conn:
        await did_health.append(conn, [did.id], [encode(K.BLOCKED, 0)], clock.now())
    async with db.begin() as conn:
        await did_health.fold(conn)  # and here the coordinator dies
    assert await Health(runtime).run_once() == 1
    assert await Health(runtime).run_once() == 0
    assert (await state(db, did.id))[0] == "cooling"


async def test_numbers_are_counted_by_state(runtime: Runtime, db: AsyncEngine, clock: Clock) -> None:
    await add_dids(db, clock, "+14155550101", "+14155550102")
    async with db.begin() as conn:
        await conn.execute(text("update dids set state = 'warming' where number = '+14155550102'"))
    await Census(runtime).run_once()
    found = [REGISTRY.get_sample_value("carillon_dids", {"state": each}) for each in ("active", "warming", "burned")]
    assert found == [1, 1, 0]


async def test_due_operations_are_handed_to_workers_once_in_a_while(runtime: Runtime, db: AsyncEngine) -> None:
    async with db.begin() as conn:
        now = runtime.clock.now()
        asked = await operations.ask(conn, ACCOUNT, Op.SEARCH, "simulated-command", {}, now, actor="x")
        await operations.ask(conn, ACCOUNT, Op.SEARCH, "simulated-command", {}, now, actor="x", delay_s=60)
    assert asked is not None
    duty = Operations(runtime)
    assert await duty.run_once() == 1
    assert await duty.run_once() == 0
    assert await messages(runtime.queue, Queue.SETTLE, "run_operation") == [[asked.id]]


async def test_each_number_is_audited_once_a_day(runtime: Runtime, db: AsyncEngine, clock: Clock) -> None:
    await add_dids(db, clock, "+14155550101", "+14155550102")
    audits = Audit(runtime), Audit(runtime)
    assert [await each.run_once() for each in audits] == [0, 0]  # they are new
    later(runtime, days=1)
    assert [await each.run_once() for each in audits] == [2, 0]
    async with db.connect() as conn:
        kinds = (await conn.execute(text("select kind, carrier, actor from operations"))).all()
    assert {tuple(row) for row in kinds} == {("reputation.check", "simulated", "engine")}


@pytest.mark.parametrize(
    ("own", "has_carrier", "default", "expected"),
    [
        (None, False, "simulated", "simulated"),
        (None, True, "simulated", ""),  # it must not vouch for real numbers
        ("acme", True, "simulated", "acme"),
        (None, False, "", ""),
        (5, False, "simulated", "simulated"),
    ],
)
def test_who_is_asked(own: object, has_carrier: bool, default: str, expected: str) -> None:
    assert provider_of(own, has_carrier, default) == expected
