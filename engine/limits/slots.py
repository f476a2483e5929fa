"""Send slots: the short windows of P4 (calls per second of a campaign, of a carrier account), over all workers.

A slot is the right to send one create at one moment, at most a second ahead. Each lane (one limit) is a train of slots
1/(0.985·rate) apart: GCRA with burst 1. So any window of W seconds holds at most 0.985·rate·W + 1 slots, evenly spread,
and with rate × 1 s ≥ 1 there is room for creates that leave up to `LATE_S` after their slot:
0.985·rate·(1 + 0.015) + 1 < rate + 1, which is at most `rate` whole creates in each second.

A worker that is often later than that, since others have its CPU, asks for wide slots. They may be used `WIDE_S` late,
and the whole lane pays with its rate, as (1 + `LATE_S`) to (1 + `WIDE_S`), until a second after the last of them: then
a second that begins with late ones still holds `rate` at most. A wide slot that is given back is handed out again to
anybody; one from before, with others close behind it, only to whoever uses it in time.

A request that counts against several lanes gets a moment that is free in each. When a few campaigns that are nearly as
fast as the carrier's own lane compete for it, some 10 % of that lane falls into gaps too short for anyone; a single
campaign, or many slow ones, use all of it.

Nothing here survives Redis, and nothing needs to: a lane that is missing, or that another server or a restart left,
begins one horizon and one step later than now, behind every slot that may still be on its way (P8). So it does when the
clock of Redis's machine is set back. When that is set forward, slots on their way seem to be of the past, and for a
second others are handed out beside them: no script can tell that from an idle lane.

A carrier that refuses for its own rate closes its lane for as long as it says, for all workers. What holds a slot by
then, at most a second ahead, still goes. A flush opens the lane again, and the carrier's next refusal closes it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from engine.clock import boottime
from engine.limits.scripts import Scripting, source

ACQUIRE = source("lane.lua", "slots.lua")
GIVE_BACK = source("lane.lua", "give_back.lua")
CLOSE = source("lane.lua", "close.lua")

HORIZON_S = 1.0
LATE_S = 0.015
WIDE_S = 0.2  # both as in lane.lua
_LEAST_RATE = 1e-6  # per second: a step for which Redis has no number would fail the slots of everybody in the batch
USE = 0.985  # the most that leaves room for `LATE_S`; a flush in two minutes still leaves 97 %
# An early slot must leave time for the intent transaction; see `acquire`.
LEAD_S = 0.03
# A refused request asks again this long before its time: late enough that few wait on a slot that a pause would waste,
# early enough that a busy worker still gets it.
ASK_AHEAD_S = 0.5
_DRIFT = 0.0005  # NTP slews a clock by at most 500 ppm


class Lane(NamedTuple):
    """One limit. `rate_per_s` may change between calls; the new spacing counts from the last slot. Infinite: a gate,
    which paces nothing and costs nothing, but may be closed."""

    key: str
    rate_per_s: float = math.inf


class Slot(NamedTuple):
    """Send at `at` (boottime s) or up to `until`; later the slot is forfeited. `stamp_us` is Redis's name for it."""

    at: float
    until: float
    stamp_us: int


@dataclass(slots=True)
class Grant:
    """The answer to one group: `slots`, ascending, and when (boottime s) to ask again for each of the rest."""

    slots: list[Slot] = field(default_factory=list)
    ask_at: list[float] = field(default_factory=list)


class SendSlots:
    def __init__(self, redis: Scripting) -> None:
        self._acquire = redis.register_script(ACQUIRE)
        self._give_back = redis.register_script(GIVE_BACK)
        self._close = redis.register_script(CLOSE)
        self._offset = ClockOffset()

    async def acquire(
        self, wanted: Sequence[tuple[tuple[Lane, ...], int]], *, lead_s: float = LEAD_S, is_wide: bool = False
    ) -> list[Grant]:
        """Slots for groups of requests, (their lanes, how many): one Grant per group, in order.

        A slot counts against each lane of its group and lies between `lead_s` and `HORIZON_S` from now; set `lead_s` to
        what the intent transaction takes at its slowest, or its slots come too early to be used. Requests without a
        lane are for the caller to send at once. About 1 µs each in groups. Raises what Redis raises.
        """
        if not wanted:
            return []
        lanes = _once(chain.from_iterable(group for group, _ in wanted))
        number = {lane.key: index for index, lane in enumerate(lanes, 1)}
        args: list[float] = [round(lead_s * 1e6), round(HORIZON_S * 1e6), int(is_wide), *map(_step_us, lanes)]
        for group, count in wanted:
            args += (count, len(group), *(number[lane.key] for lane in group))
        sent = boottime()
        now_us, *found = await self._acquire([_key(lane) for lane in lanes], list(map(str, args)))
        self._offset.observe(now_us / 1e6, sent, boottime())
        late_s = WIDE_S if is_wide else LATE_S
        return [
            self._grant(now_us, slots, count, max(_step_us(lane) for lane in group) / 1e6, late_s)
            for slots, (group, count) in zip(found, wanted, strict=True)
        ]

    async def give_back(self, lanes: tuple[Lane, ...], slots: Sequence[Slot]) -> None:
        """Frees slots granted for `lanes` that will certainly not be used: once each. Past ones are ignored."""
        lanes = tuple(lane for lane in lanes if lane.rate_per_s < math.inf)
        if slots and lanes:
            stamps = sorted(slot.stamp_us for slot in slots)
            args = [str(arg) for arg in (round(HORIZON_S * 1e6), *map(_step_us, lanes), *stamps)]
            await self._give_back([_key(lane) for lane in lanes], args)

    async def close(self, lanes: tuple[Lane, ...], for_s: float) -> None:
        """No slot of these lanes lies within the next `for_s` seconds (an hour at most), whoever asks."""
        args = [str(arg) for arg in (round(HORIZON_S * 1e6), *map(_step_us, lanes), round(for_s * 1e6))]
        await self._close([_key(lane) for lane in lanes], args)

    def _grant(self, now_us: int, deltas: list[int], count: int, step_s: float, late_s: float) -> Grant:
        refused_us = -deltas.pop()
        latest, earliest = self._offset.local(now_us / 1e6)
        slots = [Slot(at := latest + d / 1e6, max(earliest + d / 1e6 + late_s, at), now_us + d) for d in deltas]
        first = latest + max(refused_us / 1e6 - ASK_AHEAD_S, 0.001)
        return Grant(slots, [first + index * step_s for index in range(count - len(slots))])


class ClockOffset:
    """What Redis's clock reads when ours reads zero, as an interval that every round trip narrows.

    Redis took its time between our sending and our reading of the reply; so `redis − local` lies between
    `redis − read` and `redis − sent`. One slow reply says little, but a quick one of the last seconds bounds it well,
    so the bounds of all replies are intersected, and let grow by the drift that a clock may have. A reply outside of
    them means that a clock was set: begin again from it. A slot is then sent not before its time for sure (the late
    end), and counted as missed `LATE_S` after the early end.
    """

    def __init__(self) -> None:
        self._low, self._high, self._at = float("-inf"), float("inf"), 0.0

    def observe(self, redis_s: float, sent: float, read: float) -> None:
        grown = _DRIFT * (read - self._at)
        low, high = max(self._low - grown, redis_s - read), min(self._high + grown, redis_s - sent)
        if low > high:
            low, high = redis_s - read, redis_s - sent
        self._low, self._high, self._at = low, high, read

    def local(self, redis_s: float) -> tuple[float, float]:
        """The latest and the earliest local time that this Redis time may be."""
        return redis_s - self._low, redis_s - self._high


def _once(lanes: Iterable[Lane]) -> list[Lane]:
    """Each lane once. Of one whose rate was changed just now, which not every campaign knows yet, the lower rate."""
    rates: dict[str, float] = {}
    for key, rate in lanes:
        rates[key] = min(rate, rates.get(key, math.inf))
    return [Lane(key, rate) for key, rate in rates.items()]


def _key(lane: Lane) -> str:
    return f"carillon:lane:{lane.key}"


def _step_us(lane: Lane) -> float:
    return 1e6 / (USE * max(lane.rate_per_s, _LEAST_RATE))
