"""A client of the WebSocket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.api.harness import DEADLINE_S, Client


class Talk:
    """A connection that sends and receives JSON, with a deadline on each answer."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def say(self, kind: str, **more: object) -> dict[str, Any]:
        await self.socket.send_json({"type": kind, **more})
        return await self.hear()

    async def hear(self) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE_S):
            message = await self.socket.receive()
        assert message.type is aiohttp.WSMsgType.TEXT, message
        found: dict[str, Any] = message.json()
        return found

    async def end(self) -> int | None:
        """Reads to the end; the server's close code, or 1006 when the connection was cut without one."""
        async with asyncio.timeout(DEADLINE_S):
            while (message := await self.socket.receive()).type is aiohttp.WSMsgType.TEXT:
                pass
        return message.data if message.type is aiohttp.WSMsgType.CLOSE else self.socket.close_code


@asynccontextmanager
async def talking(client: Client, path: str = "/api/realtime", *, admitted: bool = True) -> AsyncIterator[Talk]:
    async with client.session.ws_connect(f"{client.url}{path}") as socket:
        talk = Talk(socket)
        if admitted:
            assert await talk.say("authrequest", token=client.key) == {"type": "authresponse", "success": True}
        yield talk
