"""Processes are parted from their servers in the middle of a campaign, one after the other: nobody is lost, nobody is
contacted twice, the others go on, and within seconds of the mending so does the one that was parted.

One campaign for all: what costs time is the end of each.
"""

import time
from collections.abc import Callable, Iterator

import pytest

from tests.acceptance.stack import create, phones, until, until_completed
from tests.network.namespaces import Network
from tests.network.world import CARRIER, POSTGRES, REDIS, World, running_world

pytestmark = pytest.mark.slow

PACE = 40  # calls a second
PEOPLE = 1500
GO_ON_S = 40.0
HEALS_S = 20.0  # far below the minutes that TCP would take by itself; a quiet machine needs a fifth of it
WORKER = "worker-1"
CREATES, LEASES = "carillon_creates_total", "carillon_leases_held"


@pytest.fixture(scope="module")
def world(namespaces: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    network = Network()
    with running_world(network, tmp_path_factory.mktemp("world")) as world:
        yield world
    network.close()


async def test_partitions_lose_nobody_and_contact_nobody_twice(world: World) -> None:
    stack = world.stack
    async with stack.api() as api:
        campaign = await create(api, phones(PEOPLE), {"calls_per_second": PACE, "ai": True})
        await others_go_on(world, 1)
        await part_worker(world, REDIS, world.cut, world.mend)
        await part_worker(world, POSTGRES, world.cut, world.mend)
        await part_worker(world, CARRIER, world.cut, world.mend)
        # In the middle of its requests: the carrier has them, and the worker does not know.
        await part_worker(world, CARRIER, world.cut_answers, world.mend_answers)
        await part_coordinator(world)
        assert (await api.get(f"/api/campaigns/{campaign}"))["status"] == "dialing"  # or nothing was tested
        found = await until_completed(api, campaign)
    assert found["completed"] == found["total"] == PEOPLE
    await stack.check()


Link = Callable[[str, str], None]


async def part_worker(world: World, server: str, cut: Link, mend: Link) -> None:
    cut(WORKER, server)
    try:
        # Longer than it takes the worker to notice, which for PostgreSQL is five seconds.
        await others_go_on(world, 6 if server == POSTGRES else 3)
    finally:
        mend(WORKER, server)
    before = await world.figure(WORKER, CREATES)
    begun = time.monotonic()

    async def acts() -> bool:
        return await world.figure(WORKER, CREATES) > before + PACE

    await until(acts, f"{WORKER} acts again after it was parted from {server}", HEALS_S)
    print(f"{WORKER} and {server}: at work again after {time.monotonic() - begun:.1f} s")


async def part_coordinator(world: World) -> None:
    """From its lease. It may believe in it as long as it likes: the other has it, by the database's clock."""
    held = {name: await world.figure(name, LEASES) for name in ("coordinator-1", "coordinator-2")}
    owner, other = sorted(held, key=held.__getitem__, reverse=True)
    assert (held[owner], held[other]) == (1, 0)
    world.cut(owner, POSTGRES)
    try:
        await until(lambda: world.has(other, LEASES, 1), f"{other} takes the campaign over", HEALS_S)
        assert await world.has(owner, LEASES, 1)  # two believe in it, and the pace is still that of one
        await others_go_on(world, 2)
    finally:
        world.mend(owner, POSTGRES)
    begun = time.monotonic()
    await until(lambda: world.has(owner, LEASES, 0), f"{owner} gives it up", HEALS_S)
    assert await world.has(other, LEASES, 1)
    print(f"{owner}: knew after {time.monotonic() - begun:.1f} s")


async def others_go_on(world: World, seconds: int) -> None:
    """For as long as `seconds` of calls take at the campaign's pace."""
    at = len(world.stack.creates())
    await until(lambda: len(world.stack.creates()) > at + seconds * PACE, "the campaign goes on", GO_ON_S)
