"""How single items become batches."""

import asyncio

import pytest

from engine.dispatch.batcher import LONGEST_WAIT_S, Batcher, pause_s


@pytest.mark.parametrize(
    ("took_s", "pause"),
    [(0.0, 0.02), (0.019, 0.02), (0.05, 0.05), (LONGEST_WAIT_S, LONGEST_WAIT_S), (7.0, LONGEST_WAIT_S)],
)
def test_a_lane_rests_as_long_as_its_batch_took(took_s: float, pause: float) -> None:
    assert pause_s(0.02, took_s) == pause


def test_whoever_wants_to_wait_for_longer_does() -> None:
    assert pause_s(1.0, 0.05) == 1.0


async def test_what_comes_while_a_batch_is_under_way_shares_the_next() -> None:
    batches: list[list[int]] = []
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def handle(batch: list[int], _lane: int) -> None:
        batches.append(batch)
        begun.set()
        await go_on.wait()

    batcher: Batcher[int] = Batcher(handle, limit=10, lanes=1, wait_s=0.0)
    batcher.submit(1)
    await begun.wait()
    batcher.submit_many([2, 3])
    go_on.set()
    await batcher.flush()
    batcher.submit(4)
    await batcher.finish()
    assert batches == [[1], [2, 3], [4]]


async def test_a_second_lane_begins_only_with_half_a_batch() -> None:
    batches: list[tuple[int, list[int]]] = []
    go_on = asyncio.Event()

    async def handle(batch: list[int], lane: int) -> None:
        batches.append((lane, batch))
        await go_on.wait()

    async def turns() -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    batcher: Batcher[int] = Batcher(handle, limit=4, lanes=2, wait_s=0.0)
    await turns()
    batcher.submit_many([1])
    await turns()
    batcher.submit_many([2])
    await turns()
    assert batches == [(0, [1])]
    batcher.submit_many([3])
    await turns()
    assert batches == [(0, [1]), (1, [2, 3])]
    go_on.set()
    await batcher.finish()


async def test_a_batch_that_fails_does_not_end_its_lane() -> None:
    handled: list[int] = []

    async def handle(batch: list[int], _lane: int) -> None:
        if 1 in batch:
            raise ValueError("wrong")
        handled.extend(batch)

    batcher: Batcher[int] = Batcher(handle, limit=1, lanes=1, wait_s=0.0)
    batcher.submit_many([1, 2])
    await batcher.finish()
    assert handled == [2]


async def test_closing_waits_for_what_is_under_way_and_begins_nothing() -> None:
    handled: list[int] = []
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def handle(batch: list[int], _lane: int) -> None:
        handled.extend(batch)
        begun.set()
        await go_on.wait()

    batcher: Batcher[int] = Batcher(handle, limit=1, lanes=1, wait_s=0.0)
    batcher.submit_many([1, 2, 3])
    await begun.wait()
    closing = asyncio.create_task(batcher.close())
    await asyncio.sleep(0)
    assert not closing.done()
    batcher.submit_many([4])  # what waited elsewhere until now
    go_on.set()
    await closing
    assert handled == [1]
