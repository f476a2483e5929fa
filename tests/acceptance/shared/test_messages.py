"""Messages sent one at a time, through real processes: once each, at the number's rate, and billed as they went."""

import asyncio
from collections import Counter

import orjson
import pytest

from api_min.cli.demo.client import Api
from api_min.cli.demo.prospects import senders
from engine.checks.limits import excess_over
from tests.acceptance.shared.conftest import ONE_OFF_RATE as RATE
from tests.acceptance.stack import Stack, phones, until

pytestmark = pytest.mark.slow

TERMINAL = {"delivered", "failed", "unknown"}
FAULTS = {
    "rate_limit": 0.05,
    "drop_before_accept": 0.05,
    "error_after_accept": 0.05,
    "drop_after_accept": 0.05,
    "callback_double": 0.1,
    "callback_late": 0.1,
    "callback_lost": 0.03,
}


async def send(api: Api, from_: str, to: str, **more: object) -> str:
    answer = await api.post("/api/sms", {"from": from_, "to": to, "message": "Your order is ready.", **more})
    assert answer["status"] == "queued"
    return str(answer["id"])


async def statuses(api: Api, ids: list[str]) -> Counter[str]:
    """Of all messages so far, read as a client would: by pages."""
    found: dict[str, str] = {}
    query: dict[str, str] = {"limit": "500"}
    while True:
        page = await api.get("/api/sms", **query)
        found |= {message["id"]: message["status"] for message in page["messages"]}
        if page["nextCursor"] is None:
            return Counter(found[each] for each in ids)
        query["cursor"] = page["nextCursor"]


async def sent(api: Api) -> int:
    """The parts of all texts so far, as they are billed."""
    usage = {row["meter"]: row["total"] for row in (await api.get("/api/billing/usage"))["usage"]}
    return int(usage.get("sms.send", 0))


async def until_over(api: Api, ids: list[str]) -> Counter[str]:
    async def are_over() -> bool:
        return (await statuses(api, ids)).keys() <= TERMINAL

    await until(are_over, "all messages are over", timeout_s=240)
    return await statuses(api, ids)


async def test_a_number_sends_at_its_rate(stack: Stack) -> None:
    number, people = senders()[-1], phones(40, first=2200)
    async with stack.api() as api:
        ids = await asyncio.gather(*(send(api, number, to) for to in people))
        assert (await until_over(api, list(ids))).total() == 40
    creates = sorted((create for create in stack.creates() if create.from_ == number), key=lambda create: create.at)
    assert len(creates) == 40
    times, lags = [create.at for create in creates], [create.lag_s for create in creates]
    assert excess_over(times, RATE, 0.05, lags) <= 0
    assert times[-1] - times[0] >= 39 / RATE  # and not at once


async def test_media_reach_the_carrier(stack: Stack) -> None:
    to, urls = phones(1, first=2300)[0], ["https://example.com/a.jpg"]
    async with stack.api() as api:
        await until_over(api, [await send(api, senders()[1], to, mediaUrls=urls)])
    lines = [orjson.loads(line) for line in stack.network.carrier_log.read_bytes().splitlines()]
    (create,) = [line for line in lines if line["type"] == "create" and line["to"] == to]
    assert (create["text"], create["media"]) == ("Your order is ready.", urls)


async def test_kills_a_flush_and_a_bad_carrier_send_nothing_twice(stack: Stack) -> None:
    """P2 for single messages: whatever dies and whatever answer is lost."""
    people = phones(120, first=2400)
    await stack.set_faults(**FAULTS)
    try:
        async with stack.api() as api:
            billed_before = await sent(api)
            ids: list[str] = []
            for number, victim in enumerate(["worker-1", "coordinator", "worker-2"]):
                part = people[40 * number : 40 * (number + 1)]
                ids += await asyncio.gather(*(send(api, senders()[n % 6], to) for n, to in enumerate(part)))
                await asyncio.to_thread(stack.kill_and_restart, victim)
                if number == 1:
                    await asyncio.to_thread(stack.flush_redis)
            over = await until_over(api, ids)
            billed = await sent(api) - billed_before
    finally:
        await stack.set_faults(**dict.fromkeys(FAULTS, 0.0))
    assert over.total() == len(people)
    assert over["delivered"] > len(people) / 2
    accepted = Counter(create.to for create in stack.creates() if create.accepted)
    assert max(accepted[to] for to in people) == 1
    assert billed == sum(accepted[to] for to in people)  # each took one part
    await stack.check()
