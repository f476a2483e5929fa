"""When a person may be contacted, as the intent asks it: now, for as long as a request may take, or from when on."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from engine.clock import Clock
from engine.dispatch.campaigns import CampaignFacts
from engine.rules.whereabouts import whereabouts
from engine.rules.window import WindowReason

HELD_FOR = timedelta(days=1)  # who has no opening in sight is looked at again after this
LEAST_VALID_S = 1.0  # what is left of the window when a ticket ends: a carrier takes no validity of less
MOST_VALID = timedelta(hours=4)  # what waits longer in a carrier's queue comes too late to be of use

Data = Mapping[str, object] | None  # the prospect's own columns


def takes(ticket_s: float, clock: Clock) -> timedelta:
    """How long after its intent a request may leave, and a carrier still take it, in engine time."""
    return timedelta(seconds=(ticket_s + LEAST_VALID_S) * clock.speed)


def closed(
    campaign: CampaignFacts, phone: str, data: Data, now: datetime, takes: timedelta
) -> tuple[WindowReason, datetime] | None:
    """Why the person may not be contacted now, and when to look again; None when the window is open and stays so for
    `takes` (engine time): the law is judged now, and the request may leave that much later."""
    window = campaign.hours.at(whereabouts(phone, data), now)
    if not window.open:
        return window.reason, window.next_open_at or now + HELD_FOR
    if window.closes_at is not None and window.closes_at <= now + takes:
        return WindowReason.LEGAL_HOURS, window.closes_at  # and learns then when it opens next
    return None


def first(campaign: CampaignFacts, phone: str, data: Data, at: datetime) -> datetime:
    """The first opening at or after `at`, as far as it is known then."""
    return campaign.hours.at(whereabouts(phone, data), at).next_open_at or at


def not_after(campaign: CampaignFacts, phone: str, data: Data, now: datetime, clock: Clock) -> datetime:
    """When what was allowed at `now` (engine time) must have left every queue, in real time."""
    return _latest(campaign.hours.at(whereabouts(phone, data), now).closes_at, now, clock)


@lru_cache(maxsize=1024)
def _latest(closes_at: datetime | None, now: datetime, clock: Clock) -> datetime:
    """Remembered, for a batch has one `now` and its people a handful of closing times."""
    until = min(closes_at, now + MOST_VALID) if closes_at else now + MOST_VALID
    return datetime.fromtimestamp(clock.real_at(until), UTC)
