"""Token buckets: empty at first, never above the rate in any minute, and nearly all of it when polled."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from engine.limits.buckets import SMS_HOLD_S, Bucket, Buckets, sms_hold, voice_bucket

NOW_MS = 1_773_252_000_000
MINUTE_MS = 60_000


async def test_a_new_bucket_is_empty_and_fills_at_its_rate(redis: Redis) -> None:
    buckets, bucket = Buckets(redis), Bucket("x", 3, 2.0)
    assert await buckets.take([(bucket, 5)], NOW_MS) == [0]
    assert await buckets.take([(bucket, 5)], NOW_MS + 499) == [0]
    assert await buckets.take([(bucket, 5)], NOW_MS + 1000) == [2]
    assert await buckets.take([(bucket, 5)], NOW_MS + 60_000) == [3]


async def test_put_back_restores_what_was_not_spent_up_to_the_capacity(redis: Redis) -> None:
    buckets, bucket = Buckets(redis), Bucket("x", 3, 1.0)
    await buckets.take([(bucket, 0)], NOW_MS)
    assert await buckets.take([(bucket, 3)], NOW_MS + 10_000) == [3]
    await buckets.put_back([(bucket, 2)], NOW_MS + 10_000)
    assert await buckets.take([(bucket, 3)], NOW_MS + 10_000) == [2]
    await buckets.put_back([(bucket, 9)], NOW_MS + 10_000)
    assert await buckets.take([(bucket, 9)], NOW_MS + 10_000) == [3]


async def test_a_flush_and_another_servers_data_mean_empty(redis: Redis) -> None:
    buckets, bucket = Buckets(redis), Bucket("x", 5, 1.0)
    await buckets.take([(bucket, 0)], NOW_MS)
    await redis.flushall()
    assert await buckets.take([(bucket, 5)], NOW_MS + 60_000) == [0]
    stored, run_id = await redis.get("carillon:did:x"), (await redis.info("server"))["run_id"].encode()
    await redis.set("carillon:did:x", stored.replace(run_id, run_id[::-1]))
    assert await buckets.take([(bucket, 5)], NOW_MS + 120_000) == [0]


async def test_clocks_that_differ_fill_no_time_twice(redis: Redis) -> None:
    buckets, bucket = Buckets(redis), Bucket("x", 100, 10.0)
    await buckets.take([(bucket, 0)], NOW_MS)
    taken = 0
    for step in range(1, 101):  # two callers, one 50 ms behind
        taken += sum(await buckets.take([(bucket, 100)], NOW_MS + 100 * step))
        taken += sum(await buckets.take([(bucket, 100)], NOW_MS + 100 * step - 50))
    assert taken == 100


async def test_a_clock_set_back_by_hours_stops_nobody(redis: Redis) -> None:
    buckets, bucket = Buckets(redis), Bucket("x", 2, 1.0)
    await buckets.take([(bucket, 0)], NOW_MS)
    earlier = NOW_MS - 3_600_000
    await buckets.take([(bucket, 0)], earlier)
    assert await buckets.take([(bucket, 1)], earlier + 1000) == [1]


async def test_many_buckets_in_one_call_keep_their_order(redis: Redis) -> None:
    buckets = Buckets(redis)
    wanted = [(Bucket(f"{n}", 5, n % 5), 5) for n in range(2_500)]  # more than one script call takes
    await buckets.take(wanted, NOW_MS)
    assert await buckets.take(wanted, NOW_MS + 1000) == [n % 5 for n in range(2_500)]


@pytest.mark.parametrize("rate", [1, 10, 60, 600])
async def test_a_voice_number_keeps_its_minute_and_gets_nearly_all_of_it(redis: Redis, rate: int) -> None:
    buckets, bucket = Buckets(redis), voice_bucket(1, rate)
    await buckets.take([(bucket, 0)], NOW_MS)
    taken: list[int] = []
    for at in range(NOW_MS, NOW_MS + 5 * MINUTE_MS, 500):
        taken += [at] * sum(await buckets.take([(bucket, 1_000)], at))
    assert max(sum(start <= at < start + MINUTE_MS for at in taken) for start in taken) <= rate
    assert len(taken) - 1 >= 0.97 * rate * (taken[-1] - taken[0]) / MINUTE_MS


async def test_an_idle_voice_number_saves_no_burst(redis: Redis) -> None:
    buckets, bucket = Buckets(redis), voice_bucket(1, 600)
    await buckets.take([(bucket, 0)], NOW_MS)
    (saved,) = await buckets.take([(bucket, 1_000)], NOW_MS + 60 * MINUTE_MS)
    assert saved <= 10


@given(st.floats(0.5, 100_000))
def test_no_minute_of_a_voice_number_can_hold_one_too_many(calls_per_minute: float) -> None:
    bucket = voice_bucket(1, calls_per_minute)
    assert bucket.capacity >= 1
    assert bucket.capacity + 60 * bucket.refill_per_s < calls_per_minute + 1


async def test_an_sms_hold_lets_one_message_through_at_a_time(redis: Redis) -> None:
    buckets, hold_ms = Buckets(redis), int(SMS_HOLD_S * 1000)
    await buckets.take([(sms_hold(1), 0)], NOW_MS)
    assert await buckets.take([(sms_hold(1), 3)], NOW_MS + hold_ms) == [1]
    assert await buckets.take([(sms_hold(1), 3)], NOW_MS + hold_ms + 1) == [0]
    assert await buckets.take([(sms_hold(1), 3)], NOW_MS + 2 * hold_ms) == [1]
