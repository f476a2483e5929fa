"""Which of our numbers (DIDs) a call or message comes from.

First the number that this person was last contacted from, if it can be used now: a person who has seen one number
should not see five. Then, with local presence, a number of the same area code, of one that serves the same place (its
overlays), of the same state, then any. Among these the strategy ranks; among equals the one with the fewest recent
uses, then the lowest id.
"""

import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from heapq import heapify, heappop, heapreplace

from engine.rules.did_health import Band, band
from engine.rules.overlays import overlays_of
from engine.rules.phone import area_code
from engine.rules.zones import state_of

SELECTIONS = ("health_score", "round_robin", "least_recently_used", "random")


@dataclass(frozen=True, slots=True)
class Strategy:
    """`callerIdStrategy` of a campaign (reference 004)."""

    selection: str = "health_score"
    local_presence: bool = False


DEFAULT_STRATEGY = Strategy()


@dataclass(frozen=True, slots=True)
class DidFacts:
    """What the choice needs to know of one number. `tokens` is how often it may be used in this tick."""

    id: int
    number: str
    tokens: int = 1
    recent_uses: int = 0
    health: float = 1.0
    used_at: float = float("-inf")  # engine time, epoch seconds


def choose(dids: Sequence[DidFacts], phone: str, strategy: Strategy) -> DidFacts | None:
    """The number to use for one contact, or None when none has a token left."""
    return Pool(dids, strategy).take(phone)


_Entry = tuple[float, int, int]  # rank by the strategy, uses when entered, id


class Pool:
    """The numbers of one campaign for one tick; `take` spends a token. O(log n) each, however many prospects."""

    def __init__(self, dids: Sequence[DidFacts], strategy: Strategy) -> None:
        self._dids = {did.id: did for did in dids}
        self._tokens = {did.id: did.tokens for did in dids}
        self._uses = {did.id: did.recent_uses for did in dids}
        self._used_at = {did.id: did.used_at for did in dids}
        self._now = max(self._used_at.values(), default=0.0)  # a use in this tick is later than all before it
        self._strategy = strategy
        self._groups: dict[str, list[_Entry]] = defaultdict(list)
        for did in dids:
            for group in self._groups_of(did.number):
                self._groups[group].append(self._entry(did))
        for entries in self._groups.values():
            heapify(entries)

    def take(self, phone: str, last_did: int | None = None) -> DidFacts | None:
        """The best number for `phone` that has a token left, or None. `last_did`: the one that it was last contacted
        from."""
        if last_did is not None and self.has_token(last_did):
            return self._spend(self._dids[last_did])
        for group in self._groups_of(phone):
            entries = self._groups.get(group)
            if entries and (did := self._best(entries)):
                return self._spend(did)
        return None

    def has_token(self, did_id: int) -> bool:
        return self._tokens.get(did_id, 0) > 0

    def _spend(self, did: DidFacts) -> DidFacts:
        self._tokens[did.id] -= 1
        self._uses[did.id] += 1
        self._now += 1e-6 if self._now > float("-inf") else 0.0
        self._used_at[did.id] = self._now
        return did

    def _best(self, entries: list[_Entry]) -> DidFacts | None:
        """The top entry, once entries that other groups have outdated are dropped or moved down."""
        while entries:
            did = self._dids[entries[0][2]]
            if self._tokens[did.id] < 1:
                heappop(entries)
            elif entries[0][1] != self._uses[did.id]:
                heapreplace(entries, self._entry(did))
            else:
                return did
        return None

    def _entry(self, did: DidFacts) -> _Entry:
        uses = self._uses[did.id]
        if self._strategy.selection == "least_recently_used":
            return (self._used_at[did.id], uses, did.id)
        return (_rank(self._strategy.selection, did, uses), uses, did.id)

    def _groups_of(self, number: str) -> tuple[str, ...]:
        """The groups to look in, nearest first; `""` holds every number."""
        return _places(number[:5]) if self._strategy.local_presence and len(number) == 12 else ("",)


_BANDS = {Band.HEALTHY: 0, Band.REDUCED: 1, Band.TIRED: 2, Band.BURNED: 2}


@cache
def _places(prefix: str) -> tuple[str, ...]:
    """`("415", "415/628", "US-CA", "")` of `+1415`."""
    number = f"{prefix}0000000"
    code = area_code(number) or ""
    return (*filter(None, (code, *overlays_of(code), state_of(number))), "")


def _rank(selection: str, did: DidFacts, uses: int) -> int:
    """Lower is better. Health counts in bands, or the one best number would take every call."""
    if selection == "health_score":
        return _BANDS[band(did.health)]
    # Rules hold no randomness: a hash of number and use stands in for the dice, so that a tick can be replayed.
    return zlib.crc32(b"%d:%d" % (did.id, uses)) if selection == "random" else 0
