"""How much may be enqueued now: queues are kept `queue_depth_s` deep, per campaign and in all.

A shallow queue keeps a pause, a new priority and a flush cheap; the limits themselves are held elsewhere (P4: buckets
before the queue, send slots behind it).
"""

from collections.abc import Sequence

from engine.coordinator.shard import Walk

# At 300 bytes a message 6 MB; and the most that a flush makes the coordinator enqueue again.
MOST_QUEUED = 20_000
# What an unmeasured queue may hold: enough for a worker's prefetch, little enough for a slow carrier.
LEAST_QUEUED = 2_000
MOST_PER_TICK = 5_000  # about 30 ms of this process
MOST_SMS_WAITING = 100  # their pace is that of their numbers; few are read ahead
MOST_ONE_OFF_WAITING = 5_000  # of one-off texts, so that a thousand from one number keep nobody else's waiting
FASTER = 1.5  # than the workers were: so that more of them are noticed
LEAST_SHARE = 0.25  # of the campaign's rate, however slow they were: for the moment in which they are back
_REFILL = 2 / 3  # fill up again when a third is gone: a campaign is asked for once a second, not at every tick
_SMOOTHING_S = 1.0


def allowance(walk: Walk, now: float, depth_s: float) -> int:
    """How many hints more this campaign may have under way; 0 while its queue is deep enough."""
    if walk.is_sms:
        return MOST_SMS_WAITING if walk.keeps_gap else MOST_ONE_OFF_WAITING
    rate = _speed(walk)
    walk.backlog = max(0.0, walk.backlog - rate * (now - walk.backlog_at))
    walk.backlog_at = now
    return refill(walk.backlog, max(1.0, rate * depth_s))


def _speed(walk: Walk) -> float:
    """Calls a second for which the queue is kept deep: the campaign's own rate, or less where workers are slower. What
    waits for longer than a hint's lease is enqueued again, and then refused: work for those who have too much."""
    rate = walk.campaign.calls_per_second
    return min(rate, max(LEAST_SHARE * rate, FASTER * walk.drained_per_s))


def refill(backlog: float, depth: float) -> int:
    """How many fill up a queue again: none until a third is gone, or one of a few."""
    if backlog > min(depth - 1, depth * _REFILL):
        return 0
    return min(MOST_PER_TICK, int(depth - backlog))


def divide(room: int, wishes: Sequence[int]) -> list[int]:
    """Shares `room` fairly: nobody gets more than the wish, and what small wishes leave goes to the others."""
    shares = [0] * len(wishes)
    left = max(0, room)
    for done, index in enumerate(sorted(range(len(wishes)), key=wishes.__getitem__)):
        shares[index] = min(wishes[index], -(-left // (len(wishes) - done)))
        left -= shares[index]
    return shares


class Room:
    """The room in one queue: its depth in seconds, by how fast the workers were seen to drain it."""

    def __init__(self, depth_s: float) -> None:
        self._depth_s = depth_s
        self._rate, self._length, self._at = 0.0, 0, 0.0

    def measure(self, length: int, now: float, *, is_urgent: bool = False) -> int:
        """How many messages the queue may take, given how many wait in it.

        Not urgent: none until a third is gone. A tick's look at every number costs as much for ten as for a thousand.
        """
        elapsed = now - self._at
        if elapsed > 0:
            drained = max(0, self._length - length) / elapsed
            weight = min(1.0, elapsed / _SMOOTHING_S)
            self._rate += weight * (drained - self._rate)
        self._length, self._at = length, now
        depth = min(MOST_QUEUED, max(LEAST_QUEUED, self._rate * self._depth_s))
        return int(depth) - length if is_urgent or length <= depth * _REFILL else 0

    def add(self, count: int) -> None:
        """Counts messages enqueued since the measurement."""
        self._length += count
