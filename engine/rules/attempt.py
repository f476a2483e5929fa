"""The life of one attempt to reach one prospect, as one table. PostgreSQL stores the codes, and their order is rank.

An attempt begins with its *intent*: the committed row that allows one create to be sent (P2). The answer makes it
`placed`; a doubtful answer makes it `unknown` until the carrier is asked. A carrier's reports only ever move it to a
higher rank, so late, doubled and disordered reports change nothing but the record. `released` means that provably
nothing was sent: the same attempt may be reserved again, with its `try` counted up.

Voice: reserved → placed → ringing → answered → human | machine → ended. SMS: reserved → placed (sent) → ended.
"""

from enum import IntEnum


class AttemptState(IntEnum):
    RELEASED = 0
    RESERVED = 1
    UNKNOWN = 2
    PLACED = 3
    RINGING = 4
    ANSWERED = 5
    HUMAN = 6
    MACHINE = 7
    ENDED = 9


class AgentState(IntEnum):
    NONE = 0
    REQUESTED = 1
    BRIDGED = 2
    FAILED = 3


S = AttemptState

TRANSITIONS: dict[AttemptState, frozenset[AttemptState]] = {
    S.RELEASED: frozenset({S.RESERVED, S.ENDED}),
    S.RESERVED: frozenset({S.RELEASED, S.UNKNOWN, S.PLACED, S.RINGING, S.ANSWERED, S.HUMAN, S.MACHINE, S.ENDED}),
    S.UNKNOWN: frozenset({S.RELEASED, S.PLACED, S.RINGING, S.ANSWERED, S.HUMAN, S.MACHINE, S.ENDED}),
    S.PLACED: frozenset({S.RINGING, S.ANSWERED, S.HUMAN, S.MACHINE, S.ENDED}),
    S.RINGING: frozenset({S.ANSWERED, S.HUMAN, S.MACHINE, S.ENDED}),
    S.ANSWERED: frozenset({S.HUMAN, S.MACHINE, S.ENDED}),
    S.HUMAN: frozenset({S.ENDED}),
    S.MACHINE: frozenset({S.ENDED}),
    S.ENDED: frozenset(),
}


def advance(current: AttemptState, reported: AttemptState) -> AttemptState:
    """The state after a report: the reported one where the table allows it, else unchanged."""
    return reported if reported in TRANSITIONS[current] else current
