"""Token buckets, one per DID: the gate before the queue. What its DID cannot carry now is not enqueued.

They pace and do not prove (DESIGN 2a): windows of a minute or more are decided in PostgreSQL with the intent. A bucket
that is missing, or that another server left, starts empty and fills at its rate, so a flush never causes a burst.

An SMS bucket is a short hold, not the gap. The gap is `dids.sms_free_at`, and only DIDs that are free by it are asked
for here; the hold keeps the next tick from choosing the same DID before the message's intent has moved `sms_free_at`.
After a flush it costs one hold, not fifteen minutes.
"""

from collections.abc import Awaitable, Sequence
from typing import NamedTuple, cast

from redis.asyncio import Redis

from engine.limits.scripts import source

_MOST_PER_CALL = 1000  # a bucket costs Redis about 3 µs, and it serves nobody else meanwhile
SMS_HOLD_S = 1.0
_USE = 0.98


class Bucket(NamedTuple):
    """`capacity` ≥ 1; `refill_per_s` in seconds of whatever clock the caller passes as `now_ms`."""

    key: str
    capacity: float
    refill_per_s: float


class Buckets:
    def __init__(self, redis: Redis) -> None:
        self._script = redis.register_script(source("buckets.lua"))

    async def take(self, wanted: Sequence[tuple[Bucket, int]], now_ms: int) -> list[int]:
        """How many tokens each bucket gave, at most `wanted` whole ones. A bucket may appear once in a call.

        Raises what Redis raises.
        """
        granted: list[int] = []
        for start in range(0, len(wanted), _MOST_PER_CALL):
            granted += await self._run(wanted[start : start + _MOST_PER_CALL], now_ms)
        return granted

    async def put_back(self, unused: Sequence[tuple[Bucket, int]], now_ms: int) -> None:
        """Returns tokens that were taken and not spent; a bucket holds no more than its capacity."""
        await self.take([(bucket, -tokens) for bucket, tokens in unused], now_ms)

    async def _run(self, wanted: Sequence[tuple[Bucket, int]], now_ms: int) -> list[int]:
        args: list[str] = [str(now_ms)]
        for bucket, tokens in wanted:
            args += (str(bucket.capacity), repr(bucket.refill_per_s / 1000), str(tokens))
        keys = [f"carillon:did:{bucket.key}" for bucket, _ in wanted]
        return await cast(Awaitable[list[int]], self._script(keys=keys, args=args))


def voice_bucket(did_id: int, calls_per_minute: float, slack_s: float = 0.0) -> Bucket:
    """Engine time. In any minute at most capacity + 60 × refill tokens leave, which must stay below N + 1:

    refill is 0.98·N a minute and capacity 1 + 0.015·N, so 1 + 0.995·N. The 0.015·N are 0.9 s worth: a coordinator that
    looks in twenty times a second loses nothing. `slack_s` (engine seconds) widens it for clocks so fast that 0.9
    engine seconds pass between two looks; a development convenience, for the bound is then the intent's alone.
    """
    return Bucket(
        f"voice:{did_id}",
        1 + calls_per_minute * max(0.015, slack_s / 60),
        _USE * calls_per_minute / 60,
    )


def sms_hold(did_id: int) -> Bucket:
    """Real time: one message, then none for `SMS_HOLD_S`."""
    return Bucket(f"sms:{did_id}", 1, 1 / SMS_HOLD_S)
