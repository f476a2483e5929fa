"""Clients that others wrote, over a real server: what they print is one JSON object for each event they saw."""

import asyncio
import base64
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from api_min import sms_stream
from api_min.sms_stream import Lifetime
from engine.feed.hub import Hub
from engine.rules.events import Event
from tests.feed.conftest import AT, eventually, relaying, write
from tests.feed.serving import Server, serving

HERE = Path(__file__).parent
INSTALL_S = 60
CONSOLE = ":CONSOLE"
HEARTBEAT_S = 0.05


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pinned packages of npm, and our script beside them."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("npm")
    for name in ("package.json", "package-lock.json", "follow.mjs"):
        shutil.copy(HERE / name, folder)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=INSTALL_S)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"the registry of npm does not answer: {str(error.stderr)[-200:]}")
    return folder


@pytest.fixture
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("chromium is not installed")
    return found


@pytest.fixture
async def stage(db: AsyncEngine, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Server, Hub]]:
    """A server with a heartbeat every 50 ms and SMS streams that live for half a second, and a relay."""
    monkeypatch.setattr(sms_stream, "RETRY_MS", (50, 100))
    async with (
        Hub(db, redis, heartbeat_s=HEARTBEAT_S) as hub,
        serving(hub, lifetime=Lifetime(0.4, 0.6)) as server,
        relaying(db, redis),
    ):
        yield server, hub


def text(number: int) -> str:
    payload = {
        "id": f"msg_{number}",
        "from": "+14155551234",
        "to": "+14155559999",
        "message": f"text {number} ✓ Grüße",
        "direction": "inbound",
        "created_at": "2026-05-22T18:30:00.000Z",
    }
    return Event("sms.received", AT, payload, f"trk_{number}", f"msg_{number}").encode()


def seen_of(event: Mapping[str, object]) -> str:
    """The text's own number, whatever the dialect."""
    data = event["data"]
    assert isinstance(data, dict), event
    return str(data["message_id"] if "message_id" in data else data["payload"]["id"])


class Program:
    """A running client program and the events that it has told of."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.events: list[dict[str, object]] = []
        self.said: list[str] = []

    def of(self, client: str, name: str = "") -> list[dict[str, object]]:
        return [event for event in self.events if event["client"] == client and name in ("", event["event"])]

    async def read(self, stream: asyncio.StreamReader) -> None:
        async for line in stream:
            words = line.decode(errors="replace").strip()
            if words.startswith("{"):
                self.events.append(orjson.loads(words))
            elif CONSOLE in words:
                self.events.append(orjson.loads(base64.b64decode(words.split('"')[1])))
            else:
                self.said.append(words)


@asynccontextmanager
async def program(command: Sequence[str], folder: Path) -> AsyncIterator[Program]:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    running = Program(process)
    readers = [asyncio.create_task(running.read(stream)) for stream in (process.stdout, process.stderr)]
    try:
        yield running
    finally:
        process.kill()
        await process.wait()
        await asyncio.gather(*readers)


async def tell_texts(db: AsyncEngine, first: int, last: int) -> None:
    """One after the other, over about as long as two connections live."""
    for number in range(first, last + 1):
        await write(db, 1, [text(number)])
        await asyncio.sleep(0.02)  # the streams' lifetimes pass meanwhile


async def follows_without_gap(running: Program, hub: Hub, db: AsyncEngine, clients: Sequence[str]) -> None:
    """60 texts reach each client once and in order, while SMS streams end by themselves and all are cut once."""

    def have(number: int) -> bool:
        return all(f"msg_{number}" in map(seen_of, messages(running, client)) for client in clients)

    await eventually(lambda: len(hub._subscriptions) == len(clients))
    await tell_texts(db, 1, 30)
    await eventually(lambda: have(30))
    hub.cut_all()
    await tell_texts(db, 31, 60)
    await eventually(lambda: have(60))
    for client in clients:
        assert [seen_of(event) for event in messages(running, client)] == [f"msg_{n}" for n in range(1, 61)], client
        if client.endswith("sms"):
            assert len(running.of(client, "connected")) >= 3


def messages(running: Program, client: str) -> list[dict[str, object]]:
    return [event for event in running.of(client) if event["event"] != "connected"]
