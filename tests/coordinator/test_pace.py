"""How much is enqueued at a time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.coordinator.pace import LEAST_QUEUED, MOST_QUEUED, Room, divide, refill


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
