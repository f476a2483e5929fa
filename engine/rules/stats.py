"""Campaign statistics: the counters, the wire form of reference 004, and the sums that must always hold (P1).

Every transaction that moves prospects adds a `Delta` of the same fields; the stats of a campaign are the sum of its
deltas. `queued + dialing + sending + sent + completed + cancelled = total`; the outcomes are parts of `completed`,
`suppressed` is a part of `cancelled`, and `retrying` (waiting for another attempt) a part of `queued`.
"""

from collections.abc import Mapping

from engine.rules.prospect import Outcome, ProspectState

COUNTERS = (
    "total",
    "queued",
    "dialing",
    "sending",
    "sent",
    "completed",
    "cancelled",
    "failed",
    "no_answer",
    "busy",
    "voicemail",
    "human_connected",
    "delivered",
    "abandoned",
    "unknown",
    "suppressed",
    "retrying",
)

STATES = ("queued", "dialing", "sending", "sent", "completed", "cancelled")
OUTCOMES = ("failed", "no_answer", "busy", "voicemail", "human_connected", "delivered", "abandoned", "unknown")

_WIRE = {
    "no_answer": "noAnswer",
    "human_connected": "humanConnected",
}


class Delta:
    """What one transaction changes in one campaign's counters."""

    __slots__ = COUNTERS

    def __init__(self) -> None:
        for name in COUNTERS:
            setattr(self, name, 0)

    def add(self, name: str, amount: int = 1) -> None:
        setattr(self, name, getattr(self, name) + amount)

    def move(
        self, before: ProspectState, after: ProspectState, outcome: Outcome | None = None, *, amount: int = 1
    ) -> None:
        """Prospects move from a state to another, with their outcome when they are completed."""
        self.add(before.label, -amount)
        self.add(after.label, amount)
        if outcome is not None:
            self.add(outcome.label, amount)

    def values(self) -> tuple[int, ...]:
        return tuple(getattr(self, name) for name in COUNTERS)


def wire(counts: Mapping[str, int], abandon_rate: float = 0.0) -> dict[str, float]:
    """The stats object of reference 004 (camelCase), with `progress` in whole percent. `abandon_rate`: the share of
    the people who answered in the last 30 days whom no agent reached in time, to four places."""
    stats: dict[str, float] = {_WIRE.get(name, name): int(counts[name]) for name in COUNTERS}
    stats["progress"] = progress(counts)
    stats["abandonRate"] = round(abandon_rate, 4)
    return stats


def progress(counts: Mapping[str, int]) -> int:
    """`floor(100 × (completed + cancelled) / total)`; an empty campaign has made none."""
    total = counts["total"]
    return 100 * (counts["completed"] + counts["cancelled"]) // total if total else 0


def imbalance(counts: Mapping[str, int]) -> list[str]:
    """The sums of P1 that do not hold, in words; empty when all is well."""
    problems = []
    if (found := sum(counts[name] for name in STATES)) != counts["total"]:
        problems.append(f"states add up to {found}, total is {counts['total']}")
    if (found := sum(counts[name] for name in OUTCOMES)) != counts["completed"]:
        problems.append(f"outcomes add up to {found}, completed is {counts['completed']}")
    problems += [f"{name} is {counts[name]}" for name in COUNTERS if counts[name] < 0]
    return problems
