"""What operations do to a campaign that is under way: pause it, add and take workers, lose an api with its streams."""

import asyncio
import itertools
import time
from collections.abc import Sequence

import aiohttp
import pytest

from api_min.cli.demo.client import Api, ServerEvent
from engine.feed.log import EventLog
from engine.store.database import connect
from tests.acceptance.stack import Stack, create, phones, stats, until, until_completed

pytestmark = pytest.mark.slow

AUDIO = "http://127.0.0.1:9/none.wav"  # nobody listens: a recording that cannot be had must not hold a call up


async def test_no_create_begins_after_the_answer_to_a_pause(stack: Stack) -> None:
    async with stack.api() as api:
        campaign = await create(api, phones(450), {"calls_per_second": 100, "ai": True, "voicemailAudioUrl": AUDIO})
        for goal in (100, 200, 300):
            await until(lambda goal=goal: len(_of(stack, campaign)) >= goal, f"{goal} calls")
            await api.post(f"/api/campaigns/{campaign}/pause")
            answered_at = time.time()
            await until(lambda: _is_quiet(api, campaign), "the calls in progress to end")
            late = [create for create in stack.creates() if create.at > answered_at]
            assert late == []
            assert (await stats(api, campaign))["queued"] > 0
            await api.post(f"/api/campaigns/{campaign}/resume")
        found = await until_completed(api, campaign)
    assert found["completed"] == found["total"] == 450
    await stack.check()


async def test_workers_come_and_go_and_an_api_dies_under_its_streams(stack: Stack) -> None:
    second = await asyncio.to_thread(stack.start_api, "api-2")
    async with stack.api() as api, stack.api(second) as other:
        newest = await _newest(stack)
        followers = [Follower((api, other) if n % 2 else (other, api), newest) for n in range(8)]
        tasks = [asyncio.create_task(follower.follow()) for follower in followers]
        campaign = await create(api, phones(800, first=450), {"calls_per_second": 100, "ai": True})
        for count, goal in ((1, 100), (4, 250), (2, 450)):
            await asyncio.to_thread(stack.scale_workers, count)
            await until(lambda goal=goal: len(_of(stack, campaign)) >= goal, f"{goal} calls")
        await asyncio.to_thread(stack.supervisor.kill, "api-2")
        await until(lambda: len(_of(stack, campaign)) >= 550, "550 calls")
        await asyncio.to_thread(stack.supervisor.kill, "api")  # the one that takes the carrier's callbacks
        await asyncio.to_thread(_restart, stack, "api", "api-2")
        found = await until_completed(api, campaign)
        assert found["completed"] == found["total"] == 800
        newest_now = await _newest(stack)
        await until(lambda: all(follower.last >= newest_now for follower in followers), "every stream to catch up")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.to_thread(stack.supervisor.stop, "api-2")
    for follower in followers:
        assert follower.ids == list(range(newest + 1, follower.last + 1))
        assert follower.connections >= 2
    await stack.check()


class Follower:
    """A client that goes to the next api when its own is gone, and says what it saw last."""

    def __init__(self, apis: Sequence[Api], after: int) -> None:
        self._apis, self._after = apis, after
        self.ids: list[int] = []
        self.connections = 0

    @property
    def last(self) -> int:
        return self.ids[-1] if self.ids else self._after

    async def follow(self) -> None:
        for api in itertools.cycle(self._apis):
            try:
                async for event in api.stream(self.last):
                    self._take(event)
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)
            self.connections += 1

    def _take(self, event: ServerEvent) -> None:
        assert not event.type.startswith("replay."), event
        self.ids.append(event.id)


def _restart(stack: Stack, *names: str) -> None:
    for name in names:
        stack.supervisor.restart(name)
        stack.supervisor.wait_ready(name)


def _of(stack: Stack, campaign: str) -> list[str]:
    """The names of the campaign's creates in the carrier's log."""
    return [create.ref for create in stack.creates() if create.ref.startswith(campaign.removeprefix("camp_"))]


async def _is_quiet(api: Api, campaign: str) -> bool:
    return bool((await stats(api, campaign))["dialing"] == 0)


async def _newest(stack: Stack) -> int:
    engine = connect(stack.servers.database_url, pool_size=1)
    try:
        heads = await EventLog(engine).heads([1])
    finally:
        await engine.dispose()
    return heads.newest[1]
