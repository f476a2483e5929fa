"""Webhooks as rules: which events one asks for, what an answer means, and when it is tried again.

A delivery is tried until it is accepted or its time is over (three days). Beside that each endpoint has a breaker:
after a few failures in a row it is *parked*. Then nothing is sent to it but one probe at a time, until one succeeds. An
ordered endpoint waits from its first failure on, for nothing may overtake the head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from engine.errors import InvalidInput
from engine.rules.event_catalog import BY_TYPE
from engine.rules.events import CHANNELS, channel_of

MOST_GLOBS = 50
OWN_CHANNEL = "webhook"  # what tells of deliveries is never delivered, or each would cause the next
DELIVERED_CHANNELS = tuple(name for name in CHANNELS if name != OWN_CHANNEL)

# Wait after the first, second, … failed attempt of one delivery; the last is repeated. With three days: 19 attempts.
RETRY_AFTER_S = (5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 21_600)
# Wait of the whole endpoint after so many failures in a row; the last is repeated.
PAUSE_AFTER_S = (5, 10, 20, 30, 60, 120, 300, 600)
PARK_AFTER = 5  # failures in a row; one that is down for a deployment is back before
JITTER = 0.2  # of each wait, both ways: endpoints that failed together do not come back together
LONGEST_RETRY_AFTER_S = 3_600.0  # of what an endpoint may ask for

# Names of reference 000 that a client may ask for before this version causes them: a client that moves here need not
# take them out of its list.
DOCUMENTED = frozenset(
    {
        "sms.received",
        "voice.inbound",
        "voice.dtmf",
        "did.purchased",
        "did.released",
        "did.state_changed",
        "billing.usage",
    }
)


class Verdict(StrEnum):
    """What an answer makes of its delivery."""

    DELIVERED = "delivered"
    RETRY = "retry"
    FAILED = "failed"
    GONE = "gone"  # failed, and the endpoint wants nothing more


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one request; `status` 0 without an answer, then `error` says why."""

    status: int
    error: str = ""
    retry_after_s: float | None = None

    @property
    def is_accepted(self) -> bool:
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Decision:
    """`retry_s`: until the delivery's next attempt. `pause_s`: until anything is sent to the endpoint again."""

    verdict: Verdict
    retry_s: float = 0.0
    pause_s: float = 0.0


def judge(
    answer: Answer, attempts: int, failures: int, left_s: float, jitter: float, *, is_ordered: bool = False
) -> Decision:
    """Decides after attempt number `attempts` of a delivery (from 1).

    `failures` of the endpoint in a row, this one included; `left_s` until the delivery is given up; `jitter` in [0, 1).
    """
    if answer.is_accepted:
        return Decision(Verdict.DELIVERED)
    if answer.status == 410:
        return Decision(Verdict.GONE)
    stretch = 1 + JITTER * (2 * jitter - 1)
    retry_s = _nth(RETRY_AFTER_S, attempts) * stretch
    pause_s = _nth(PAUSE_AFTER_S, failures) * stretch if is_ordered or failures >= PARK_AFTER else 0.0
    if answer.status in (429, 503) and answer.retry_after_s is not None:
        # It speaks of the endpoint, not of this delivery: nothing is sent before.
        retry_s = pause_s = min(max(answer.retry_after_s, 1.0), LONGEST_RETRY_AFTER_S)
    if is_ordered:
        retry_s = pause_s  # the head is tried whenever the endpoint is
    if retry_s >= left_s:
        return Decision(Verdict.FAILED, pause_s=pause_s)
    return Decision(Verdict.RETRY, retry_s, pause_s)


def parse_globs(globs: Sequence[str]) -> list[str]:
    """The globs without repeats: `*`, `<channel>.*`, a longer `<prefix>.*`, or an event's name.

    Raises InvalidInput that names the first one which matches no event.
    """
    if not 1 <= len(globs) <= MOST_GLOBS:
        fault = f"{len(globs)} given; give 1 to {MOST_GLOBS}, such as sms.* or voice.completed"
        raise InvalidInput(f"events: {fault}", {"events": fault})
    for place, glob in enumerate(globs):
        if fault := _glob_fault(glob):
            raise InvalidInput(f"events: {fault}", {f"events[{place}]": fault})
    return list(dict.fromkeys(globs))


def matches(globs: Sequence[str], event_type: str) -> bool:
    """Whether a webhook with these globs is sent events of this type. The scan says the same in SQL."""
    return channel_of(event_type) in DELIVERED_CHANNELS and any(_matches(glob, event_type) for glob in globs)


def _matches(glob: str, event_type: str) -> bool:
    return event_type.startswith(glob[:-1]) if glob.endswith("*") else event_type == glob


def _glob_fault(glob: str) -> str:
    shown = glob[:100]
    if channel_of(glob) == OWN_CHANNEL:
        return f"'{shown}' tells of deliveries, and is only sent to event streams"
    has_form = "*" not in glob[:-1] and (glob == "*" or not glob.endswith("*") or glob.endswith(".*"))
    known = BY_TYPE.keys() | DOCUMENTED
    channels = {f"{name}.*" for name in DELIVERED_CHANNELS}
    if has_form and (any(matches([glob], name) for name in known) or glob in channels):
        return ""
    return f"'{shown}' matches no event; give *, a channel such as sms.*, or a name such as voice.completed"


def _nth(waits_s: Sequence[int], number: int) -> int:
    return waits_s[min(number, len(waits_s)) - 1]
