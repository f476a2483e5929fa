"""The short-window limits of each create: its campaign's own rate, or its number's if it is a one-off text, and the
rate of its account at the carrier."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import NamedTuple

from engine.clock import boottime
from engine.dispatch.campaigns import CampaignFacts
from engine.dispatch.hints import Hint
from engine.limits.slots import Lane
from engine.rules.telephony import Channel
from engine.settings import Settings

TTL_S = 1.0  # how long a campaign's rates hold
# Who was refreshed asks for the last time when its create is answered: within 1 s to its slot, 2 s of ticket and the
# carrier's time. Those who wait outside for their slots, up to 20 s, are refreshed when they return.
KEEP_S = 300.0

Read = Callable[[Collection[int]], Awaitable[Mapping[int, CampaignFacts]]]


class Lanes(NamedTuple):
    """`carrier` is closed when the carrier refuses for its rate; without a configured rate it is a gate."""

    own: Lane
    carrier: Lane


class LaneBook:
    """The lanes of campaigns, read again after `TTL_S`. Every `KEEP_S` it forgets those not asked for since the time
    before: not by age, for all that is known is old when a machine has slept."""

    def __init__(self, read: Read, settings: Settings) -> None:
        self._read, self._settings = read, settings
        self._known: dict[int, tuple[Lanes, float]] = {}
        self._former: dict[int, tuple[Lanes, float]] = {}  # what was known the time before
        self._forgot_at = boottime()

    async def refresh(self, campaign_ids: Collection[int]) -> None:
        """Reads what is not known or not fresh. Raises what reading raises."""
        now = boottime()
        if now - self._forgot_at > KEEP_S:
            self._former, self._known, self._forgot_at = self._known, {}, now
        stale = [each for each in campaign_ids if each not in self._known or now - self._known[each][1] > TTL_S]
        if not stale:
            return
        facts = await self._read(stale)
        for campaign_id in stale:
            self._known[campaign_id] = (lanes_of(campaign_id, facts.get(campaign_id), self._settings), now)

    def of(self, hint: Hint) -> Lanes:
        """Raises KeyError if its campaign was not refreshed for the last `KEEP_S`."""
        lanes, _ = self._known.get(hint.campaign_id) or self._former[hint.campaign_id]
        if hint.is_one_off_text:
            return lanes._replace(own=Lane(f"sms:{hint.did_id}", self._settings.sms_per_second))
        return lanes


def lanes_of(campaign_id: int, facts: CampaignFacts | None, settings: Settings) -> Lanes:
    """Texts of campaigns are paced by their senders; an unknown campaign gets no intent. Any rate will do for both."""
    own = Lane(f"campaign:{campaign_id}", settings.max_calls_per_second)
    if facts is None:
        return Lanes(own, Lane("carrier:unknown"))
    key = f"carrier:{facts.account_id}:{facts.carrier}:{facts.channel}"
    if facts.channel is Channel.VOICE:
        rate = facts.limits.calls_per_second or settings.carrier_calls_per_second
        own = own._replace(rate_per_s=facts.calls_per_second)
    else:
        rate = facts.limits.messages_per_second or settings.carrier_messages_per_second
    return Lanes(own, Lane(key, rate) if rate else Lane(key))
