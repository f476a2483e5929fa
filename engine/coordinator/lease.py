"""Leases campaigns among any number of coordinators, a fair share each; a dead one is replaced within `lease_s`.

Presence is a row of `leaders` per coordinator. Each takes up to ceil(campaigns / coordinators alive) and gives up what
is beyond. A lease only spreads the work: two coordinators that believe to hold one campaign enqueue the same hints.

A pause ends a lease too. Whoever takes the campaign after the resume, be it the same coordinator, begins at the front.
"""

import asyncio
from dataclasses import fields
from typing import Any

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine import metrics
from engine.coordinator.shard import Shard, Walk
from engine.rules.campaign import CampaignStatus
from engine.rules.purpose import Purpose
from engine.runtime import Runtime
from engine.store.campaigns import Campaign

log = structlog.get_logger(__name__)

_PRESENCE = "coordinator:"
_JUST_AFTER_S = 0.02
FACTS = ", ".join(f"c.{each.name}" for each in fields(Campaign))
# A cancelled campaign whose rows are all swept has its lease set to infinity: nobody needs it any more.
_ACTIVE = "status in ('dialing', 'cancelled') and lease_until < 'infinity'"

_BE_PRESENT = text("""
    insert into leaders (name, owner, epoch, expires_at)
    values (:name, :owner, 0, now() + make_interval(secs => :lease_s))
    on conflict (name) do update set expires_at = excluded.expires_at
""")
_SHARE = text(f"""
    select ceil((select count(*) from campaigns where {_ACTIVE})::float8 / greatest(1, count(*)))::int as share,
           extract(epoch from min(expires_at) filter (where owner <> :owner) - now())::float8 as left_s
      from leaders where name like '{_PRESENCE}%' and expires_at > now()
""")
_RENEW = text(f"""
    update campaigns c set lease_until = now() + make_interval(secs => :lease_s)
     where id = any(cast(:ids as bigint[])) and lease_owner = :owner and {_ACTIVE}
    returning {FACTS}, c.lease_epoch
""")
_TAKE = text(f"""
    update campaigns c
       set lease_owner = :owner, lease_epoch = lease_epoch + 1, lease_until = now() + make_interval(secs => :lease_s)
     where id = any(array(select id from campaigns
                   where {_ACTIVE} and (lease_until < now() or lease_owner = :owner)
                     and not id = any(cast(:held as bigint[]))
                   order by id limit :n for update skip locked))
    returning {FACTS}, c.lease_epoch
""")
_RELEASE = text("""
    update campaigns set lease_owner = '', lease_until = '-infinity'
     where id = any(cast(:ids as bigint[])) and lease_owner = :owner and lease_until < 'infinity'
""")
_BE_ABSENT = text("delete from leaders where name = :name")
_FORGET_DEAD = text(f"delete from leaders where name like '{_PRESENCE}%' and expires_at < now() - interval '1 minute'")


class Lease:
    def __init__(self, runtime: Runtime, shard: Shard, owner: str) -> None:
        self._db, self._shard, self._owner = runtime.db, shard, owner
        self._lease_s = runtime.settings.lease_s
        self._turn = asyncio.Lock()  # a wake-up may come while a renewal is under way
        self._renew_s = self.every_s = self._lease_s / 3  # two renewals may fail before it is lost

    async def run_once(self) -> None:
        async with self._turn:
            await self._renew_and_take()

    async def _renew_and_take(self) -> None:
        async with self._db.begin() as conn:
            await conn.execute(_BE_PRESENT, self._params(name=_PRESENCE + self._owner))
            share, left_s = (await conn.execute(_SHARE, {"owner": self._owner})).one()
            lost = await self._renew(conn)
            surplus = list(self._shard.walks)[share:]
            await conn.execute(_RELEASE, {"ids": [*lost, *surplus], "owner": self._owner})
            for campaign_id in surplus:
                del self._shard.walks[campaign_id]
            taken = await self._take(conn, share)
        # Whoever is about to run out has probably died: the heir looks at that moment, not when it renews.
        self.every_s = self._renew_s if left_s is None else min(self._renew_s, left_s + _JUST_AFTER_S)
        for walk in taken:
            self._shard.walks[walk.campaign.id] = walk
        if taken:
            log.info("leases.taken", campaigns=len(taken), held=len(self._shard.walks))
        metrics.LEASES_HELD.set(len(self._shard.walks))

    async def release_all(self) -> list[int]:
        """On the way out: others may take over at once instead of when the leases expire. Returns what was held."""
        held = list(self._shard.walks)
        async with self._db.begin() as conn:
            await conn.execute(_RELEASE, {"ids": held, "owner": self._owner})
            await conn.execute(_BE_ABSENT, {"name": _PRESENCE + self._owner})
            await conn.execute(_FORGET_DEAD)
        self._shard.walks.clear()
        return held

    async def _renew(self, conn: AsyncConnection) -> list[int]:
        """Renews and reads the campaigns anew; drops those that are ours no longer, or not live, and returns them."""
        rows = await conn.execute(_RENEW, self._params(ids=list(self._shard.walks)))
        found = {row.id: row for row in rows}
        lost = [campaign_id for campaign_id in self._shard.walks if campaign_id not in found]
        for campaign_id in lost:
            self._shard.drop(campaign_id)
        for campaign_id, row in found.items():
            self._shard.walks[campaign_id].campaign = campaign_of(row)
        return lost

    async def _take(self, conn: AsyncConnection, share: int) -> list[Walk]:
        held = list(self._shard.walks)
        if len(held) >= share:
            return []
        rows = await conn.execute(_TAKE, self._params(held=held, n=share - len(held)))
        return [Walk(campaign_of(row), row.lease_epoch) for row in rows]

    def _params(self, **more: object) -> dict[str, object]:
        return {"owner": self._owner, "lease_s": self._lease_s, **more}


def campaign_of(row: Any) -> Campaign:
    """Of a row with the columns `FACTS`."""
    values = {each.name: getattr(row, each.name) for each in fields(Campaign)}
    values |= {"status": CampaignStatus(row.status), "purpose": Purpose(row.purpose)}
    return Campaign(**values | {"caller_ids": tuple(row.caller_ids)})
