"""`carillon dev` and `carillon demo` as their users run them: what they answer, and that nothing of them is left."""

import asyncio
import csv
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from api_min.cli.demo.prospects import PROSPECTS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ROWS = 300
LONGEST_S = 120.0
STATS = {
    "total", "queued", "dialing", "completed", "failed", "cancelled", "noAnswer", "busy", "voicemail",
    "humanConnected", "sending", "sent", "delivered", "progress",
}  # fmt: skip
# The bodies of reference 004; its placeholders for host and key are all that is changed.
VOICE = """{
"name": "Q1 SoCal Outreach",
"channel": "voice",
"mode": {
"ai": true,
"voicemailAudioUrl": "https://example.com/vm.mp3",
"calls_per_second": 10,
"max_retries": 2,
"retry_delay": "4h"
},
"callerIds": ["+19495551000", "+17145551000"],
"callerIdStrategy": {
"selection": "health_score",
"local_presence": true
},
"schedule": {
"timezone": "America/Los_Angeles",
"startHour": 9,
"endHour": 19,
"days": [1, 2, 3, 4, 5]
}
}"""
SMS = """{
"name": "March Follow-Up Texts",
"channel": "sms",
"mode": {
"message": "Hi, this is Trunx following up on your inquiry. Reply YES to schedule a call."
},
"callerIds": ["+19495551000", "+17145551000"],
"schedule": {
"timezone": "America/Los_Angeles"
}
}"""
PHONES = ["+17145551001", "+16195551002", "+18185551003"]


class Command:
    """A running `carillon …`, its output read line by line, and every process below it."""

    def __init__(self, temporary: Path, *arguments: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.endswith("_URL")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "api_min.cli.main", *arguments],
            cwd=ROOT,
            env=environment | {"TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""
        self._below: set[psutil.Process] = set()

    def until(self, pattern: str) -> str:
        """Reads up to the line that has `pattern`; answers its first group."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if found := re.search(pattern, line):
                self._below |= set(psutil.Process(self.process.pid).children(recursive=True))
                return found[1]
        raise AssertionError(f"it ended: {self.output}")

    def wait(self) -> int:
        rest, _ = self.process.communicate(timeout=LONGEST_S)
        self.output += rest
        return self.process.returncode

    def assert_nothing_runs(self) -> None:
        assert self._below
        _, alive = psutil.wait_procs(self._below, timeout=30.0)
        assert alive == []


@pytest.fixture
def temporary() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="carillon-test-") as name:
        Path(name).chmod(0o711)  # for the account that PostgreSQL runs under
        yield Path(name)


@pytest.fixture
def command(temporary: Path) -> Iterator[Any]:
    started: list[Command] = []

    def start(*arguments: str) -> Command:
        started.append(Command(temporary, *arguments))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.communicate()


@pytest.fixture
def few(temporary: Path) -> Path:
    """The first rows of the demo's list."""
    file = temporary / "few.csv"
    with PROSPECTS.open(encoding="utf-8-sig", newline="") as source, file.open("w", newline="") as target:
        writer = csv.writer(target)
        writer.writerows(row for row, _ in zip(csv.reader(source), range(ROWS + 1), strict=False))
    return file


async def test_the_sequence_of_reference_004_against_dev(command: Any, temporary: Path) -> None:
    dev: Command = command("dev", "--folder", str(temporary / "data"))
    url = await asyncio.to_thread(dev.until, r"ready: (http://\S+)")
    key = await asyncio.to_thread(dev.until, r"key: (tk_test_\S+)")
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session:
        await _play(session, f"{url}/api/campaigns")
    dev.process.kill()
    dev.wait()
    dev.assert_nothing_runs()


async def _play(session: aiohttp.ClientSession, campaigns: str) -> None:
    async def post(url: str, body: str | None = None) -> Any:
        headers = {"Content-Type": "application/json"} if body else {}
        async with session.post(url, data=body, headers=headers) as answer:
            assert answer.status in (200, 201), await answer.text()
            return await answer.json()

    async def get(url: str) -> Any:
        async with session.get(url) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    voice = await post(campaigns, VOICE)
    sms = await post(campaigns, SMS)
    assert voice == {"id": voice["id"], "name": "Q1 SoCal Outreach", "status": "created", "channel": "voice"}
    assert sms == {"id": sms["id"], "name": "March Follow-Up Texts", "status": "created", "channel": "sms"}
    assert voice["id"].startswith("camp_")
    assert await get(campaigns) == {"campaigns": [voice, sms]}
    for campaign in (voice, sms):
        one = f"{campaigns}/{campaign['id']}"
        assert await post(f"{one}/prospects", json.dumps({"phones": PHONES})) == {"added": 3}
        listed = (await get(f"{one}/prospects"))["prospects"]
        assert [each["phone"] for each in listed] == PHONES
        assert {tuple(each) for each in listed} == {("id", "campaignId", "phone", "status")}
        assert {(each["campaignId"], each["status"]) for each in listed} == {(campaign["id"], "queued")}
        whole = await get(one)
        assert whole | campaign == whole
        assert whole["stats"].keys() >= STATS
        assert (whole["stats"]["total"], whole["stats"]["queued"]) == (3, 3)
        for action, status in (
            ("start", "dialing"),
            ("pause", "paused"),
            ("resume", "dialing"),
            ("cancel", "cancelled"),
        ):
            assert await post(f"{one}/{action}") == campaign | {"status": status}
        stats = await get(f"{one}/stats")
        assert stats.keys() >= STATS
        in_progress = stats["dialing"] + stats["sending"] + stats["sent"]
        assert stats["queued"] + in_progress + stats["completed"] + stats["cancelled"] == stats["total"] == 3


def test_a_small_demo_keeps_every_promise(command: Any, temporary: Path, few: Path) -> None:
    demo: Command = command("demo", "--file", str(few))
    demo.until("(numbers have opted out)")
    code = demo.wait()
    assert code == 0, demo.output
    assert "Every promise held" in demo.output
    assert "FAIL" not in demo.output
    demo.assert_nothing_runs()
    assert list(temporary.iterdir()) == [few]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_demo_leaves_nothing(command: Any, temporary: Path, few: Path, number: signal.Signals) -> None:
    demo: Command = command("demo", "--file", str(few))
    demo.until("(numbers have opted out)")
    demo.process.send_signal(number)
    assert demo.wait() == (130 if number is signal.SIGINT else -number)
    demo.assert_nothing_runs()
    deadline = time.monotonic() + 30.0
    while list(temporary.iterdir()) != [few]:  # a guardian that outlives its parent deletes the data last
        assert time.monotonic() < deadline, list(temporary.iterdir())
        time.sleep(0.05)
