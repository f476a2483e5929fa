"""A person answers: every process real, `carillon sim` as the phone, the carrier's own log as the judge."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from api_min.cli.demo.prospects import senders
from engine.rules.telephony import Channel
from tests.acceptance.stack import Stack, create, phones, stats, until

pytestmark = pytest.mark.slow

OURS = senders()[0]
PERSON, *OTHERS = phones(4, first=2900)
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


async def sim(stack: Stack, *arguments: str) -> str:
    """`carillon sim …`, which finds network and api in the environment."""
    command = [sys.executable, "-m", "api_min.cli.main", "sim", *arguments]
    done = await asyncio.to_thread(
        subprocess.run, command, env={**os.environ, **stack.environment}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def texts_to(stack: Stack, person: str) -> list[Any]:
    return [each for each in stack.creates() if each.accepted and each.to == person and each.channel is Channel.SMS]


async def test_stop_is_confirmed_within_seconds_and_ends_everything(stack: Stack) -> None:
    async with stack.api() as api:
        waiting = await create(api, [PERSON, *OTHERS], {"calls_per_second": 1}, start=False)
        await sim(stack, "text", "--from", PERSON, "--to", OURS, "Hello")
        before = time.monotonic()
        assert "taken by" in await sim(stack, "text", "--from", PERSON, "--to", OURS, "Stop, please!")
        await until(lambda: texts_to(stack, PERSON), "the confirmation", timeout_s=30.0)
        waited_s = time.monotonic() - before
        await sim(stack, "text", "--from", PERSON, "--to", OURS, "STOP")
        await api.post(f"/api/campaigns/{waiting}/start")

        async def has_called_the_rest() -> bool:
            return (await stats(api, waiting))["queued"] == 0

        await until(has_called_the_rest, "the others to be called")
        found = await stats(api, waiting)
    assert (found["total"], found["cancelled"], found["suppressed"]) == (4, 1, 1)
    assert [each.from_ for each in texts_to(stack, PERSON)] == [OURS]  # one confirmation, from the number written to
    assert not [each for each in stack.creates() if each.to == PERSON and each.channel is Channel.VOICE]
    assert waited_s < 30
    await stack.check()


async def test_an_mms_is_served_soon_after_it_came(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "look.png").write_bytes(PICTURE)
    await sim(stack, "text", "--from", PERSON, "--to", OURS, "look", "--media", str(tmp_path / "look.png"))
    name = await _newest_message(stack)
    async with stack.api() as api:

        async def is_ready() -> bool:
            (component,) = (await api.get(f"/api/sms/{name}/components"))["components"]
            return bool(component["status"] == "ready" and component["size"] == len(PICTURE))

        await until(is_ready, "the picture", timeout_s=30.0)


async def test_a_call_rings_and_is_told(stack: Stack) -> None:
    printed = await sim(stack, "call", "--from", PERSON, "--to", OURS)
    assert printed.startswith("CA")
    event = await _newest(stack, "voice.inbound")
    assert (event["from"], event["to"]) == (PERSON, OURS)


async def _newest_message(stack: Stack) -> str:
    return str((await _newest(stack, "sms.received"))["id"])


async def _newest(stack: Stack, name: str) -> dict[str, Any]:
    """The payload of the newest event of a type, from the stream."""
    found: list[dict[str, Any]] = []
    url = f"{stack.url}/api/events?token={stack.key}&lastEventId=0"
    async with asyncio.timeout(30), aiohttp.ClientSession() as session, session.get(url) as answer:
        async for line in answer.content:
            if line.startswith(b"data: ") and json.loads(line[6:]).get("eventType") == name:
                found.append(json.loads(line[6:])["payload"])
                if found[-1].get("mediaUrls") or name == "voice.inbound":
                    break
    return found[-1]
