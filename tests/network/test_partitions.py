"""A process is parted from one of its servers in the middle of a campaign: nobody is lost, nobody is contacted twice,
the others go on, and within seconds of the mending so does it."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from tests.acceptance.stack import create, phones, until, until_completed
from tests.network.namespaces import Network
from tests.network.world import CARRIER, POSTGRES, REDIS, World, running_world

pytestmark = pytest.mark.slow

PACE = 60
PEOPLE = 300
HEALS_S = 15.0  # far below what TCP would take by itself; a quiet machine needs a third of it


@pytest.fixture(scope="module")
def world(namespaces: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    network = Network()
    with running_world(network, tmp_path_factory.mktemp("world")) as world:
        yield world
    network.close()


@pytest.mark.parametrize(("number", "server"), list(enumerate([REDIS, POSTGRES, CARRIER])))
async def test_a_worker(world: World, number: int, server: str) -> None:
    t0 = time.monotonic()
    stack, worker = world.stack, "worker-1"
    async with campaign(world, number):
        print("under way", time.monotonic() - t0)
        world.cut(worker, server)
        try:
            at = len(stack.creates())
            await until(lambda: len(stack.creates()) > at + PACE, "the other worker goes on", 30.0)
            print("other goes on", time.monotonic() - t0)
        finally:
            world.mend(worker, server)
        at = await world.figure(worker, "carillon_creates_total")
        await acts_again(world, worker, "carillon_creates_total")
        print("again", time.monotonic() - t0)
    print("completed", time.monotonic() - t0)
    await stack.check()
    print("checked", time.monotonic() - t0)


async def acts_again(world: World, process: str, figure: str) -> None:
    """Within `HEALS_S`."""
    before = await world.figure(process, figure)

    async def acts() -> bool:
        return await world.figure(process, figure) > before

    await until(acts, f"{process} acts again", HEALS_S)


@asynccontextmanager
async def campaign(world: World, number: int) -> AsyncIterator[str]:
    """The `number`-th of these tests: under way at first, and completed at the end."""
    stack = world.stack
    before = len(stack.creates())
    async with stack.api() as api:
        people = phones(PEOPLE, number * PEOPLE)
        found = await create(api, people, {"calls_per_second": PACE, "ai": True})
        await until(lambda: len(stack.creates()) > before + PACE, "the campaign is under way")
        yield found
        stats = await until_completed(api, found)
    assert stats["completed"] == stats["total"] == PEOPLE
