"""The limiter's promise over whatever is asked of it: no window holds more than the rate. Against the real scripts."""

import asyncio
import itertools
from bisect import bisect_left
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from engine.limits.buckets import Buckets, voice_bucket
from engine.limits.slots import HORIZON_S, LATE_S, Lane, SendSlots

MINUTE_MS = 60_000
START_MS = 1_773_252_000_000

EXAMPLES = 15
_over_one_redis = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]

rates = st.integers(1, 1_000)
counts = st.integers(0, 60)
# Three campaigns on a carrier's lane. An ask: how long after the last one, and how many for each of them.
asks = st.lists(st.tuples(st.floats(0, 0.03), st.tuples(counts, counts, counts)), min_size=1, max_size=10)


def fullest(times: Sequence[int], window: float) -> int:
    """The most that a half-open window of this length holds."""
    ascending = sorted(times)
    return max((bisect_left(ascending, at + window) - n for n, at in enumerate(ascending)), default=0)


@pytest.fixture
async def examples(redis: Redis) -> Iterator[int]:
    """Numbers of examples. Each has lanes of its own, which have begun: a new one gives nothing for a horizon."""
    names = [f"{lane}-{number}" for lane in ("carrier", 0, 1, 2) for number in range(EXAMPLES)]
    await SendSlots(redis).acquire([((Lane(name, 1_000),), 1) for name in names])
    await asyncio.sleep(HORIZON_S)
    return itertools.count()


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=_over_one_redis)
@given(campaigns=st.tuples(rates, rates, rates), carrier=rates, asked=asks)
async def test_no_window_of_any_lane_holds_more_slots_than_its_rate(
    redis: Redis,
    examples: Iterator[int],
    campaigns: tuple[int, ...],
    carrier: int,
    asked: list[tuple[float, tuple[int, ...]]],
) -> None:
    example = next(examples)
    shared = Lane(f"carrier-{example}", carrier)
    groups = [(Lane(f"{n}-{example}", rate), shared) for n, rate in enumerate(campaigns)]
    clients = [SendSlots(redis), SendSlots(redis)]
    granted: dict[Lane, list[int]] = {lane: [] for group in groups for lane in group}
    for turn, (pause_s, wanted) in enumerate(asked):
        await asyncio.sleep(pause_s)
        found = await clients[turn % 2].acquire(list(zip(groups, wanted, strict=True)))
        for group, grant in zip(groups, found, strict=True):
            for lane in group:
                granted[lane] += [slot.stamp_us for slot in grant.slots]
    for lane, stamps in granted.items():
        assert len(set(stamps)) == len(stamps)
        for window_s in (0.001, 0.01, 0.1, 0.5):
            assert fullest(stamps, window_s * 1e6) <= lane.rate_per_s * window_s + 1
        assert fullest(stamps, (1.0 + LATE_S) * 1e6) <= lane.rate_per_s  # a create may leave so much after its slot
        assert fullest(stamps, 2e6) <= 2 * lane.rate_per_s


@settings(max_examples=50, deadline=None, suppress_health_check=_over_one_redis)
@given(
    calls_per_minute=st.integers(1, 1_000),
    asked=st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 200)), min_size=1, max_size=30),
)
async def test_no_minute_of_a_voice_number_holds_more_calls_than_its_rate(
    redis: Redis, calls_per_minute: int, asked: list[tuple[int, int]]
) -> None:
    buckets, bucket = Buckets(redis), voice_bucket(1, calls_per_minute)
    await redis.flushall()
    now_ms, taken = START_MS, list[int]()
    for pause_ms, wanted in asked:
        now_ms += pause_ms
        taken += [now_ms] * sum(await buckets.take([(bucket, wanted)], now_ms))
    assert fullest(taken, MINUTE_MS) <= calls_per_minute
