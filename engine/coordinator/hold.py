"""Remembers for a while what was asked for, so that it is not asked for again at every look.

What is still there when it may be asked for again is held for twice as long: those who are asked are more likely to
have too much to do than to have lost it, and every repetition would be more of that.
"""

from collections.abc import Hashable, Iterable
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)

MOST_S = 16.0


class _Taken(NamedTuple):
    until: float
    for_s: float


class Hold(Generic[K]):
    def __init__(self, hold_s: float) -> None:
        self._hold_s = hold_s
        self._taken: dict[K, _Taken] = {}

    def take(self, keys: Iterable[K], now: float) -> list[K]:
        """Those of `keys` that are not held; they are held from now on."""
        # One that is not there when it is free again is forgotten; a look may come late, so not at once.
        self._taken = {key: taken for key, taken in self._taken.items() if taken.until + taken.for_s > now}
        free = [key for key in keys if key not in self._taken or self._taken[key].until <= now]
        for key in free:
            for_s = self._for_s(key)
            self._taken[key] = _Taken(now + for_s, for_s)
        return free

    def _for_s(self, key: K) -> float:
        before = self._taken.get(key)
        return self._hold_s if before is None else max(self._hold_s, min(2 * before.for_s, MOST_S))
