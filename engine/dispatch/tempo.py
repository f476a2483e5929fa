"""How far ahead send slots must be, and how many rows may share a transaction: learned from how long both took lately.

A slot must lie behind the intent's commit. A create that is late all the same asks for another one, and many ask
together, so the lead need not cover the slowest of all intents: what waits for a far slot is held in flight for
nothing. When a transaction takes too long, on a starved machine for instance, its tickets would run out, or its session
be ended between two statements: the next shrinks by a third, and they grow again step by step.

A process whose CPU others have is late for most of its slots, however it asks for them. Each one missed has been paid
for with an intent and is gone for everybody; soon most of the work is of that kind. So it asks for wide slots then,
which cost a sixth of the rate and wait for it.
"""

from engine.limits.slots import LATE_S

SHORTEST_LEAD_S = 0.01
LONGEST_LEAD_S = 0.8  # slots are handed out at most a second ahead
SHORTEST_PROMPT_LEAD_S = 0.002
LONGEST_PROMPT_LEAD_S = 0.2
SLOW_S = 0.3  # a transaction: a seventh of the ticket
MARGIN = 1.5
DECAY = 0.8
SMALLEST_BATCH = 16
SHRINK = 2 / 3
GROW = 10
MANY_LATE, FEW_LATE = 0.1, 0.02  # of the creates: from when on slots are wide, and no longer
AT_LEAST = 50  # creates, before anything is said of them


class BatchSize:
    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._rows = float(largest)

    @property
    def rows(self) -> int:
        return int(self._rows)

    def took(self, seconds: float) -> None:
        """One batch's transaction took so long."""
        rows = max(SMALLEST_BATCH, self._rows * SHRINK) if seconds > SLOW_S else self._rows + GROW
        self._rows = min(rows, self._largest)


class Punctuality:
    """Whether this process uses its slots in time. While they are wide, the same is counted: one day it may again."""

    def __init__(self) -> None:
        self.is_late = False
        self._late = self._begun = 0

    def began(self, creates: int, late_s: float) -> bool:
        """So many creates began so long after their slots. Returns whether that changed the judgement."""
        self._begun += creates
        self._late += creates if late_s > LATE_S else 0
        if self._begun < AT_LEAST:
            return False
        was_late, limit = self.is_late, FEW_LATE if self.is_late else MANY_LATE
        self.is_late = self._late > limit * self._begun
        self._late = self._begun = 0
        return self.is_late is not was_late


class Tempo:
    def __init__(self, largest_batch: int) -> None:
        self._size = BatchSize(largest_batch)
        self._peak_s = 0.02
        self._last_s = 0.02
        self._asked_s = 0.0

    @property
    def lead_s(self) -> float:
        return min(LONGEST_LEAD_S, max(SHORTEST_LEAD_S, MARGIN * self._peak_s))

    def lead_of_group_s(self, number: int, groups: int) -> float:
        """Creates take their time to begin: a batch's slots are spread over as long as a batch takes."""
        return min(LONGEST_LEAD_S, self.lead_s + self._last_s * number / groups)

    @property
    def prompt_lead_s(self) -> float:
        """Of a slot before which nothing stands but the answer that grants it."""
        return min(LONGEST_PROMPT_LEAD_S, max(SHORTEST_PROMPT_LEAD_S, self._asked_s))

    @property
    def batch_size(self) -> int:
        return self._size.rows

    def committed(self, intent_s: float) -> None:
        """One batch's intents took so long."""
        self._peak_s = max(intent_s, self._peak_s * DECAY)
        self._last_s = intent_s
        self._size.took(intent_s)

    def asked(self, took_s: float) -> None:
        """Slots for late creates were granted after so long."""
        self._asked_s += (took_s - self._asked_s) * (1 - DECAY)
