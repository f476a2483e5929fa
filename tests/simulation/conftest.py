"""A store of either kind under a time that the test moves."""

from collections.abc import AsyncIterator

import pytest

from engine import ids
from engine.clock import Clock, under
from engine.rules.telephony import Channel
from engine.simulation.memory import MemorySteps
from engine.simulation.port import DOCUMENT_CARRIER, Account, Number, Plan, Steps
from engine.simulation.postgres import PostgresSteps
from engine.simulation.script import STARTS
from engine.simulation.timeline import REAL_START_S, Ids, VirtualTime
from engine.store.database import connect

VOICE, SMS, NARROW, NAMED, DOCUMENT = 101, 102, 103, 104, 105
VOICE_NUMBER, SMS_NUMBER = 11, 12


@pytest.fixture
def time() -> VirtualTime:
    return VirtualTime()


@pytest.fixture(params=["memory", "postgres"])
async def steps(request: pytest.FixtureRequest, time: VirtualTime) -> AsyncIterator[Steps]:
    clock = Clock(REAL_START_S, STARTS[0].timestamp(), 1.0)
    with under(time), ids.under(Ids(time)):
        if request.param == "memory":
            memory = MemorySteps(clock)
            await _prepare(memory)
            yield memory
            return
        engine = connect(request.getfixturevalue("database_url"), pool_size=3, idle_in_transaction_ms=20_000)
        postgres = PostgresSteps(engine, clock)
        await _prepare(postgres)
        yield postgres
        await postgres.close()
        await engine.dispose()


async def _prepare(steps: Steps) -> None:
    await steps.prepare(
        [Account(1, {"kind": "sip", "uri": "sip:desk@example.com"}), Account(2)],
        [Number(VOICE_NUMBER, 1, "+17145551011"), Number(SMS_NUMBER, 1, "+17145551012"), Number(21, 2, "+17145551021")],
        [
            Plan(VOICE, 1, Channel.VOICE, {"ai": True, "max_retries": 1, "retry_delay": "1m"}),
            Plan(SMS, 1, Channel.SMS, {"message": "Your order is ready."}),
            Plan(NARROW, 1, Channel.VOICE, {"concurrentCalls": 1}),
            Plan(DOCUMENT, 1, Channel.VOICE, {"ai": True}, carrier=DOCUMENT_CARRIER),
            Plan(NAMED, 1, Channel.SMS, {"message": "{{name}}, your order is ready."}),
        ],
    )
