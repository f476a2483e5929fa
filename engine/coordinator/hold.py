"""Remembers for a moment what was asked for, so that it is not asked for again at every look."""

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Hold(Generic[K]):
    def __init__(self, hold_s: float) -> None:
        self._hold_s = hold_s
        self._until: dict[K, float] = {}

    def take(self, keys: Iterable[K], now: float) -> list[K]:
        """Those of `keys` that were not taken within the last `hold_s`; they are taken now."""
        self._until = {key: until for key, until in self._until.items() if until > now}
        free = [key for key in keys if key not in self._until]
        self._until |= dict.fromkeys(free, now + self._hold_s)
        return free
