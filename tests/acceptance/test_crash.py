"""`kill -9` at random, an emptied Redis and a carrier at its worst: nobody is lost and nobody is contacted twice."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.acceptance.stack import Stack, create, phones, running_stack, shuffled, until, until_completed

pytestmark = pytest.mark.slow

VICTIMS = ["worker-1", "worker-2", "coordinator", "relay"]
ROUNDS = 2
SEED = 11
FAULTS = {
    "rate_limit": 0.02,  # each closes the account's lane for a second
    "drop_before_accept": 0.04,
    "redirect": 0.02,
    "error_after_accept": 0.04,
    "drop_after_accept": 0.04,
    "hang_after_accept": 0.01,
    "command_error": 0.05,
    "callback_double": 0.1,
    "callback_late": 0.1,
    "callback_lost": 0.03,
    "callback_disorder": 0.15,
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {
        "CARILLON_HINT_LEASE_S": "4",  # what died with a queue or a worker is enqueued again after this
        "CARILLON_CARRIER_TIMEOUT_S": "2",
        "CARILLON_RECONCILE_AFTER_S": "1",
        "CARILLON_DELIVERY_DEADLINE_S": "600",
    }
    with running_stack(tmp_path_factory.mktemp("crash"), **settings) as stack:
        yield stack


async def test_nobody_is_lost_or_called_twice_by_kills_and_a_flush(stack: Stack) -> None:
    people = phones(1200)
    mode = {"calls_per_second": 80, "ai": True, "max_retries": 1, "retry_delay": "2m"}
    async with stack.api() as api:
        campaign = await create(api, people, mode)
        order = shuffled(VICTIMS, ROUNDS, SEED)
        for number, victim in enumerate(order, start=1):
            goal = 1000 * number // len(order)
            await until(lambda goal=goal: len(stack.creates()) >= goal, f"{goal} calls before the death of {victim}")
            await asyncio.to_thread(stack.kill_and_restart, victim)
            if number == len(order) // 2:
                await asyncio.to_thread(stack.flush_redis)
        found = await until_completed(api, campaign)
    assert found["completed"] == found["total"] == len(people)
    await stack.check()


async def test_a_carrier_at_its_worst_changes_nothing(stack: Stack) -> None:
    voice_mode = {
        "calls_per_second": 60,
        "ai": True,
        "max_retries": 1,
        "retry_delay": "2m",
        "ringTimeout": 15,  # a lost report is asked for after ring or call are over and some grace
        "maxDuration": 10,
    }
    text_mode = {"message": "Hello.", "max_retries": 1, "retry_delay": "2m"}  # the default, 4h, is four minutes here
    before = len(stack.creates())
    await stack.set_faults(**FAULTS)
    try:
        async with stack.api() as api:
            calls = await create(api, phones(500, first=1200), voice_mode)
            texts = await create(api, phones(40, first=1700), text_mode, "sms")
            called = await until_completed(api, calls)
            texted = await until_completed(api, texts)
    finally:
        await stack.set_faults(**dict.fromkeys(FAULTS, 0.0))
    assert called["completed"] == called["total"] == 500
    assert texted["completed"] == texted["total"] == 40
    assert (
        called["humanConnected"] > 25
    )  # on a busy machine agents come too late for most, and their calls are abandoned
    refused = Counter(not create.accepted for create in itertools.islice(stack.creates(), before, None))
    assert refused[True] > 20  # the faults were real
    await stack.check()
