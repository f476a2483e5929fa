"""What is expected to become of the next attempts: what has become of the last ones, or what is typical."""

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from engine.rules.forecast import UNKNOWN, Fate
from engine.rules.retry import FAILED

LEAST_SEEN = 20  # attempts, before they are believed
_PATIENCE = 4.0  # times what the slowest usual reports take


class Seen(NamedTuple):
    """Ended attempts of one outcome. `lasts_s`: their times from intent to end, at equal steps of the distribution."""

    outcome: str
    attempts: int
    lasts_s: Sequence[float]
    agent_s: float  # held an agent or might have needed one for so long, in the mean
    retried_share: float = 0.0  # of first attempts that failed


def fates_of(seen: Sequence[Seen]) -> tuple[Fate, ...]:
    """The shares of `seen`; failures are told apart by whether a retry can mend them."""
    total = sum(each.attempts for each in seen)
    fates: list[Fate] = []
    for each in seen:
        share, lasts_s = each.attempts / total, tuple(max(0.0, last_s) for last_s in each.lasts_s)
        retryable = each.retried_share if each.outcome == FAILED else 0.0
        parts = ((True, share * retryable), (False, share * (1 - retryable)))
        fates += [Fate(each.outcome, flag, part, lasts_s, each.agent_s) for flag, part in parts if part]
    return tuple(fates)


def silent(attempts: int, deadline_s: float) -> Seen:
    """Texts that no report has come of for so long that none will: they end at the deadline (engine seconds)."""
    return Seen(UNKNOWN, attempts, (deadline_s,), 0.0)


def patience_s(fates: Sequence[Fate]) -> float:
    """After how long (engine seconds) a text without a report counts as one that will have none."""
    return _PATIENCE * max((max(fate.lasts_s) for fate in fates if fate.outcome != UNKNOWN), default=float("inf"))


def typical(channel: str, speed: float, deadline_s: float) -> tuple[Fate, ...]:
    """For a `channel` of which nothing is known. `speed`: engine seconds per real second; phones ring in real ones.

    `deadline_s`: engine seconds, at which texts without a report end.
    """
    fates = []
    for row in _table()[channel]:
        lasts_s = tuple(last_s * speed for last_s in row["lasts_s"]) if "lasts_s" in row else (deadline_s,)
        agent_s = row.get("agent_s", 0) * speed
        fates.append(Fate(row["outcome"], row.get("is_retryable", False), row["share"], lasts_s, agent_s))
    return tuple(fates)


@cache
def _table() -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = json.loads(
        (files("engine.rules") / "data" / "outcomes.json").read_text("utf-8")
    )
    return found
