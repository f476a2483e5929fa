"""One endpoint's bookkeeping, with a sender and a recorder of the test's own."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from engine.clock import boottime
from engine.rules.webhook import PARK_AFTER, Answer, Verdict
from engine.store.webhooks import Webhook
from engine.webhooks.endpoint import Due, Endpoint, Result, Ways
from tests.webhooks.test_send import webhook

WIDTH = 4
FAR = float("inf")


@dataclass(slots=True)
class World:
    """Requests wait until the test answers them; results wait until it records them."""

    under_way: dict[int, asyncio.Future[Answer]] = field(default_factory=dict)
    begun: list[int] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    asked: int = 0

    def endpoint(self, held_until: float = FAR, **changes: object) -> Endpoint:
        ways = Ways(self._send, self.results.append, self._hungry, asyncio.Semaphore(100), WIDTH)
        return Endpoint(webhook("http://127.0.0.1/", **changes), held_until, ways)

    async def answer(self, seq: int, status: int) -> None:
        self.under_way.pop(seq).set_result(Answer(status))
        await turns()

    def _hungry(self) -> None:
        self.asked += 1

    async def _send(self, webhook: Webhook, seq: int, body: str) -> Answer:
        self.begun.append(seq)
        self.under_way[seq] = asyncio.get_running_loop().create_future()
        return await self.under_way[seq]


@pytest.fixture
def world() -> World:
    return World()


def due(*numbers: int, left_s: float = 1e6) -> Sequence[Due]:
    return [Due(n, n, "sms.sent", "{}", 0, left_s, 0.0) for n in numbers]


async def turns() -> None:
    """Lets every task go on as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_few_at_a_time_and_the_next_as_soon_as_one_is_answered(world: World) -> None:
    endpoint = world.endpoint()
    endpoint.offer(due(*range(8)), 16)
    await turns()
    assert world.begun == [0, 1, 2, 3]
    await world.answer(2, 200)
    assert world.begun == [0, 1, 2, 3, 4]
    assert [result.decision.verdict for result in world.results] == [Verdict.DELIVERED]


async def test_what_is_busy_is_not_sent_again_until_it_is_recorded(world: World) -> None:
    endpoint = world.endpoint()
    endpoint.offer(due(1), 16)
    await turns()
    endpoint.offer(due(1), 16)
    await world.answer(1, 200)
    endpoint.offer(due(1), 16)
    await turns()
    assert (world.begun, endpoint.busy) == ([1], {1})
    endpoint.recorded(world.results[0])
    assert endpoint.busy == set()


async def test_after_a_failure_one_at_a_time_until_a_success(world: World) -> None:
    endpoint = world.endpoint()
    endpoint.offer(due(*range(12)), 16)
    await turns()
    for seq in (0, 1, 2, 3):
        await world.answer(seq, 500)
    assert world.begun == [0, 1, 2, 3, 4]
    await world.answer(4, 200)
    assert world.begun == [0, 1, 2, 3, 4, 5, 6, 7, 8]


async def test_a_parked_endpoint_gets_nothing_and_forgets_what_waits(world: World) -> None:
    endpoint = world.endpoint(failures=PARK_AFTER - 1)
    endpoint.offer(due(*range(8)), 16)
    await turns()
    assert world.begun == [0]
    await world.answer(0, 500)
    assert (world.begun, endpoint.busy, endpoint.room) == ([0], {0}, 0)
    assert endpoint.paused_until > boottime()


async def test_nothing_overtakes_a_failed_head_that_is_not_yet_recorded(world: World) -> None:
    """Even when its wait is over before the slow database has written the failure."""
    endpoint = world.endpoint(ordered=True)
    endpoint.offer(due(1, 2, 3), 16)
    await turns()
    await world.answer(1, 500)
    endpoint.paused_until = 0.0
    assert endpoint.room == 0
    endpoint.offer(due(2, 3), 16)
    await turns()
    assert world.begun == [1]
    endpoint.recorded(world.results[0])
    endpoint.is_drained = False
    assert endpoint.room > 0
    endpoint.offer(due(1, 2, 3), 16)
    await turns()
    assert world.begun == [1, 1]


async def test_no_request_begins_after_the_lease(world: World) -> None:
    endpoint = world.endpoint(held_until=boottime() - 1)
    endpoint.offer(due(1, 2), 16)
    await turns()
    assert (world.begun, world.results) == ([], [])
    assert endpoint.busy == {1, 2}  # they keep their places, should the lease be renewed


async def test_nothing_overtakes_what_met_the_end_of_the_lease(world: World) -> None:
    """It was renewed late, on a busy machine, and nobody else had it."""
    endpoint = world.endpoint(ordered=True)
    endpoint.offer(due(0, 1, 2), 16)
    await turns()
    endpoint.held_until = boottime() - 1
    await world.answer(0, 200)
    endpoint.refresh(endpoint.webhook, 0.0, FAR)
    endpoint.offer(due(3), 13)  # fetched while the others were busy
    await turns()
    for seq in (1, 2, 3):
        await world.answer(seq, 200)
    assert world.begun == [0, 1, 2, 3]


async def test_gone_ends_everything(world: World) -> None:
    endpoint = world.endpoint()
    endpoint.offer(due(*range(8)), 16)
    await turns()
    await world.answer(0, 410)
    assert (endpoint.room, world.begun) == (0, [0, 1, 2, 3])


async def test_gone_is_final_even_if_what_was_under_way_is_accepted(world: World) -> None:
    endpoint = world.endpoint()
    endpoint.offer(due(0, 1), 16)
    await turns()
    await world.answer(0, 410)
    await world.answer(1, 200)
    endpoint.offer(due(2), 16)
    await turns()
    assert (endpoint.room, world.begun) == (0, [0, 1])


async def test_a_row_that_was_reset_ends_a_pause_unless_there_is_news(world: World) -> None:
    endpoint = world.endpoint(ordered=True, failures=3)
    endpoint.refresh(endpoint.webhook, 60.0, FAR)
    assert endpoint.is_paused
    fresh = webhook("http://127.0.0.1/", ordered=True)
    endpoint.refresh(fresh, 0.0, FAR)
    assert (endpoint.is_paused, endpoint.failures) == (False, 0)
    endpoint.hold(60.0)  # its results could not be written
    endpoint.refresh(fresh, 0.0, FAR)
    assert endpoint.is_paused


async def test_what_is_due_soon_is_given_up_rather_than_tried_too_late(world: World) -> None:
    endpoint = world.endpoint()
    endpoint.offer(due(1, left_s=2.0), 16)
    await turns()
    await world.answer(1, 500)
    assert world.results[0].decision.verdict is Verdict.FAILED


async def test_closing_waits_for_what_is_under_way_and_begins_nothing(world: World) -> None:
    endpoint = world.endpoint()
    endpoint.offer(due(*range(8)), 16)
    await turns()
    closing = asyncio.create_task(endpoint.close())
    await turns()
    assert not closing.done()
    for seq in (0, 1, 2, 3):
        await world.answer(seq, 200)
    await closing
    assert (world.begun, len(world.results)) == ([0, 1, 2, 3], 4)
