"""The two things that the network really does: it fetches the audio it is told to play, and it calls the agent."""

import asyncio
import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
import orjson

from engine.carriers.network.line import Connect, Line
from engine.egress import Refused

_MAX_AUDIO_BYTES = 20 * 1024 * 1024
_FRAMES = 5  # enough to show that media flows; the agent answers each
_SILENCE = base64.b64encode(b"\xff" * 160).decode()  # 20 ms of mu-law silence


@dataclass(frozen=True, slots=True)
class Fetched:
    status: int  # 0: no answer
    size: int
    sha256: str

    @property
    def ok(self) -> bool:
        return self.status == 200 and 0 < self.size <= _MAX_AUDIO_BYTES


async def fetch(session: aiohttp.ClientSession, url: str) -> Fetched:
    """Reads the whole file, up to 20 MiB and a little."""
    digest, size = hashlib.sha256(), 0
    try:
        async with session.get(url) as answer:
            async for chunk in answer.content.iter_chunked(65_536):
                digest.update(chunk)
                size += len(chunk)
                if size > _MAX_AUDIO_BYTES:
                    break
            return Fetched(answer.status, size, digest.hexdigest())
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, Refused):
        return Fetched(0, size, "")


async def converse(
    session: aiohttp.ClientSession, agent: Connect, line: Line, timeout_s: float, on_bridged: Callable[[], None]
) -> str:
    """Streams to a WebSocket agent until it hangs up or the task is cancelled.

    Returns why there was no agent, or an empty text after a conversation. `on_bridged` is called at its first frame.
    """
    try:
        async with asyncio.timeout(timeout_s):
            socket = await session.ws_connect(agent.address, timeout=aiohttp.ClientWSTimeout(ws_close=1.0))
    except TimeoutError:
        return "agent_timeout"
    except (aiohttp.ClientError, OSError, ValueError, Refused) as error:
        return f"agent_unreachable: {type(error).__name__}"
    try:
        if reason := await _greet(socket, agent, line, timeout_s):
            return reason
        on_bridged()
        await _stream(socket)
        return ""
    finally:
        await socket.close()


async def _greet(socket: aiohttp.ClientWebSocketResponse, agent: Connect, line: Line, timeout_s: float) -> str:
    order = line.order
    start = {
        "callId": line.id,
        "ref": order.ref,
        "from": order.from_,
        "to": order.to,
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": dict(agent.params),
    }
    try:
        async with asyncio.timeout(timeout_s):
            await socket.send_bytes(orjson.dumps({"event": "start", "start": start}))
            first = await socket.receive()
    except (TimeoutError, ConnectionError):
        return "agent_timeout"
    if first.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
        return f"agent_refused: {socket.close_code}"
    return ""


async def _stream(socket: aiohttp.ClientWebSocketResponse) -> None:
    try:
        for number in range(_FRAMES):
            frame = {"event": "media", "media": {"chunk": number, "payload": _SILENCE}}
            await socket.send_bytes(orjson.dumps(frame))
        async for _ in socket:
            pass
    except ConnectionError:
        return
    finally:
        if not socket.closed:
            with_stop = orjson.dumps({"event": "stop"})
            await socket.send_bytes(with_stop)
