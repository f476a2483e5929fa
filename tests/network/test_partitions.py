"""A process is parted from one of its servers in the middle of a campaign: nobody is lost, nobody is contacted twice,
the others go on, and within seconds of the mending so does it."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from tests.acceptance.stack import create, phones, until, until_completed
from tests.network.namespaces import Network
from tests.network.world import CARRIER, POSTGRES, REDIS, World, running_world

pytestmark = pytest.mark.slow

PACE = 60
HEALS_S = 15.0  # far below what TCP would take by itself; a quiet machine needs a third


@pytest.fixture(scope="module")
def world(namespaces: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    network = Network()
    with running_world(network, tmp_path_factory.mktemp("world")) as world:
        yield world
    network.close()


@pytest.mark.parametrize(
    ("server", "first", "sign"),
    [(REDIS, 0, "consumer"), (POSTGRES, 400, "batch.failed"), (CARRIER, 800, "")],
)
async def test_a_worker(world: World, server: str, first: int, sign: str) -> None:
    stack, worker = world.stack, "worker-1"
    async with campaign(world, first, 400):
        world.cut(worker, server)
        try:
            at = len(stack.creates())
            await until(lambda: len(stack.creates()) > at + PACE, "the other worker goes on", 30.0)
        finally:
            world.mend(worker, server)
        at = await world.figure(worker, "carillon_creates_total")
        await heals(world, worker, at)
    await stack.check()


async def heals(world, worker, at):
    begun = time.monotonic()

    async def acts() -> bool:
        return await world.figure(worker, "carillon_creates_total") > at + 10

    await until(acts, f"{worker} acts again", HEALS_S)
    print(f"{worker} acted again after {time.monotonic() - begun:.1f} s")


@asynccontextmanager
async def campaign(world: World, first: int, people: int) -> AsyncIterator[str]:
    """Under way at first, and completed at the end."""
    stack = world.stack
    before = len(stack.creates())
    async with stack.api() as api:
        found = await create(api, phones(people, first), {"calls_per_second": PACE, "ai": True})
        await until(lambda: len(stack.creates()) > before + PACE, "the campaign is under way")
        yield found
        stats = await until_completed(api, found)
    assert stats["completed"] == stats["total"] == people
