"""The agent's WebSocket endpoint, `/media`: JSON frames `start`, `media`, `stop` in; `accepted`, `media` out."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from engine.carriers import agent_token, health
from engine.carriers.network.journal import Journal

_START_TIMEOUT_S = 2.0
_UNAUTHORIZED = 4401  # private close code, after HTTP 401


@dataclass(frozen=True, slots=True)
class Running:
    url: str
    port: int


class Agent:
    """`hang_up_after_frames` 0: the agent stays until the other side ends."""

    def __init__(self, secret: str, journal: Journal, hang_up_after_frames: int = 0) -> None:
        self._secret, self._journal, self._frame_limit = secret, journal, hang_up_after_frames

    async def media(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(timeout=1.0)
        await socket.prepare(request)
        start = await _start(socket)
        params = start.get("customParameters")
        token = params.get("token", "") if isinstance(params, dict) else ""
        ref = str(start.get("ref", ""))
        is_verified = agent_token.verify(self._secret, str(token), ref, time.time())
        facts = {"call_id": start.get("callId"), "from": start.get("from"), "to": start.get("to")}
        self._journal.write("session_start", ref=ref, verified=is_verified, **facts)
        if not is_verified:
            await socket.close(code=_UNAUTHORIZED, message=b"the token is not ours, or it is too old")
            return socket
        began_s = time.monotonic()
        frames = await self._talk(socket)
        self._journal.write("session_end", ref=ref, frames=frames, seconds=round(time.monotonic() - began_s, 3))
        return socket

    async def _talk(self, socket: web.WebSocketResponse) -> int:
        """Answers each media frame with one; returns how many came."""
        frames = 0
        try:
            await socket.send_bytes(orjson.dumps({"event": "accepted"}))
            async for message in socket:
                frame = _frame(message)
                if frame.get("event") == "stop":
                    break
                if frame.get("event") == "media":
                    frames += 1
                    await socket.send_bytes(orjson.dumps({"event": "media", "media": frame.get("media")}))
                if frames == self._frame_limit > 0:
                    break
            await socket.close()
        except ConnectionError:
            pass  # the caller's side is gone: that is how most calls end
        return frames


@asynccontextmanager
async def running(
    secret: str, log_path: Path, host: str = "127.0.0.1", port: int = 0, hang_up_after_frames: int = 0
) -> AsyncIterator[Running]:
    """Serves until the block ends. Port 0 takes a free one."""
    journal = Journal(log_path)
    app = web.Application()
    app.add_routes([health.route(), web.get("/media", Agent(secret, journal, hang_up_after_frames).media)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    bound = runner.addresses[0][1]
    try:
        yield Running(f"ws://{host}:{bound}/media", bound)
    finally:
        await runner.cleanup()
        journal.close()


async def _start(socket: web.WebSocketResponse) -> Mapping[str, Any]:
    try:
        async with asyncio.timeout(_START_TIMEOUT_S):
            start = _frame(await socket.receive()).get("start")
    except TimeoutError:
        return {}
    return start if isinstance(start, dict) else {}


def _frame(message: aiohttp.WSMessage) -> Mapping[str, Any]:
    if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
        return {}
    try:
        frame = orjson.loads(message.data)
    except orjson.JSONDecodeError:
        return {}
    return frame if isinstance(frame, dict) else {}
