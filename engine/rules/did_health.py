"""How healthy one of our numbers is: a score of its last 50 calls, and one of its texts of the last seven days.

The voice score is the public formula of Trunx: answer rate 30 %, average duration 25 %, human engagement 20 %, trend of
unanswered calls 15 %, clean of spam blocks 10 %; healthy from 0.8, reduced rate from 0.7, a rest from 0.5, burned
below. How each factor becomes a number from 0 to 1 is not public; ours, and why:

- *answer rate*: calls that somebody or something answered; full marks from 40 %. Lists of mobile numbers are answered,
  by people and machines, well over half the time, and a number under a label falls below that.
- *average duration* of the answered calls; full marks from 30 s, a short talk or a machine's greeting and message.
- *human engagement*: answered calls in which a person stayed 6 s or longer (who hangs up sooner has seen or heard what
  this is), full marks from 25 % of the answered: people are a third of those who answer an ordinary list.
- *no-answer trend*: how much the share of unanswered calls has risen from the older half of the window to the newer;
  nothing lost without a rise, all lost at 30 points.
- *spam-clean*: full marks without a network block, none from 5 % of the calls, and none under a label.

Calls that tell nothing of the number (not in service, failed in the network, never reported) are not in the window.

The SMS score is our own, in the same form: delivered 40, filtered 35, opted out 15, unknown failures 10. Each rate is
shrunk towards the pool's with fifty observations, or one bad text would condemn a new number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import lru_cache
from typing import NamedTuple

WINDOW = 50
JUDGED_FROM = 20  # calls since it came to its present state: before that a number is not judged by its score
HEALTHY, REDUCED, BURNED = 0.8, 0.7, 0.5
SMS_DAYS = 7
SMS_JUDGED_FROM = 50
SMS_LOW = 0.5
SMS_LOW_FOR_S = 3_600  # on two looks an hour apart, so that one bad batch is not the end

WEIGHTS = {
    "answerRate": 0.30,
    "averageDuration": 0.25,
    "humanEngagement": 0.20,
    "noAnswerTrend": 0.15,
    "spamClean": 0.10,
}
_FULL_ANSWER_RATE = 0.40
_FULL_DURATION_S = 30.0
_FULL_ENGAGEMENT = 0.25
_SHORT_S = 6
_WORST_TREND = 0.30
_WORST_BLOCKED = 0.05
_PRIOR = 50
_LONGEST_S = 1 << 20


class Kind(IntEnum):
    """What became of one call or text, as far as its number is concerned. PostgreSQL keeps the codes."""

    NO_ANSWER = 0
    BUSY = 1
    MACHINE = 2
    PERSON = 3
    DECLINED = 4
    BLOCKED = 5  # by the network's analytics: SIP 603+
    DELIVERED = 8
    FILTERED = 9  # as spam
    OPTED_OUT = 10
    UNDELIVERED = 11  # nobody knows why
    UNREACHABLE = 12  # the recipient's own fault
    STOPPED = 13  # a person wrote to the number to be left alone: no text of ours, but what ours have caused


TEXTS = frozenset(kind for kind in Kind if kind >= Kind.DELIVERED)
_ANSWERED = frozenset({Kind.MACHINE, Kind.PERSON})


class Call(NamedTuple):
    kind: Kind
    talk_s: int = 0


class Band(StrEnum):
    HEALTHY = "healthy"
    REDUCED = "reduced"
    TIRED = "tired"
    BURNED = "burned"


@dataclass(frozen=True, slots=True)
class Health:
    """`factors` are 0 to 1 each, under the names of `WEIGHTS`; both are None for a number without calls."""

    score: float | None
    factors: Mapping[str, float] | None
    calls: int


class Texts(NamedTuple):
    """Counts of one number's texts, or of a whole pool's."""

    sent: int = 0
    delivered: int = 0
    filtered: int = 0
    opted_out: int = 0
    unknown: int = 0

    def plus(self, other: "Texts") -> "Texts":
        return Texts(*map(int.__add__, self, other))


def encode(kind: Kind, talk_s: int | None) -> int:
    """One outcome as the number that the window holds."""
    return min(max(talk_s or 0, 0), _LONGEST_S) << 4 | kind


@lru_cache(4096)  # fifty calls of each number are read again with every fold, and most are alike
def decode(code: int) -> Call:
    return Call(Kind(code & 15), code >> 4)


def voice(calls: Sequence[Call], *, is_labelled: bool = False) -> Health:
    """The health of a number by its last calls, oldest first; more than `WINDOW` are cut to the newest."""
    calls = calls[-WINDOW:]
    if not calls:
        return Health(None, None, 0)
    factors = {
        "answerRate": _full_from(_share(calls, _ANSWERED), _FULL_ANSWER_RATE),
        "averageDuration": _full_from(_average_talk_s(calls), _FULL_DURATION_S),
        "humanEngagement": _full_from(_engagement(calls), _FULL_ENGAGEMENT),
        "noAnswerTrend": _trend(calls),
        "spamClean": 0.0 if is_labelled else _clamp(1 - _share(calls, {Kind.BLOCKED}) / _WORST_BLOCKED),
    }
    return Health(combine(factors), factors, len(calls))


def combine(factors: Mapping[str, float]) -> float:
    """The weighted sum, rounded to three places: 0 to 1, and never lower for a higher factor."""
    return round(_clamp(sum(weight * factors[name] for name, weight in WEIGHTS.items())), 3)


def band(score: float | None) -> Band:
    """A number that was never called with is healthy until it shows otherwise."""
    if score is None or score >= HEALTHY:
        return Band.HEALTHY
    if score >= REDUCED:
        return Band.REDUCED
    return Band.TIRED if score >= BURNED else Band.BURNED


def verdict(score: float | None, calls: int, fresh: int) -> Band:
    """What the score means for the number's state: nothing before `JUDGED_FROM` fresh calls, and burned only over a
    whole window, for twenty unanswered calls of one bad morning should not cost a number its life."""
    found = band(score)
    if fresh < JUDGED_FROM:
        return Band.REDUCED if found in (Band.TIRED, Band.BURNED) else found
    return Band.TIRED if found is Band.BURNED and calls < WINDOW else found


def sms(texts: Texts, pool: Texts) -> float | None:
    """The SMS score of a number by its texts of the last `SMS_DAYS` days, beside those of its whole pool; None without
    any."""
    if not texts.sent:
        return None
    delivered_usually = pool.delivered / pool.sent if pool.sent else 1.0
    parts = (
        0.40 * _clamp((_shrunk(texts.delivered, texts.sent, delivered_usually) - 0.80) / 0.15),
        0.35 * _clamp(1 - _shrunk(texts.filtered, texts.sent, 0.0) / 0.02),
        0.15 * _clamp(1 - _shrunk(texts.opted_out, texts.sent, 0.0) / 0.03),
        0.10 * _clamp(1 - _shrunk(texts.unknown, texts.sent, 0.0) / 0.10),
    )
    return round(sum(parts), 3)


def count(kinds: Sequence[Kind]) -> Texts:
    """The texts among these outcomes. One whose recipient is at fault was sent, and counts against nobody."""
    texts = [kind for kind in kinds if kind in TEXTS]
    return Texts(
        len(texts) - texts.count(Kind.STOPPED),
        sum(kind in (Kind.DELIVERED, Kind.UNREACHABLE) for kind in texts),
        texts.count(Kind.FILTERED),
        texts.count(Kind.OPTED_OUT) + texts.count(Kind.STOPPED),
        texts.count(Kind.UNDELIVERED),
    )


def _share(calls: Sequence[Call], kinds: "frozenset[Kind] | set[Kind]") -> float:
    return sum(call.kind in kinds for call in calls) / len(calls) if calls else 0.0


def _average_talk_s(calls: Sequence[Call]) -> float:
    answered = [call.talk_s for call in calls if call.kind in _ANSWERED]
    return sum(answered) / len(answered) if answered else 0.0


def _engagement(calls: Sequence[Call]) -> float:
    answered = [call for call in calls if call.kind in _ANSWERED]
    engaged = sum(call.kind is Kind.PERSON and call.talk_s >= _SHORT_S for call in answered)
    return engaged / len(answered) if answered else 0.0


def _trend(calls: Sequence[Call]) -> float:
    middle = len(calls) // 2
    rise = _share(calls[middle:], {Kind.NO_ANSWER}) - _share(calls[:middle], {Kind.NO_ANSWER}) if middle else 0.0
    return _clamp(1 - max(0.0, rise) / _WORST_TREND)


def _full_from(value: float, full: float) -> float:
    return _clamp(value / full)


def _shrunk(hits: int, total: int, usually: float) -> float:
    return (hits + _PRIOR * usually) / (total + _PRIOR)


def _clamp(value: float) -> float:
    return min(1.0, max(0.0, value))
