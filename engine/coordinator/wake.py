"""Wake-ups: the api names a campaign that has work now, so that an idle coordinator begins within milliseconds.

The hint may be lost; then the next look finds the work. It reaches one coordinator, which passes it on when the
campaign is another's.
"""

import asyncio
from collections.abc import Awaitable, Collection
from typing import cast

from sqlalchemy import text

from engine.coordinator.lease import Lease
from engine.coordinator.shard import Shard
from engine.runtime import Runtime

LIST = "carillon:wake"  # the api appends campaign ids to it
_WAIT_S = 1.0
_KEPT_S = 60
_MOST_AT_ONCE = 1_000

_OWNER = text("select lease_owner from campaigns where id = :id and lease_owner not in ('', :owner)")


class Wake:
    every_s = 0.0

    def __init__(self, runtime: Runtime, shard: Shard, lease: Lease, owner: str, nudge: asyncio.Event) -> None:
        self._db, self._redis = runtime.reader, runtime.redis
        self._shard, self._lease, self._owner = shard, lease, owner
        self._nudge = nudge  # set: the dispatch runs now

    async def run_once(self) -> int:
        """Waits up to a second for wake-ups. Returns how many campaigns were woken here."""
        ids = await self._read()
        if ids - self._shard.walks.keys():
            await self._lease.run_once()
        for campaign_id in ids - self._shard.walks.keys():
            await self._pass_on(campaign_id)
        mine = ids & self._shard.walks.keys()
        for campaign_id in mine:
            self._shard.walks[campaign_id].begin_again()
        if mine:
            self._nudge.set()
        return len(mine)

    async def hand_over(self, ids: Collection[int]) -> None:
        """On the way out: whoever listens takes these campaigns now."""
        if ids:
            await self._redis.rpush(LIST, *ids)

    async def _read(self) -> set[int]:
        own = _own_list(self._owner)
        first = await cast(Awaitable[tuple[bytes, bytes] | None], self._redis.blpop([own, LIST], timeout=_WAIT_S))
        if first is None:
            return set()
        more = await cast(Awaitable[list[bytes] | None], self._redis.lpop(first[0].decode(), _MOST_AT_ONCE))
        return {int(each) for each in (first[1], *(more or ())) if each.isdigit()}

    async def _pass_on(self, campaign_id: int) -> None:
        async with self._db.connect() as conn:
            owner = (await conn.execute(_OWNER, {"id": campaign_id, "owner": self._owner})).scalar_one_or_none()
        if owner is None:
            return
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.rpush(_own_list(owner), campaign_id)
            pipe.expire(_own_list(owner), _KEPT_S)
            await pipe.execute()


def _own_list(owner: str) -> str:
    return f"{LIST}:{owner}"
