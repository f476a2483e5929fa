"""Numbers bought and given back by real processes: the api asks, a worker does it, the carrier's log judges."""

import asyncio
from typing import Any

import aiohttp
import orjson
import pytest

from tests.acceptance.stack import Stack, until

pytestmark = pytest.mark.slow

WORKERS = ("worker-1", "worker-2")  # all of them


def sold(stack: Stack) -> list[tuple[str, str]]:
    """(action, number) of what the carrier did."""
    lines = [orjson.loads(line) for line in stack.network.carrier_log.read_bytes().splitlines()]
    return [(line["action"], line["number"]) for line in lines if line["type"] == "number" and line["is_new"]]


async def test_numbers_are_bought_over_faults_and_given_back(stack: Stack) -> None:
    async with stack.api() as api:
        found = await api.get("/api/dids/search?areaCode=303&quantity=3")
        numbers = [offer["number"] for offer in found["available"]]
        await stack.set_faults(error_after_accept=1.0)  # each is sold, and each answer is lost
        bought = await api.post("/api/dids/purchase", {"numbers": numbers})
        await stack.set_faults(error_after_accept=0.0)
        assert [did["state"] for did in bought["purchased"]] == ["warming"] * 3
        assert sold(stack) == [("bought", number) for number in numbers]

        released = await _delete(stack, numbers[0])
        assert released == {"number": numbers[0], "state": "released"}
        assert sold(stack)[-1] == ("released", numbers[0])

        for worker in WORKERS:
            await asyncio.to_thread(stack.supervisor.kill, worker)
        asked = asyncio.create_task(_delete(stack, numbers[1]))
        for worker in WORKERS:
            await asyncio.to_thread(stack.supervisor.restart, worker)
        await asked
        await until(lambda: sold(stack)[-1] == ("released", numbers[1]), "the second number to be given back")
    await stack.check(["P2", "P4", "P6", "P7"])


async def _delete(stack: Stack, number: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {stack.key}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.delete(f"{stack.url}/api/dids/{number}") as answer,
    ):
        assert answer.status in (200, 202), await answer.text()
        body: dict[str, Any] = await answer.json()
        return body
