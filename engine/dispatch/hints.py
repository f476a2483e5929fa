"""Hints: what a queue message says, and which of them may share a transaction."""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from engine.jobs import Queue
from engine.rules.telephony import Channel


class Hint(NamedTuple):
    """One queue message: a prospect that was due when the coordinator looked. Everything in it is checked again."""

    account_id: int
    campaign_id: int
    prospect_id: int
    attempt: int
    phone: str
    did_id: int
    from_number: str
    is_one_off_text: bool = False  # its sender does not wait for the gap that a campaign's texts keep


QUEUES = {Channel.VOICE: Queue.DIAL, Channel.SMS: Queue.SEND}


class Job(NamedTuple):
    """A hint and the queue message that it came in, to be acknowledged when all is written."""

    hint: Hint
    channel: Channel
    message_id: str
    enqueued_ms: int = 0  # real, epoch

    @property
    def queue(self) -> Queue:
        return QUEUES[self.channel]

    @property
    def keeps_gap(self) -> bool:
        return self.channel is Channel.SMS and not self.hint.is_one_off_text


def by_queue(jobs: Iterable[Job]) -> dict[Queue, list[str]]:
    """Message ids to acknowledge or hand back, by their queue."""
    ids: dict[Queue, list[str]] = {}
    for job in jobs:
        ids.setdefault(job.queue, []).append(job.message_id)
    return ids


def take_batch(waiting: deque[Job], limit: int) -> list[Job]:
    """Splits off the oldest jobs that may share one transaction; the others keep their place.

    One row per (account, phone), and one campaign message per SMS sender: caps are counted on a snapshot, and of two
    rows in one batch neither would be in the other's count.
    """
    batch: list[Job] = []
    deferred: list[Job] = []
    phones: set[tuple[int, str]] = set()
    senders: set[int] = set()
    while waiting and len(batch) < limit:
        job = waiting.popleft()
        hint = job.hint
        who = (hint.account_id, hint.phone)
        if who in phones or (job.keeps_gap and hint.did_id in senders):
            deferred.append(job)
            continue
        phones.add(who)
        if job.keeps_gap:
            senders.add(hint.did_id)
        batch.append(job)
    waiting.extendleft(reversed(deferred))
    return batch
