"""What the API has a worker do at a carrier: `pending → done | failed`, and when a doubtful one is tried again."""

from enum import StrEnum

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 300.0


class Kind(StrEnum):
    SEARCH = "did.search"
    PURCHASE = "did.purchase"
    RELEASE = "did.release"
    REPUTATION = "reputation.check"


# For how long an operation is tried that the carrier does not answer, or answers with "later". Whoever searches waits
# for the answer; a number that may be bought, or may still be ours, is worth a day.
GIVE_UP_S = {Kind.SEARCH: 30.0, Kind.PURCHASE: 86_400.0, Kind.RELEASE: 86_400.0, Kind.REPUTATION: 3_600.0}


def pause_s(tries: int, retry_after_s: float | None = None) -> float:
    """How long to wait after the given number of tries: doubling, and never less than the carrier asks for."""
    growing: float = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(tries - 1, 16))
    return max(growing, retry_after_s or 0.0)


def gives_up(kind: Kind, age_s: float) -> bool:
    return age_s >= GIVE_UP_S[kind]
