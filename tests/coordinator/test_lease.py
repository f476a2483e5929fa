"""Campaigns are shared among coordinators, and a dead one's are taken over."""

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.coordinator.lease import Lease
from engine.coordinator.shard import Shard
from engine.runtime import Runtime
from tests.coordinator.conftest import MakeCampaign


def coordinators(runtime: Runtime, count: int) -> list[tuple[Lease, Shard]]:
    shards = [Shard() for _ in range(count)]
    return [(Lease(runtime, shard, f"c{index}"), shard) for index, shard in enumerate(shards)]


async def settle(*leases: Lease) -> None:
    for _ in range(3):  # one round to be seen, one to give up, one to take
        for lease in leases:
            await lease.run_once()


async def expire(db: AsyncEngine, owner: str) -> None:
    """As if `owner` had died `lease_s` ago."""
    async with db.begin() as conn:
        await conn.execute(
            text("update campaigns set lease_until = now() - interval '1 s' where lease_owner = :o"), {"o": owner}
        )
        await conn.execute(
            text("update leaders set expires_at = now() - interval '1 s' where owner = :o"), {"o": owner}
        )


@pytest.mark.parametrize(("campaigns", "count", "most"), [(1, 2, 1), (4, 2, 2), (5, 2, 3), (7, 3, 3)])
async def test_shares_are_fair_and_complete(
    runtime: Runtime, make_campaign: MakeCampaign, campaigns: int, count: int, most: int
) -> None:
    ids = {(await make_campaign()).id for _ in range(campaigns)}
    parts = coordinators(runtime, count)
    await settle(*(lease for lease, _ in parts))
    held = [set(shard.walks) for _, shard in parts]
    assert set().union(*held) == ids
    assert sum(map(len, held)) == campaigns  # nobody's twice
    assert max(map(len, held)) <= most


async def test_a_dead_coordinators_campaigns_are_taken_over_with_a_new_epoch(
    runtime: Runtime, make_campaign: MakeCampaign, db: AsyncEngine
) -> None:
    ids = {(await make_campaign()).id for _ in range(4)}
    (dead, dead_shard), (heir, heir_shard) = coordinators(runtime, 2)
    await settle(dead, heir)
    orphans = set(dead_shard.walks)
    await expire(db, "c0")
    await heir.run_once()
    assert set(heir_shard.walks) == ids
    assert {heir_shard.walks[each].epoch for each in orphans} == {2}
    await dead.run_once()  # it was only stopped: it learns that it holds nothing
    assert not orphans & set(dead_shard.walks)


async def test_an_heir_looks_when_a_lease_runs_out_and_not_only_when_it_renews(
    runtime: Runtime, make_campaign: MakeCampaign, db: AsyncEngine
) -> None:
    await make_campaign()
    (dead, _), (heir, _) = coordinators(runtime, 2)
    await settle(dead, heir)
    assert heir.every_s == runtime.settings.lease_s / 3
    async with db.begin() as conn:
        await conn.execute(text("update leaders set expires_at = now() + interval '0.3 s' where owner = 'c0'"))
    await heir.run_once()
    assert heir.every_s < 0.35
    await expire(db, "c0")
    await heir.run_once()
    assert heir.every_s == runtime.settings.lease_s / 3


async def test_leaving_hands_over_at_once(runtime: Runtime, make_campaign: MakeCampaign) -> None:
    ids = {(await make_campaign()).id for _ in range(3)}
    (leaving, _), (staying, shard) = coordinators(runtime, 2)
    await settle(leaving, staying)
    held = await leaving.release_all()
    assert set(held) < ids
    await staying.run_once()
    assert set(shard.walks) == ids


async def test_only_live_campaigns_are_leased(
    runtime: Runtime, lease: Lease, make_campaign: MakeCampaign, shard: Shard
) -> None:
    for status in ("created", "paused", "completed", "failed"):
        await make_campaign(status=status)
    live = {(await make_campaign(status=status)).id for status in ("dialing", "cancelled")}
    await lease.run_once()
    assert set(shard.walks) == live


async def test_a_paused_campaign_is_dropped_and_a_resumed_one_taken_at_once(
    runtime: Runtime, lease: Lease, make_campaign: MakeCampaign, shard: Shard, db: AsyncEngine
) -> None:
    campaign = await make_campaign()
    await lease.run_once()

    async def set_status(status: str) -> None:
        async with db.begin() as conn:
            await conn.execute(text("update campaigns set status = :s"), {"s": status})

    await set_status("paused")
    await lease.run_once()
    assert not shard.walks
    assert [walk.campaign.id for walk in shard.ended] == [campaign.id]
    await set_status("dialing")
    await lease.run_once()
    assert set(shard.walks) == {campaign.id}


async def test_a_renewal_reads_what_has_changed(
    lease: Lease, make_campaign: MakeCampaign, shard: Shard, db: AsyncEngine
) -> None:
    campaign = await make_campaign(calls_per_second=5)
    await lease.run_once()
    async with db.begin() as conn:
        await conn.execute(text("update campaigns set calls_per_second = 9"))
    await lease.run_once()
    walk = shard.walks[campaign.id]
    assert (walk.campaign.calls_per_second, walk.epoch) == (9, 1)
