"""How many one-off texts each number may have under way: a second's worth, counted in this process's memory.

It keeps the queue shallow and proves nothing: the worker's send slots hold the rate itself (P4). So it begins full, and
costs an idle number no round trip before its message.
"""

from collections.abc import Mapping

_AHEAD_S = 1.0


class OneOffPace:
    def __init__(self, per_second: float) -> None:
        self._rate = per_second
        self._capacity = max(1.0, per_second * _AHEAD_S)
        self._left: dict[int, tuple[float, float]] = {}  # DID → tokens, and when (boottime s) they were counted

    def take(self, wanted: Mapping[int, int], now: float) -> dict[int, int]:
        """How many of `wanted` each number may send now. Give back what is not used."""
        return {did_id: self._take(did_id, most, now) for did_id, most in wanted.items()}

    def put_back(self, did_id: int, count: int) -> None:
        tokens, at = self._left[did_id]
        self._left[did_id] = min(self._capacity, tokens + count), at

    def forget_full(self, now: float) -> None:
        """Drops the numbers that have rested: they begin full anyway."""
        full_s = self._capacity / self._rate
        self._left = {did_id: held for did_id, held in self._left.items() if now - held[1] < full_s}

    def _take(self, did_id: int, most: int, now: float) -> int:
        tokens, at = self._left.get(did_id, (self._capacity, now))
        tokens = min(self._capacity, tokens + max(0.0, now - at) * self._rate)
        granted = min(most, int(tokens))
        self._left[did_id] = tokens - granted, now
        return granted
