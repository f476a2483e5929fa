"""The life of a prospect, as one table. Codes are what PostgreSQL stores.

`queued → dialing | sending → (sent) → completed(outcome)`, back to `queued` by the retry rule or when nothing was sent,
and `cancelled` from `queued` only: a call in progress is let finish. Exactly one of these states holds at any time, so
their counts always add up to the campaign's total (P1).
"""

from enum import IntEnum


class ProspectState(IntEnum):
    QUEUED = 0
    DIALING = 1
    SENDING = 2
    SENT = 3
    COMPLETED = 4
    CANCELLED = 5

    @property
    def label(self) -> str:
        return self.name.lower()


S = ProspectState

TRANSITIONS: dict[ProspectState, frozenset[ProspectState]] = {
    S.QUEUED: frozenset({S.DIALING, S.SENDING, S.CANCELLED}),
    S.DIALING: frozenset({S.QUEUED, S.COMPLETED, S.CANCELLED}),
    S.SENDING: frozenset({S.QUEUED, S.SENT, S.COMPLETED, S.CANCELLED}),
    S.SENT: frozenset({S.QUEUED, S.COMPLETED, S.CANCELLED}),
    S.COMPLETED: frozenset(),
    S.CANCELLED: frozenset(),
}

OPEN = frozenset({S.QUEUED, S.DIALING, S.SENDING, S.SENT})


class Outcome(IntEnum):
    """How a prospect was completed. Each is a field of the campaign's stats."""

    HUMAN_CONNECTED = 1
    VOICEMAIL = 2
    NO_ANSWER = 3
    BUSY = 4
    FAILED = 5
    ABANDONED = 6  # a person answered and no agent came in time
    UNKNOWN = 7  # the carrier cannot say what became of it; never tried again
    DELIVERED = 8

    @property
    def label(self) -> str:
        return self.name.lower()


def by_label(label: str) -> ProspectState | None:
    """`"queued"` → QUEUED; None when there is no such state."""
    return ProspectState.__members__.get(label.upper()) if label.islower() else None
