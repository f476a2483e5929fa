"""The Teletracker WebSocket over a real server and a real client."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from engine.rules.events import Owner
from tests.api.harness import DEADLINE_S, Api, Client
from tests.realtime.conftest import Tell, told

ANN, BOB = Owner("line_1", "user_1", "team_1"), Owner("line_2", "user_2", "team_1")


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
        """Reads to the end; the close code."""
        async with asyncio.timeout(DEADLINE_S):
            while (await self.socket.receive()).type is aiohttp.WSMsgType.TEXT:
                pass
        return self.socket.close_code


@asynccontextmanager
async def talking(client: Client, path: str = "/api/realtime", *, admitted: bool = True) -> AsyncIterator[Talk]:
    async with client.session.ws_connect(f"{client.url}{path}") as socket:
        talk = Talk(socket)
        if admitted:
            assert await talk.say("authrequest", token=client.key) == {"type": "authresponse", "success": True}
        yield talk


@pytest.mark.parametrize("path", ["/api/realtime", "/realtime", "/"])
async def test_a_client_authenticates_starts_hears_and_stops(api: Api, tell: Tell, path: str) -> None:
    client = await api.client()
    async with talking(client, path) as talk:
        assert await talk.say("startusereventrequest") == {"type": "startusereventresponse", "success": True}
        await tell(client.account_id, told("voice.initiated", ANN, to="+14155550123"))
        assert await talk.hear() == {
            "type": "userevent",
            "id": 1,
            "category": "voice",
            "subCategory": "outgoing",
            "eventName": "start",
            "eventTimestamp": "2026-03-11T18:00:00.123Z",
            "trackingId": "call-1",
            "uniqueId": "leg-1",
            "lineId": "line_1",
            "userId": "user_1",
            "teamId": "team_1",
            "data": {"to": "+14155550123"},
        }
        assert await talk.say("stopusereventrequest") == {"type": "stopusereventresponse", "success": True}
        await tell(client.account_id, told("voice.answered"))
        restarted = await talk.say("startusereventrequest", lastEventId=1)
        assert restarted["success"]
        assert (await talk.hear())["eventName"] == "answer"  # once, though it happened while the stream was off
        assert (await talk.say("stopusereventrequest"))["type"] == "stopusereventresponse"
