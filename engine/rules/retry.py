"""When a prospect is tried again. A decision, not an act: the caller writes it in its transaction."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

from engine.rules.purpose import Purpose
from engine.rules.schedule import Schedule
from engine.rules.whereabouts import whereabouts
from engine.rules.window import hours

NO_ANSWER, BUSY, VOICEMAIL, FAILED = "no_answer", "busy", "voicemail", "failed"
RETRYABLE = (NO_ANSWER, BUSY, VOICEMAIL, FAILED)
"""The outcomes that a rule may name; every other one is final."""

_NEUTRAL = frozenset({NO_ANSWER, BUSY, VOICEMAIL})
_UNASKED = frozenset({NO_ANSWER, BUSY, FAILED})  # retried by the plain rule; a recording was reached, so only if named


class Again(NamedTuple):
    """After one outcome: another attempt while the person has had fewer than `most` retries, `delay_s` later."""

    most: int
    delay_s: int


@dataclass(frozen=True, slots=True)
class RetryRule:
    """At most `max_retries` further attempts after the first, each `delay_s` seconds after the one before ended.

    `by_outcome` replaces both for the outcomes that it names.
    """

    max_retries: int = 0
    delay_s: int = 4 * 3_600
    by_outcome: tuple[tuple[str, Again], ...] = field(default=())

    def after(self, outcome: str) -> Again:
        """What holds after this outcome; of one that nothing is said of, no retry."""
        for name, again in self.by_outcome:
            if name == outcome:
                return again
        return Again(self.max_retries if outcome in _UNASKED else 0, self.delay_s)


@dataclass(frozen=True, slots=True)
class RetryHours:
    """The hours that a campaign's retries must land in. `takes`: how long a request may need to leave (engine time)."""

    channel: str
    purpose: Purpose
    is_automated: bool
    schedule: Schedule
    takes: timedelta

    def land(self, phone: str, at: datetime, delay_s: float) -> datetime:
        """The first moment from `at` on in the hours of a person of whom only the number is known; `at` itself when
        none opens within 30 days: the intent then says why. Retries of one delay share a memory of verdicts."""
        ahead = hours(self.channel, self.purpose, self.is_automated, self.schedule, delay_s)
        return ahead.next_chance(whereabouts(phone), at, self.takes) or at


NO_RETRY = RetryRule()
WIRE_NAMES = MappingProxyType({"noAnswer": NO_ANSWER, "busy": BUSY, "voicemail": VOICEMAIL, "failed": FAILED})


def next_attempt(rule: RetryRule, outcome: str, attempt_no: int, now: datetime, retryable: bool) -> datetime | None:
    """When attempt `attempt_no + 1` falls due, or None when this one was the last.

    `attempt_no` counts from 1. `retryable` says whether the fault behind a `failed` is transient; a permanent one
    (invalid number, opted out, blocked) never is, whatever the rule says. Every outcome but `RETRYABLE` is final.
    """
    if outcome not in RETRYABLE or (outcome == FAILED and not retryable):
        return None
    again = rule.after(outcome)
    return now + timedelta(seconds=again.delay_s) if attempt_no <= again.most else None


def may_change_number(outcome: str) -> bool:
    """May the retry come from another number than the attempt that ended so?

    Only after what says nothing of the number. A failure may be a block or a label, and carriers forbid to answer one
    with another number (CTIA 5.5.2: snowshoeing).
    """
    return outcome in _NEUTRAL
