"""The campaigns that this coordinator holds, and how far it has walked through the prospects of each.

All of it is memory: a coordinator that takes a campaign over begins at the front and enqueues again what is still
queued there. Doubled hints are refused at the intent, so that costs work and no promise.
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from engine.clock import Clock, boottime
from engine.rules.campaign import CampaignStatus
from engine.rules.prospect import Outcome
from engine.rules.retry import may_change_number
from engine.rules.telephony import Channel
from engine.store.campaigns import Campaign


class Position(NamedTuple):
    """A place in a campaign's order of due prospects: (next_attempt_at, id). The time is PostgreSQL's own text, for
    '-infinity' (due since ever) has no Python form."""

    at: str
    id: int


START = Position("-infinity", 0)


IDLE_S = 0.5  # a campaign with nothing due is looked at again after this, or at a wake-up


class Due(NamedTuple):
    """A prospect that was due when it was read."""

    prospect_id: int
    attempt: int
    phone: str
    sender: str | None  # the number that a one-off call must come from
    last_did: int | None = None  # the number of the attempt before this one
    due_s: float = float("-inf")  # engine time (epoch seconds) at which it fell due
    data: str | None = None  # its columns as JSON, until its window has been judged
    last_outcome: int | None = None  # how the attempt before this one ended: an Outcome

    @property
    def is_bound(self) -> bool:
        """Whether only the number of the attempt before may carry it, as long as that is in use."""
        return self.last_outcome is not None and not may_change_number(Outcome(self.last_outcome).label)


class Queued(NamedTuple):
    """A prospect that is queued at or before a cursor."""

    attempt: int
    due_s: float  # as that of Due


class Claim(NamedTuple):
    due: list[Due]
    cursor: Position
    next_due_s: float | None  # engine time (epoch seconds) of the next one; None: there is none, or more are due now


@dataclass(slots=True)
class Walk:
    """One campaign. Times are boottime seconds."""

    campaign: Campaign
    epoch: int
    cursor: Position = START
    woken_at: float = 0.0
    is_woken: bool = False  # and has not looked since
    look_at: float = 0.0  # the front is worth asking again
    stride: int = 1  # so many times what may go is read: more while windows are closed
    ask_at: float = 0.0  # its numbers are worth asking again
    waiting: deque[Due] = field(default_factory=deque)  # read, not enqueued yet
    hints: dict[int, tuple[int, float]] = field(default_factory=dict)  # prospect → attempt and time it was enqueued
    backlog: float = 0.0  # about how many of its hints no worker has begun
    backlog_at: float = 0.0
    drained_per_s: float = math.inf  # how fast workers begin its hints; infinite: as fast as they come
    looked_behind_at: float = 0.0

    @property
    def is_dialing(self) -> bool:
        return self.campaign.status is CampaignStatus.DIALING

    @property
    def is_sms(self) -> bool:
        return self.campaign.channel == Channel.SMS

    @property
    def keeps_gap(self) -> bool:
        """A campaign of texts, whose numbers each rest after a message. One-off texts have the carrier's rates."""
        return self.is_sms and not self.campaign.is_direct

    def is_hinted(self, prospect_id: int, attempt: int, since: float) -> bool:
        """Whether this attempt was enqueued at or after `since`, so that it is probably still on its way."""
        hint = self.hints.get(prospect_id)
        return hint is not None and hint[0] == attempt and hint[1] >= since

    def take_in(
        self, found: Claim, count: int, now: float, clock: Clock, engine_s: float, hint_lease_s: float
    ) -> list[Due]:
        """What a claim of up to `count` found and is not under way; the cursor moves on.

        `now` (boottime) and `engine_s` (epoch) are the times at which the claim began.
        """
        known = {due.prospect_id for due in self.waiting} if self.is_woken else set()
        fresh = []
        for due in found.due:
            since = _hinted_since(due.due_s, now, engine_s, clock.speed, hint_lease_s)
            if due.prospect_id not in known and not self.is_hinted(due.prospect_id, due.attempt, since):
                fresh.append(due)
        if self.woken_at < now:  # else a wake-up has sent it back to the front meanwhile
            self.cursor, self.is_woken = found.cursor, False
            self.look_at = 0.0 if len(found.due) == count else _next_look(found, now, clock)
        return fresh

    def left_behind(
        self, queued: Mapping[int, Queued], begun: float, clock: Clock, engine_s: float, hint_lease_s: float
    ) -> list[int]:
        """Forgets hints that were used, corrects the backlog, and returns who is queued without a live hint.

        `queued` (by prospect) was read after `begun` (boottime) and `engine_s` (epoch): hints
        younger than that are not in it.
        """
        since = {
            id_: _hinted_since(each.due_s, begun, engine_s, clock.speed, hint_lease_s) for id_, each in queued.items()
        }
        known = self.hints
        self.hints = {
            id_: hint
            for id_, hint in known.items()
            if hint[1] >= begun or (id_ in queued and queued[id_].attempt == hint[0] and hint[1] >= since[id_])
        }
        self.backlog, self.backlog_at = float(len(self.hints)), boottime()
        waiting = {due.prospect_id for due in self.waiting}
        lost = [
            id_
            for id_, each in queued.items()
            if id_ not in waiting and not self.is_hinted(id_, each.attempt, since[id_])
        ]
        self._measure(len(known) - len(self.hints) - len(known.keys() & set(lost)), begun)
        return lost

    def _measure(self, drained: int, begun: float) -> None:
        """Since the last look behind, so many hints have been begun. When none is left, nobody is too slow."""
        last, self.looked_behind_at = self.looked_behind_at, begun
        self.drained_per_s = drained / (begun - last) if self.hints and 0.0 < last < begun else math.inf

    def begin_again(self) -> None:
        """Something may have been added behind the cursor.

        A campaign walks from the front. One-off contacts are due at the moment in which they are asked for, so their
        next claim looks back a little (`claim.LOOK_BACK_S`): behind it may lie what waits for its reports, by the
        hundred thousand.
        """
        if self.campaign.is_direct:
            self.ask_at = 0.0  # it may be for another number than those that wait
        else:
            self.cursor = START
        self.look_at, self.woken_at, self.is_woken = 0.0, boottime(), True


@dataclass(slots=True)
class Shard:
    walks: dict[int, Walk] = field(default_factory=dict)
    ended: list[Walk] = field(default_factory=list)  # no longer walked; their last statistics are still to be told

    def dialing(self) -> list[Walk]:
        return [walk for walk in self.walks.values() if walk.is_dialing]

    def drop(self, campaign_id: int) -> None:
        if walk := self.walks.pop(campaign_id, None):
            self.ended.append(walk)


def _hinted_since(due_s: float, now: float, engine_s: float, speed: float, hint_lease_s: float) -> float:
    """From when on (boottime) a hint for this row counts. One from before it fell due again, because it was put off or
    released, has been used, and its lease need not be waited for."""
    return now - min(hint_lease_s, max(0.0, engine_s - due_s) / speed)


def _next_look(found: Claim, now: float, clock: Clock) -> float:
    if found.next_due_s is None:
        return now + IDLE_S
    return now + min(IDLE_S, max(0.0, found.next_due_s - clock.now().timestamp()) / clock.speed)
