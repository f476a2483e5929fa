"""The primary dies in the middle of a campaign and its synchronous standby takes over: what was acknowledged is there.

`deploy/failover.md` describes the same for operators.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import orjson
import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from api_min.cli import check
from api_min.cli.demo.client import Api, ServerEvent
from engine.store.database import connect
from tests.acceptance.pair import Pair, primary_and_standby
from tests.acceptance.stack import Stack, create, phones, running_stack, until, until_completed

pytestmark = pytest.mark.slow

PEOPLE = 700
KILL_AFTER = 300  # creates
PACE = 120  # a second: as many may still be under way, with a slot and an intent of the old primary
RECOVERY_S = 20.0
SETTINGS = {
    "CARILLON_HINT_LEASE_S": "4",
    "CARILLON_CARRIER_TIMEOUT_S": "2",
    "CARILLON_RECONCILE_AFTER_S": "1",
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with primary_and_standby(tmp_path_factory.mktemp("pair") / "servers") as pair:
        yield pair


@pytest.fixture(scope="module")
def stack(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DATABASE_URL", pair.url)
        with running_stack(tmp_path_factory.mktemp("failover"), coordinators=2, **SETTINGS) as stack:
            yield stack


async def test_nobody_is_lost_or_called_twice_by_a_failover(stack: Stack, pair: Pair) -> None:
    mode = {"calls_per_second": PACE, "ai": True}
    async with stack.api() as api, followed(api) as seen:
        campaign = await create(api, phones(PEOPLE), mode)
        await until(lambda: len(stack.creates()) >= KILL_AFTER and seen, f"{KILL_AFTER} calls before the primary dies")
        await asyncio.to_thread(pair.fail_over)
        called, promoted = len(stack.creates()), time.monotonic()
        await until(lambda: len(stack.creates()) > called + PACE, "calls after the failover", RECOVERY_S)
        print(f"calls of new intents {time.monotonic() - promoted:.1f} s after the promotion")
        found = await until_completed(api, campaign)
        assert found["completed"] == found["total"] == PEOPLE
        # No gap, no repeat, and nothing that was shown is different now. The last statistics may still be on their way.
        await until(lambda: seen == recorded(pair), "exactly what is recorded to have been seen")
    await stack.check()


def test_carillon_check_judges_the_promoted_server(stack: Stack, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**stack.servers.environment(), "DATABASE_URL": pair.url}.items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(check.app, ["--carrier-log", str(stack.network.carrier_log)])
    assert done.exit_code == 0, done.output
    assert "PASS  P2  creates_were_intended" in done.output


async def test_an_old_primary_that_comes_back_acknowledges_nothing(stack: Stack, pair: Pair) -> None:
    await asyncio.to_thread(pair.primary.start)
    old = connect(pair.primary.url, pool_size=1, statement_timeout_ms=1000)  # which a waiting commit does not end
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3.0), old.begin() as conn:
                await conn.execute(text("update campaigns set name = name"))
    finally:
        await old.dispose()
        await asyncio.to_thread(pair.primary.kill)
    async with stack.api() as api:  # its clients have stayed with the new one
        await create(api, phones(10, first=PEOPLE), {"ai": True}, start=False)


@asynccontextmanager
async def followed(api: Api) -> AsyncIterator[list[ServerEvent]]:
    """The events of the account, as a client that comes back with its last id sees them."""
    seen: list[ServerEvent] = []

    async def follow() -> None:
        nonlocal seen
        async for event in api.events(0):
            seen += [event]

    task = asyncio.create_task(follow())
    try:
        yield seen
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def recorded(pair: Pair) -> list[ServerEvent]:
    """All events, as the promoted server has them."""
    found = orjson.loads(
        pair.standby.ask(
            "select json_agg(json_build_array(seq, body->'type', body->'payload') order by seq)::text from events"
        )
    )
    return [ServerEvent(*each) for each in found]
