"""Progressive pacing by the carrier's own log: several workers and coordinators, one killed, Redis flushed."""

import asyncio
from collections.abc import Iterator
from itertools import accumulate

import orjson
import psycopg
import pytest

from engine.ids import parse_attempt_ref
from tests.acceptance.stack import Stack, create, phones, running_stack, until, until_completed

pytestmark = pytest.mark.slow

AGENTS = 4
PEOPLE = 48


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {
        "CARILLON_HINT_LEASE_S": "4",  # what died with a queue or a worker is enqueued again after this
        "CARILLON_CARRIER_TIMEOUT_S": "2",
        "CARILLON_RECONCILE_AFTER_S": "1",
    }
    with running_stack(tmp_path_factory.mktemp("agents"), coordinators=2, **settings) as stack:
        yield stack


async def test_never_more_calls_are_up_than_there_are_agents(stack: Stack) -> None:
    agent = {"kind": "ws_media", "url": stack.network.agent_url, "capacity": AGENTS}
    async with stack.api() as api:
        campaign = await create(api, phones(PEOPLE), {"calls_per_second": 20, "agent": agent})
        await until(lambda: len(stack.creates()) >= PEOPLE // 4, "some calls before the death of a worker")
        await asyncio.to_thread(stack.kill_and_restart, "worker-1")
        await until(lambda: len(stack.creates()) >= PEOPLE // 2, "some calls before the flush")
        await asyncio.to_thread(stack.flush_redis)
        found = await until_completed(api, campaign)
    assert found["completed"] == PEOPLE
    assert 0 <= found["abandonRate"] <= 1
    fullest = most_up(stack)
    assert AGENTS / 2 <= fullest <= AGENTS
    await stack.check()


def most_up(stack: Stack) -> int:
    """The most calls at one time that a person might have answered, or did. Machines need no agent."""
    machines = machine_refs(stack)
    steps: list[tuple[float, int]] = []
    for line in stack.network.carrier_log.read_bytes().splitlines():
        entry = orjson.loads(line)
        if entry.get("ref") in machines:
            continue
        if entry["type"] == "create" and entry["accepted"]:
            steps.append((entry["at"], 1))
        elif entry["type"] == "end":
            steps.append((entry["at"], -1))
    return max(accumulate(change for _, change in sorted(steps)))


def machine_refs(stack: Stack) -> set[str]:
    with psycopg.connect(stack.servers.database_url) as conn:
        query = "select prospect_id, attempt from attempts where amd in ('machine', 'machine_ready', 'fax')"
        rows = conn.execute(query).fetchall()
    known = {parse_attempt_ref(create.ref): create.ref for create in stack.creates()}
    return {ref for key, ref in known.items() if key is not None and key[1:] in set(rows)}
