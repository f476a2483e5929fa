"""Which of an account's numbers may carry how much now: their list from PostgreSQL, their tokens from Redis.

One-off texts need no tokens but a share of the queue: see `one_off`.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import boottime, real_now
from engine.coordinator.one_off import OneOffPace
from engine.coordinator.shard import Walk
from engine.limits.buckets import Bucket, Buckets, sms_hold, voice_bucket
from engine.rules.did_health import Band, band
from engine.runtime import Runtime
from engine.store import senders
from engine.store.campaigns import Campaign
from engine.store.senders import Sender

# A number that was added, or left the pool, is noticed within this. SMS numbers change with each message.
_VOICE_TTL_S = 2.0
_SMS_TTL_S = 0.25
# With a scaled clock a bucket must hold what passes between two looks; see `voice_bucket`.
LOOK_S = 0.2
_USES_KEPT_S = 60.0
# Hints on their way are not in the row that counts a number's calls yet: they are counted here for as long.
_UNDER_WAY_S = 10.0

_Key = tuple[str, int]  # what is sent, DID
_VOICE, _GAPPED, _ONE_OFF = "voice", "gapped text", "one-off text"


class Wish(NamedTuple):
    """A campaign with prospects to send, and its numbers."""

    walk: Walk
    numbers: Sequence[Sender]
    most: int  # prospects
    blocked: Mapping[int, str] = {}  # numbers that nobody else may stand in for


@dataclass(slots=True)
class Tokens:
    """What was taken from the buckets in this tick, and how much of it is left."""

    buckets: dict[_Key, Bucket] = field(default_factory=dict)
    left: dict[_Key, int] = field(default_factory=dict)
    rooms: dict[int, int] = field(default_factory=dict)  # of capped calls, by number

    def of(self, walk: Walk, did: Sender) -> int:
        left = self.left.get((_kind(walk), did.id), 0)
        return left if walk.is_sms else min(left, self.rooms.get(did.id, left))

    def spend(self, walk: Walk, did_id: int, count: int) -> None:
        self.left[_kind(walk), did_id] -= count


class Senders:
    def __init__(self, runtime: Runtime, buckets: Buckets) -> None:
        self._runtime = runtime
        self._buckets = buckets
        self._known: dict[tuple[object, ...], tuple[float, senders.Senders]] = {}
        self._uses: Counter[int] = Counter()
        self._uses_since = 0.0
        self._one_off = OneOffPace(runtime.settings.sms_per_second)
        self._used_at: dict[int, float] = {}  # engine time, epoch seconds
        self._under_way: dict[int, deque[tuple[float, int]]] = {}

    def used(self, did_id: int, count: int) -> None:
        self._uses[did_id] += count
        self._used_at[did_id] = self._runtime.clock.now().timestamp()
        self._under_way.setdefault(did_id, deque()).append((boottime(), count))

    def used_at(self, did: Sender) -> float:
        """When it was last used: by us, or by what is known of its calls and texts."""
        return max(did.used_epoch, self._used_at.get(did.id, float("-inf")))

    def is_capped(self, campaign: Campaign) -> bool:
        """Whether the campaign's calls count against the hourly and daily caps of their numbers."""
        return is_capped(campaign, self._runtime.settings.did_caps)

    def recent_uses(self, did_id: int) -> int:
        return self._uses[did_id]

    async def load(self, reader: AsyncEngine, walks: Iterable[Walk]) -> list[senders.Senders]:
        """The numbers of each campaign, not older than their time to live."""
        now = boottime()
        if now - self._uses_since > _USES_KEPT_S:
            self._uses.clear()
            self._one_off.forget_full(now)
            self._under_way = {key: uses for key, uses in self._under_way.items() if uses[-1][0] > now - _UNDER_WAY_S}
            self._known = {key: entry for key, entry in self._known.items() if now - entry[0] < _USES_KEPT_S}
            self._uses_since = now
        return [await self._load_one(reader, walk, now) for walk in walks]

    async def take(self, wishes: Sequence[Wish], engine_now: datetime) -> Tokens:
        """Asks every number that a wish may use for as much as the wish could need. Give back what is left."""
        tokens = Tokens()
        wanted: Counter[_Key] = Counter()
        for wish in self._joined(wishes):
            kind = _kind(wish.walk)
            for did in wish.numbers:
                key = (kind, did.id)
                if not self._is_free(wish, did, engine_now.timestamp(), tokens):
                    continue
                wanted[key] += wish.most
                if kind != _ONE_OFF and key not in tokens.buckets:
                    tokens.buckets[key] = sms_hold(did.id) if kind == _GAPPED else self._voice_bucket(did)
        for kind in (_VOICE, _GAPPED):
            keys = [key for key in tokens.buckets if key[0] == kind]
            asked = [(tokens.buckets[key], min(wanted[key], int(tokens.buckets[key].capacity))) for key in keys]
            if asked:
                granted = await self._buckets.take(asked, self._now_ms(kind))
                tokens.left |= zip(keys, granted, strict=True)
        one_off = {did_id: most for (kind, did_id), most in wanted.items() if kind == _ONE_OFF}
        tokens.left |= {(_ONE_OFF, did_id): left for did_id, left in self._one_off.take(one_off, boottime()).items()}
        return tokens

    async def put_back(self, tokens: Tokens) -> None:
        for kind in (_VOICE, _GAPPED):
            unused = [(tokens.buckets[key], left) for key, left in tokens.left.items() if key[0] == kind and left]
            if unused:
                await self._buckets.put_back(unused, self._now_ms(kind))
        for (kind, did_id), left in tokens.left.items():
            if kind == _ONE_OFF and left:
                self._one_off.put_back(did_id, left)

    def _joined(self, wishes: Iterable[Wish]) -> Iterable[Wish]:
        """One wish for all the campaigns that may use the same numbers on the same terms: each number is looked at once
        for a hundred of them."""
        joined: dict[tuple[object, ...], Wish] = {}
        for wish in wishes:
            campaign = wish.walk.campaign
            key = (id(wish.numbers), _kind(wish.walk), self.is_capped(campaign))
            before = joined.get(key)
            joined[key] = wish if before is None else before._replace(most=before.most + wish.most)
        return joined.values()

    def _is_free(self, wish: Wish, did: Sender, now_s: float, tokens: Tokens) -> bool:
        """Whether the number may be asked for at all; what its caps leave it is noted in `tokens`."""
        if free_from(wish.walk.campaign, did, self._runtime.settings.did_caps) > now_s:
            return False
        if not self.is_capped(wish.walk.campaign):
            return True
        tokens.rooms[did.id] = max(0, did.room - self._count_under_way(did.id))
        return tokens.rooms[did.id] > 0

    def _count_under_way(self, did_id: int) -> int:
        uses, since = self._under_way.get(did_id, deque()), boottime() - _UNDER_WAY_S
        while uses and uses[0][0] < since:
            uses.popleft()
        return sum(count for _, count in uses)

    def _now_ms(self, kind: str) -> int:
        """An SMS hold is real time, a voice rate engine time."""
        now = real_now() if kind == _GAPPED else self._runtime.clock.now()
        return int(now.timestamp() * 1000)

    def _voice_bucket(self, did: Sender) -> Bucket:
        settings, speed = self._runtime.settings, self._runtime.clock.speed
        slack_s = 0.0 if speed == 1 else 2 * LOOK_S * speed
        calls_per_minute = did.calls_per_minute or settings.did_calls_per_minute
        pace = calls_per_minute / 2 if band(did.score) is Band.REDUCED else calls_per_minute
        return voice_bucket(did.id, pace, slack_s)

    async def _load_one(self, reader: AsyncEngine, walk: Walk, now: float) -> senders.Senders:
        campaign = walk.campaign
        key = (campaign.account_id, campaign.channel, campaign.is_system, campaign.caller_ids)
        read_at, found = self._known.get(key, (float("-inf"), senders.Senders((), {})))
        if now - read_at > (_SMS_TTL_S if walk.keeps_gap or _lacks_sender(walk, found.usable) else _VOICE_TTL_S):
            async with reader.connect() as conn:
                found = await senders.of_campaign(conn, campaign)
            self._known[key] = (now, found)
        return found


def is_capped(campaign: Campaign, did_caps: str) -> bool:
    """`did_caps` is the setting: whose calls count against the hourly and daily caps of their numbers."""
    return campaign.channel != "sms" and (campaign.is_live or did_caps == "all")


def free_from(campaign: Campaign, did: Sender, did_caps: str) -> float:
    """From when on (engine time, epoch seconds) the number's gap, or its caps, let it serve the campaign again."""
    if campaign.channel == "sms":
        return float("-inf") if campaign.is_direct else did.sms_free_epoch
    return did.call_free_epoch if is_capped(campaign, did_caps) else float("-inf")


def _kind(walk: Walk) -> str:
    if walk.keeps_gap:
        return _GAPPED
    return _ONE_OFF if walk.is_sms else _VOICE


def _lacks_sender(walk: Walk, found: Sequence[Sender]) -> bool:
    """Whether somebody's one-off contact waits for a number that was added since the list was read."""
    known = {did.number for did in found}
    return walk.campaign.is_direct and any(due.sender not in known for due in walk.waiting)
