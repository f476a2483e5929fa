"""When a prospect is tried again. A decision, not an act: the caller writes it in its transaction."""

from dataclasses import dataclass
from datetime import datetime, timedelta

_ALWAYS_RETRYABLE = frozenset({"no_answer", "busy"})


@dataclass(frozen=True, slots=True)
class RetryRule:
    """At most `max_retries` further attempts after the first, each `delay_s` seconds after the one before ended."""

    max_retries: int = 0
    delay_s: int = 4 * 3_600


NO_RETRY = RetryRule()


def next_attempt(rule: RetryRule, outcome: str, attempt_no: int, now: datetime, retryable: bool) -> datetime | None:
    """When attempt `attempt_no + 1` falls due, or None when this one was the last.

    `attempt_no` counts from 1. `retryable` says whether the fault behind a `failed` is transient; a permanent one
    (invalid number, opted out, blocked) never is. Every other outcome is final.
    """
    if attempt_no > rule.max_retries:
        return None
    if outcome in _ALWAYS_RETRYABLE or (outcome == "failed" and retryable):
        return now + timedelta(seconds=rule.delay_s)
    return None
