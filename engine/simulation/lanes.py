"""Redis as far as send slots go: the scripts of `engine.limits`, over lanes in memory and under the simulation's time.

`limits.slots` talks to it as to Redis, in the scripts' own arguments and replies. That both answer alike is what the
limiter's tests say, which run over either.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil

from engine.clock import real_s
from engine.limits.scripts import Script
from engine.limits.slots import ACQUIRE, CLOSE, GIVE_BACK, LATE_S, WIDE_S

_MOST_HOLES = 64
_MOST_CLOSED = 3_600_000_000
_WIDE = (WIDE_S + 1.0) * 1e6  # from a wide slot until a second after its last use
_WIDER = (1.0 + WIDE_S) / (1.0 + LATE_S)
_Hole = tuple[float, float]


@dataclass(slots=True)
class Lane:
    """As lane.lua has it: µs, from now while it is loaded and of the server's clock while it is kept."""

    run_id: int
    step: float
    last: float
    close: float  # up to here slots may lie closer than wide ones do
    wide: float = 0.0
    closed: float = 0.0
    holes: list[_Hole] = field(default_factory=list)
    is_wide: bool = False

    def moved(self, by_us: float) -> "Lane":
        holes = [(begin + by_us, end + by_us) for begin, end in self.holes[-_MOST_HOLES:]]
        at = (self.last + by_us, self.close + by_us, self.wide + by_us, self.closed + by_us)
        return Lane(self.run_id, self.step, *at, holes)

    def fit(self, at: float) -> float:
        """The earliest free time at or after `at`; a wide slot's lies in no hole between close ones."""
        for begin, end in self.holes:
            if end >= at and not (self.is_wide and begin <= self.close):
                return max(begin, at)
        return max(self.last + self.step, at)

    def take(self, at: float, earliest: float) -> None:
        """Takes a free time; what it leaves free behind or around it becomes holes."""
        if self.is_wide:
            self.wide = max(self.wide, at + _WIDE)
        if at > self.last:
            begin, end = max(self.last + self.step, earliest), at - self.step
            if end >= begin:
                self.holes.append((begin, end))
            self.last = at
            return
        for n, (begin, end) in enumerate(self.holes):
            if begin <= at <= end:
                around = ((begin, at - self.step), (at + self.step, end))
                self.holes[n : n + 1] = [hole for hole in around if hole[1] >= hole[0]]
                return

    def free(self, at: float) -> None:
        """A slot that will not be used is free again, once."""
        n = sum(hole[0] < at for hole in self.holes)
        is_free = (n > 0 and self.holes[n - 1][1] >= at) or (n < len(self.holes) and self.holes[n][0] == at)
        if 0 < at <= self.last and not is_free:
            self.holes.insert(n, (at, at))


@dataclass(slots=True)
class _Group:
    wanted: int
    at: float  # no slot lies before it
    lanes: list[Lane]
    reply: list[int] = field(default_factory=list)

    def first_free(self) -> float:
        at, found = -1.0, self.at
        while found > at:
            at = found
            for lane in self.lanes:
                found = max(found, lane.fit(found))
        return at


class LaneServer:
    """`flush` and `restart` happen to it. The small public methods are fences that negative controls take away."""

    def __init__(self) -> None:
        self._run_id = 1
        self._kept: dict[str, Lane] = {}

    def register_script(self, script: str) -> Script:
        known: dict[str, Callable[[list[str], list[float]], object]] = {
            ACQUIRE: self._acquire, GIVE_BACK: self._give_back, CLOSE: self._close,
        }  # fmt: skip
        run = known[script]

        async def call(keys: list[str], args: list[str]) -> object:
            return run(keys, [float(arg) for arg in args])

        return call

    def flush(self) -> None:
        self._kept.clear()

    def restart(self) -> None:
        """From a snapshot: what it knows is another server's."""
        self._run_id += 1

    def knows(self, key: str) -> bool:
        return key in self._kept

    def begins(self, horizon: float) -> float:
        """The last slot of a lane of which nothing is known: behind all that may still be on their way."""
        return horizon + WIDE_S * 1e6

    def take(self, lane: Lane, at: float, earliest: float) -> None:
        lane.take(at, earliest)

    def _acquire(self, keys: list[str], args: list[float]) -> object:
        lead, horizon, is_wide, *rest = args
        steps, rest = rest[: len(keys)], rest[len(keys) :]
        lanes = [self._load(key, step, lead, horizon, bool(is_wide)) for key, step in zip(keys, steps, strict=True)]
        groups = _groups(rest, lanes, lead)
        active = list(groups)
        while active:
            active = [group for group in active if self._grant(group, lead, horizon)]
        self._save({key: lane for key, lane in zip(keys, lanes, strict=True) if lane.step > 0})
        return [_now_us(), *(group.reply for group in groups)]

    def _grant(self, group: _Group, lead: float, horizon: float) -> bool:
        """One slot of a group; whether it wants another."""
        at = group.first_free()
        if at > horizon:
            group.reply.append(-ceil(at))
            return False
        for lane in group.lanes:
            self.take(lane, at, lead)
        group.wanted -= 1
        group.reply += [ceil(at)] if group.wanted else [ceil(at), 0]
        return group.wanted > 0

    def _give_back(self, keys: list[str], args: list[float]) -> None:
        horizon, steps, stamps = args[0], args[1 : 1 + len(keys)], args[1 + len(keys) :]
        for key, step in zip(keys, steps, strict=True):
            if key in self._kept:
                lane = self._load(key, step, 0, horizon)
                for stamp in stamps:
                    lane.free(stamp - _now_us())
                self._save({key: lane})

    def _close(self, keys: list[str], args: list[float]) -> None:
        horizon, steps, for_us = args[0], args[1:-1], min(args[-1], _MOST_CLOSED)
        for key, step in zip(keys, steps, strict=True):
            lane = self._load(key, step, 0, horizon)
            lane.closed = max(lane.closed, for_us)
            self._save({key: lane})

    def _load(self, key: str, step: float, earliest: float, horizon: float, is_wide: bool = False) -> Lane:
        first = self.begins(horizon)
        found = Lane(self._run_id, step * _WIDER if is_wide else step, first, first, is_wide=is_wide)
        kept = self._kept.get(key)
        if kept is None or kept.run_id != self._run_id:
            return found
        kept = kept.moved(-_now_us())
        found.closed = min(max(0.0, kept.closed), _MOST_CLOSED)
        if kept.last <= horizon + WIDE_S * 1e6:
            found.last, found.close, found.wide = kept.last, kept.last, max(0.0, kept.wide)
            if found.wide > 0:
                found.step = step * _WIDER
            if kept.step == found.step:  # holes were measured with the step of their time
                found.close = kept.close
                found.holes = [hole for hole in kept.holes if hole[1] >= earliest]
        return found

    def _save(self, lanes: dict[str, Lane]) -> None:
        self._kept |= {key: lane.moved(_now_us()) for key, lane in lanes.items()}


def _groups(args: Sequence[float], lanes: Sequence[Lane], lead: float) -> list[_Group]:
    groups, at = [], 0
    while at < len(args):
        end = at + 2 + int(args[at + 1])
        own = [lanes[int(number) - 1] for number in args[at + 2 : end]]
        begin = max([lead, *(lane.closed for lane in own)])
        groups.append(_Group(int(args[at]), begin, [lane for lane in own if lane.step > 0]))
        at = end
    return groups


def _now_us() -> int:
    return round(real_s() * 1e6)
