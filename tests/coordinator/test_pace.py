"""How much is enqueued at a time."""

import itertools
from collections import deque
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.clock import boottime, starting_at, under
from engine.coordinator.pace import LEAST_QUEUED, MOST_QUEUED, Room, allowance, divide, refill
from engine.coordinator.shard import Queued, Walk
from engine.simulation.timeline import VirtualTime


@pytest.mark.parametrize(
    ("room", "wishes", "shares"),
    [
        (10, [], []),
        (0, [5, 5], [0, 0]),
        (-3, [5], [0]),
        (100, [5, 5], [5, 5]),
        (10, [2, 100], [2, 8]),
        (10, [100, 100], [5, 5]),
        (9, [1, 100, 4], [1, 4, 4]),
        (1, [7, 7, 7], [1, 0, 0]),
    ],
)
def test_divide(room: int, wishes: list[int], shares: list[int]) -> None:
    assert divide(room, wishes) == shares


@given(st.integers(0, 1000), st.lists(st.integers(0, 300), max_size=20))
def test_divide_gives_away_all_that_is_wished(room: int, wishes: list[int]) -> None:
    shares = divide(room, wishes)
    assert all(0 <= share <= wish for share, wish in zip(shares, wishes, strict=True))
    assert sum(shares) == min(room, sum(wishes))


@pytest.mark.parametrize(("rate", "fills_in_a_minute"), [(0.5, 31), (1.0, 61), (10.0, 75), (150.0, 75), (1000.0, 75)])
def test_a_campaign_is_asked_for_seldom_and_its_queue_is_never_empty(rate: float, fills_in_a_minute: int) -> None:
    depth = max(1.0, 3.0 * rate)
    backlog, fills, sent = 0.0, 0, 0
    for _ in range(60 * 20):  # twenty ticks a second
        backlog = max(0.0, backlog - rate / 20)
        more = refill(backlog, depth)
        backlog, fills, sent = backlog + more, fills + (more > 0), sent + more
        assert backlog >= min(1.0, rate / 20)
    assert fills <= fills_in_a_minute
    assert rate * 60 <= sent <= rate * 60 + depth + 1


def test_a_queue_is_kept_as_deep_as_it_drains() -> None:
    room = Room(depth_s=3.0)
    assert room.measure(0, 100.0) == LEAST_QUEUED
    length, now = 0, 100.0
    for _ in range(100):  # the workers drain 1,000 a second, ten looks a second
        now += 0.1
        free = room.measure(length, now, is_urgent=True)
        room.add(max(0, free))
        length = max(0, length + max(0, free) - 100)
    assert 2_700 <= length + 100 <= 3_100


def test_a_queue_is_filled_up_seldom_unless_somebody_waits_for_it() -> None:
    room = Room(depth_s=3.0)
    length, now, fills, shortest = 3_000, 100.0, 0, 3_000
    for _ in range(300):  # the workers drain 1,000 a second, ten looks a second
        now += 0.1
        free = max(0, room.measure(length, now))
        room.add(free)
        fills += free > 0
        length = max(0, length + free - 100)
        shortest = min(shortest, length)
    assert fills <= 40
    assert shortest > 1_000
    assert room.measure(length, now, is_urgent=True) > 0


def test_a_queue_that_nobody_drains_is_not_filled_up() -> None:
    room = Room(depth_s=3.0)
    length = 0
    for tick in range(50):
        free = room.measure(length, 100.0 + tick)
        room.add(max(0, free))
        length += max(0, free)
    assert length == LEAST_QUEUED


def test_a_fast_queue_has_an_upper_bound() -> None:
    room = Room(depth_s=3.0)
    room.measure(0, 100.0)
    for tick in range(1, 50):
        room.add(50_000)
        room.measure(0, 100.0 + tick)
    assert room.measure(0, 200.0) <= MOST_QUEUED


def _longest_wait_s(rate: float, workers: float, for_s: int) -> float:
    """Of the hints that workers begin, so many a second at most, in the second half of the time."""
    time = VirtualTime()
    walk = Walk(SimpleNamespace(channel="voice", is_direct=False, calls_per_second=rate), 1)  # type: ignore[arg-type]
    waiting: deque[tuple[int, float]] = deque()
    ids, waits, begun = itertools.count(), [0.0], 0
    with under(time):
        clock = starting_at(datetime(2026, 3, 11, tzinfo=UTC), speed=1.0)
        for tick in range(20 * for_s):
            time.now_us += 50_000
            now = boottime()
            more = allowance(walk, now, depth_s=3.0)
            for id_ in itertools.islice(ids, more):
                walk.hints[id_] = (1, now)
                waiting.append((id_, now))
            walk.backlog += more
            while waiting and begun < workers * tick / 20:
                waits.append(now - waiting.popleft()[1])
                begun += 1
            begun = max(begun, int(min(rate, workers) * tick / 20))  # what nobody wanted is not caught up with
            if tick % 40 == 0:  # the rescue's look behind
                queued = {id_: Queued(1, float("-inf")) for id_, _ in waiting}
                walk.left_behind(queued, now, clock, clock.now().timestamp(), hint_lease_s=60.0)
    return max(waits[len(waits) // 2 :])


def test_workers_that_are_slower_than_the_campaign_have_a_shorter_queue() -> None:
    """Else a hint waits for longer than its lease, is enqueued again and refused at its second coming."""
    assert _longest_wait_s(rate=100.0, workers=1_000.0, for_s=60) <= 3.0
    assert _longest_wait_s(rate=100.0, workers=80.0, for_s=60) <= 6.0
    assert _longest_wait_s(rate=100.0, workers=30.0, for_s=60) <= 6.0
