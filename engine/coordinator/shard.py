"""The campaigns that this coordinator holds, and how far it has walked through the prospects of each.

All of it is memory: a coordinator that takes a campaign over begins at the front and enqueues again what is still
queued there. Doubled hints are refused at the intent, so that costs work and no promise.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from engine.clock import boottime
from engine.rules.campaign import CampaignStatus
from engine.rules.telephony import Channel
from engine.store.campaigns import Campaign


class Position(NamedTuple):
    """A place in a campaign's order of due prospects: (next_attempt_at, id). The time is PostgreSQL's own text, for
    '-infinity' (due since ever) has no Python form."""

    at: str
    id: int


START = Position("-infinity", 0)


class Due(NamedTuple):
    """A prospect that was due when it was read."""

    prospect_id: int
    attempt: int
    phone: str
    sender: str | None  # the number that a one-off call must come from
    last_did: int | None = None  # the number of the attempt before this one
    due_s: float = float("-inf")  # engine time (epoch seconds) at which it fell due
    data: str | None = None  # its columns as JSON, until its window has been judged


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
