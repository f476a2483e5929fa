"""Real clients connect, resume without gap or repeat, live through heartbeats and the planned end of a connection."""

import asyncio
import threading
from pathlib import Path

import httpx
import httpx_sse
import pytest
import requests
import sseclient
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.feed.hub import Hub
from tests.clients.conftest import follows_without_gap, program, tell_texts, text
from tests.feed.conftest import DEADLINE_S, eventually, record, write
from tests.feed.serving import KEY, Server

pytestmark = pytest.mark.slow

NPM = ("eventsource", "polyfill", "fetch-event-source")


async def test_clients_of_npm(stage: tuple[Server, Hub], db: AsyncEngine, node_modules: Path) -> None:
    server, hub = stage
    async with program(["node", "follow.mjs", server.url, KEY], node_modules) as running:
        clients = [f"{name} {stream}" for name in NPM for stream in ("sms", "events")]
        await follows_without_gap(running, hub, db, clients)


async def test_chromium(stage: tuple[Server, Hub], db: AsyncEngine, chromium: str, tmp_path: Path) -> None:
    server, hub = stage
    page = f"{(Path(__file__).parent / 'page.html').as_uri()}#{server.url},{KEY}"
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--no-first-run"]
    command = [chromium, *flags, f"--user-data-dir={tmp_path}", "--remote-debugging-port=0", page]
    async with program(command, tmp_path) as running:
        await follows_without_gap(running, hub, db, ["chromium sms", "chromium events"])


async def test_httpx_sse(stage: tuple[Server, Hub], db: AsyncEngine) -> None:
    """It leaves reconnecting to its user: the SMS stream ends with an error, and the last id leads on."""
    server, _ = stage
    found: list[tuple[str, str]] = []
    writer = asyncio.create_task(tell_texts(db, 1, 60))
    last_event_id, connections = "0", 0
    async with httpx.AsyncClient() as client, asyncio.timeout(DEADLINE_S):
        while len(found) < 60:
            connections += 1
            headers = {"Authorization": f"Bearer {KEY}", "Last-Event-ID": last_event_id}
            try:
                url = f"{server.url}/api/v1/sms/stream"
                async with httpx_sse.aconnect_sse(client, "GET", url, headers=headers) as source:
                    async for event in source.aiter_sse():
                        last_event_id = event.id
                        if event.event != "connected":
                            found.append((event.event, event.json()["message_id"]))
            except httpx.RemoteProtocolError:  # cut
                continue
    await writer
    assert found == [("sms_received", f"msg_{n}") for n in range(1, 61)]
    assert connections >= 2


async def test_sseclient(stage: tuple[Server, Hub], db: AsyncEngine, redis: Redis) -> None:
    """As reference 000 shows it: requests and sseclient, the key in the URL."""
    server, hub = stage
    await record(db, redis, 1, [text(n) for n in range(1, 6)])
    seen: list[tuple[str, str]] = []

    def follow() -> None:
        url = f"{server.url}/api/events?token={KEY}&channels=sms,voice"
        with requests.get(url, stream=True, headers={"Last-Event-ID": "2"}, timeout=DEADLINE_S) as response:
            client = sseclient.SSEClient(response)
            for event in client.events():
                seen.append((event.event, event.id))
                if event.id == "7":
                    return

    thread = threading.Thread(target=follow)
    thread.start()
    await eventually(lambda: len(hub._subscriptions) == 1)
    await eventually(lambda: len(seen) == 3)
    await write(db, 1, [text(6), text(7)])
    await asyncio.to_thread(thread.join, DEADLINE_S)
    assert seen == [("sms.received", str(n)) for n in range(3, 8)]
