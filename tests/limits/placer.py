"""One of several processes that want more than the limit: it takes slots, notes them, and places a call at each.

`python placer.py REDIS_URL NETWORK_URL RATE SECONDS FILE NAME`. FILE gets one line per slot: its stamp (µs of Redis's
clock) as it was granted, before anything is done with it; and one `missed` for each that came too late on a machine as
busy as this one.
"""

import asyncio
import itertools
import os
import sys
from pathlib import Path
from typing import TextIO

from redis.asyncio import Redis
from redis.exceptions import RedisError

from engine.carriers import catalog
from engine.carriers.http import HttpOptions
from engine.carriers.port import Carrier, Outcome, PlaceCall, Ticket
from engine.clock import boottime
from engine.limits.slots import Lane, SendSlots, Slot

TICKET_S = 2.0
ASK_S = 0.03
WANTED = 20


async def place(carrier: Carrier, name: str, number: int, slot: Slot, file: TextIO) -> None:
    call = PlaceCall(
        ref=f"{name}-{number}",
        to="+14155550102",
        from_="+12125550100",
        ring_timeout_s=25,
        max_duration_s=60,
        amd=False,
        callback_url="http://127.0.0.1:9/nobody",
    )
    receipt = await carrier.place_call(call, Ticket(boottime() + TICKET_S, slot.at, slot.until))
    if receipt.outcome is not Outcome.ACCEPTED:
        print("missed", file=file)


async def run(redis_url: str, network_url: str, rate: float, seconds: float, file: TextIO, name: str) -> None:
    account = {"base_url": network_url, "account_id": "sim", "secret": "sim-secret", "signing_secret": "x"}
    carrier = catalog.build("simulated-command", account, HttpOptions())
    redis = Redis.from_url(redis_url)
    slots, lanes = SendSlots(redis), (Lane("campaign:1", rate), Lane("carrier:1", 2 * rate), Lane("gate"))
    calls: set[asyncio.Task[None]] = set()
    numbers, end = itertools.count(), boottime() + seconds
    while boottime() < end:
        try:
            (grant,) = await slots.acquire([(lanes, WANTED)])
        except RedisError:
            continue
        for slot in grant.slots:
            print(slot.stamp_us, file=file)
            calls.add(task := asyncio.create_task(place(carrier, name, next(numbers), slot, file)))
            task.add_done_callback(calls.discard)
        file.flush()
        await asyncio.sleep(ASK_S)
    await asyncio.gather(*calls)
    await carrier.close()
    await redis.aclose()


if __name__ == "__main__":
    redis_url, network_url, rate, seconds, path, name = sys.argv[1:]
    with Path(path).open("w") as file:
        asyncio.run(run(redis_url, network_url, float(rate), float(seconds), file, f"{name}-{os.getpid()}"))
