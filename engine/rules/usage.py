"""What is billed, by meter: parts of texts, seconds of calls, numbers by the month.

A text is billed when the carrier has taken it, which is when its row knows the carrier's id; a call by the seconds that
the carrier reports. So the sum over the attempts is the bill at any moment, and `engine.checks.usage` compares them. A
thing belongs to the day, in UTC and engine time, on which it was decided (its intent) or came in.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import NamedTuple

from engine.rules.telephony import Channel

# In the order in which they are shown. Each second of a call is in one meter only.
METERS: dict[str, str] = {
    "sms.send": "SMS segments sent",
    "sms.receive": "SMS segments received",
    "voice.outbound": "Outbound voice seconds",
    "voice.inbound": "Inbound voice seconds",
    "voice.ai": "AI voice seconds",
    "did.monthly": "Numbers, by calendar month",
}


class Use(NamedTuple):
    """Under which account, day and meter something counts."""

    account_id: int
    day: date
    meter: str


def billed(channel: Channel, carrier_id: str | None, segments: int | None, duration_s: int | None) -> int:
    """The quantity that one attempt stands for, as its row is now. It never falls while the attempt lives."""
    if channel is Channel.SMS:
        return 0 if carrier_id is None else segments or 0
    return duration_s or 0


def meter_of(channel: Channel, *, is_ai: bool = False) -> str:
    """The meter of an outbound contact."""
    if channel is Channel.SMS:
        return "sms.send"
    return "voice.ai" if is_ai else "voice.outbound"


def day_of(at: datetime) -> date:
    return at.astimezone(UTC).date()


def months(first: date, last: date) -> Iterable[date]:
    """The first days of the calendar months that `first` … `last`, both included, touch."""
    month = first.replace(day=1)
    while month <= last:
        yield month
        month = month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)
