"""How far ahead send slots must be and how many intents may share a batch: learned from what came too late.

The slot must lie behind the intent's commit, so its lead follows the slowest of the recent intents. A create that is
still late means that this process cannot turn over so many at once, on a busy machine for instance: the batch shrinks
by a third, and grows again step by step while none is late.
"""

SHORTEST_LEAD_S = 0.01
LONGEST_LEAD_S = 0.8  # slots are handed out at most a second ahead
MARGIN = 1.5
DECAY = 0.95
SMALLEST_BATCH = 16
SHRINK = 2 / 3
GROW = 10


class Tempo:
    def __init__(self, largest_batch: int) -> None:
        self._largest = largest_batch
        self._size = float(largest_batch)
        self._peak_s = 0.02
        self._last_s = 0.02
        self._has_missed = False

    @property
    def lead_s(self) -> float:
        return min(LONGEST_LEAD_S, max(SHORTEST_LEAD_S, MARGIN * self._peak_s))

    def lead_of_group_s(self, number: int, groups: int) -> float:
        """Creates take their time to begin: a batch's slots are spread over as long as a batch takes."""
        return min(LONGEST_LEAD_S, self.lead_s + self._last_s * number / groups)

    @property
    def batch_size(self) -> int:
        return int(self._size)

    def committed(self, intent_s: float) -> None:
        """One batch's intents took so long. Judges the batches before it once: many late creates are one cause."""
        self._peak_s = max(intent_s, self._peak_s * DECAY)
        self._last_s = intent_s
        if self._has_missed:
            self._size = max(SMALLEST_BATCH, self._size * SHRINK)
            self._peak_s = min(self._peak_s * 1.2, LONGEST_LEAD_S / MARGIN)
        else:
            self._size = min(self._largest, self._size + GROW)
        self._has_missed = False

    def missed(self) -> None:
        """A create came too late for its slot."""
        self._has_missed = True
