"""What a client that names its last event gets before the live ones."""

from dataclasses import dataclass

from engine.feed.dialect import Encoded, OwnersFilter
from engine.feed.log import EventLog
from engine.feed.tail import Subscription, Tail

_MAX_ID = (1 << 63) - 1


def parse_id(text: str) -> int | None:
    """The number behind a Last-Event-ID; None when we cannot have sent it."""
    if not text.isascii() or not text.isdigit() or len(text) > len(str(_MAX_ID)):
        return None
    return int(text)


@dataclass(frozen=True, slots=True)
class Replay:
    """Send `older`, then what the tail holds after `cursor`. `oldest` is set when matching events are left out."""

    older: list[Encoded]
    cursor: int
    oldest: int | None = None


async def matching(
    log: EventLog, tail: Tail, subscription: Subscription, after: int, upto: int, limit: int
) -> list[Encoded]:
    """The newest `limit` recorded events in `after < number ≤ upto` that the subscription wants, ascending.

    The database narrows by type; what a filter wants beyond that is decided here, so it is asked again until enough
    are found, or nobody wants them any more. Raises what the database raises.
    """
    found: list[Encoded] = []
    while upto > after and len(found) < limit and subscription.is_open:
        rows, upto = await log.matching(subscription.account_id, after, upto, subscription.filter.types, limit)
        events = (tail.encode(subscription.dialect, seq, line) for seq, line in reversed(rows))
        found += [event for event in events if subscription.wants(event)]
    return found[:limit][::-1]


async def plan(log: EventLog, tail: Tail, subscription: Subscription, after: int, limit: int) -> Replay:
    """The newest `limit` matching events after number `after`, which is at most `tail.last`.

    Memory answers alone unless it begins later than `after + 1` and holds fewer than enough. Raises what the database
    raises.
    """
    recent = tail.matching(subscription, after)
    if len(recent) > limit:
        return Replay([], recent[-limit] - 1, recent[-limit])
    begin = tail.first - 1
    if after >= begin:
        return Replay([], after)
    room = limit - len(recent)
    found = await matching(log, tail, subscription, after, begin, room + 1)
    older = found[-room:] if room else []
    if len(found) > room:
        return Replay(older, begin, older[0].seq if older else recent[0])
    lost = await _newest_lost(log, subscription, after)
    if lost is None:
        return Replay(older, begin)
    return Replay(older, begin, older[0].seq if older else recent[0] if recent else lost + 1)


async def _newest_lost(log: EventLog, subscription: Subscription, after: int) -> int | None:
    """The number of the newest event after `after` that the subscription may have wanted and retention has taken."""
    wish = subscription.filter
    dropped = await log.dropped(subscription.account_id, after, wish.types)
    lost = [seq for seq, owner in dropped if not isinstance(wish, OwnersFilter) or wish.owns(owner)]
    return max(lost, default=None)
