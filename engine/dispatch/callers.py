"""The sender's part of the intent: is this number ours, in use, able to carry the channel, and under its caps?"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.rules import did_pool
from engine.rules.did_health import Band, band
from engine.rules.did_policy import Caps, Policy, caps
from engine.rules.did_pool import DidState
from engine.store import arrays, did_caps
from engine.store.did_caps import Wanted

BLOCKED_FOR = timedelta(hours=1)  # whoever waits for a blocked number is looked at again after this
# Another number may carry who was hinted with one that has come to rest, or to its cap: the coordinator hears of that
# within this, and has the prospect ahead of its walk. Left as it was, the row would wait for its hint's lease.
NOT_READY_FOR = timedelta(seconds=2)

_LOAD = text("""
    select d.id, d.account_id, d.number, d.capabilities, d.state, d.state_reason, d.flags, d.warming_since,
           d.sms_free_at <= :now as sms_free, h.score
      from dids d left join did_health h on h.did_id = d.id where d.id = any(cast(:ids as bigint[]))
""")


class Sender(NamedTuple):
    """In the order of `_LOAD`."""

    id: int
    account_id: int
    number: str
    capabilities: Collection[str]
    state: str  # a DidState
    state_reason: str
    flags: int
    warming_since: datetime | None
    sms_free: bool
    score: float | None

    def is_ready(self, account_id: int, number: str, channel: str, *, is_answer: bool = False) -> bool:
        return (
            self.account_id == account_id
            and self.state in (did_pool.ANSWERING if is_answer else did_pool.USABLE)
            and self.number == number
            and channel in self.capabilities
        )

    @property
    def is_blocked(self) -> bool:
        return did_pool.is_blocked(DidState(self.state), self.state_reason, self.flags)

    @property
    def is_gone(self) -> bool:
        return self.state in did_pool.GONE

    def caps(self, policy: Policy, now: datetime) -> Caps:
        age_days = (now - self.warming_since).total_seconds() / 86_400 if self.warming_since else 0.0
        return caps(policy, DidState(self.state), age_days, band(self.score) is Band.REDUCED)


async def load(conn: AsyncConnection, did_ids: Iterable[int], now: datetime) -> dict[int, Sender]:
    rows = await conn.execute(_LOAD, {"ids": arrays.numbers(sorted(set(did_ids))), "now": now})
    return {sender.id: sender for sender in map(Sender._make, rows)}


async def take_calls(
    conn: AsyncConnection, calls: Iterable[tuple[int, Policy]], senders: Mapping[int, Sender], now: datetime
) -> Counter[int]:
    """How many of these calls, given as number and policy, each number may still make in its hour and day."""
    asked: Counter[int] = Counter()
    policies: dict[int, Policy] = {}
    for did_id, policy in calls:
        asked[did_id] += 1
        policies[did_id] = policy
    wanted = {did_id: Wanted(count, senders[did_id].caps(policies[did_id], now)) for did_id, count in asked.items()}
    return Counter(await did_caps.take(conn, wanted, now))
