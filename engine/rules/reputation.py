"""What the analytics engines say of a number: their verdicts, folded into one, and what a change of it means."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineVerdict:
    """One engine's word. `spam_score` is 0 (clean) to 1; `complaints` as far as it counts them."""

    engine: str
    flagged: bool
    spam_score: float
    complaints: int = 0
    details: str = ""


@dataclass(frozen=True, slots=True)
class Reputation:
    """`overall_score` is 1 (clean) to 0. `reason` names the engines that flag the number, with their words."""

    flagged: bool
    overall_score: float
    reason: str


def fold(verdicts: Sequence[EngineVerdict]) -> Reputation:
    """One label is a label: each engine serves a network of its own. The score is that of the worst verdict."""
    flags = [verdict for verdict in verdicts if verdict.flagged]
    worst = max((verdict.spam_score for verdict in verdicts), default=0.0)
    reason = "; ".join(f"{verdict.engine}: {verdict.details or 'flagged'}" for verdict in flags)
    return Reputation(bool(flags), round(1 - min(1.0, max(0.0, worst)), 3), reason)


def event_of(was_flagged: bool | None, is_flagged: bool) -> str:
    """The event that a check causes; empty when it says nothing new. A first check that is clean is no news."""
    if is_flagged and not was_flagged:
        return "reputation.flagged"
    return "reputation.cleared" if was_flagged and not is_flagged else ""
