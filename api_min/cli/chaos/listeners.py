"""Clients of the event stream that come back at the other address whenever they are cut off, by the last id."""

import asyncio
import contextlib
import time

import aiohttp
import orjson

from api_min.cli.chaos.door import Door
from api_min.cli.chaos.figures import Sequencing

COUNT = 4
_AGAIN_S = 0.1
_LINE_BYTES = 1 << 20


class Listener:
    """Follows `/api/events` from the first event on."""

    def __init__(self, session: aiohttp.ClientSession, door: Door) -> None:
        self._session, self._door = session, door
        self.seen = Sequencing()
        self.connections = self.truncations = self.resets = 0

    async def follow(self) -> None:
        """For ever; cancel it."""
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                await self._listen()
            await asyncio.sleep(_AGAIN_S)

    async def reach(self, number: int, timeout_s: float) -> bool:
        """True when event `number` has come, or comes within the time."""
        deadline = time.monotonic() + timeout_s
        while True:
            if self.seen.last >= number or time.monotonic() > deadline:
                return self.seen.last >= number
            await asyncio.sleep(_AGAIN_S)

    async def _listen(self) -> None:
        headers = {**self._door.headers, "Last-Event-ID": str(self.seen.last)}
        timeout = aiohttp.ClientTimeout(total=None, connect=3.0, sock_read=60.0)
        async with self._session.get(
            f"{self._door.next_url()}/api/events", headers=headers, timeout=timeout, read_bufsize=_LINE_BYTES
        ) as answer:
            answer.raise_for_status()
            self.connections += 1
            kind, number = b"", 0
            async for line in answer.content:
                if line.startswith(b"id: "):
                    number = int(line[4:])
                elif line.startswith(b"event: "):
                    kind = line[7:].strip()
                elif line.startswith(b"data: "):
                    self._take(kind, number, line)

    def _take(self, kind: bytes, number: int, line: bytes) -> None:
        if kind == b"replay.truncated":
            self.truncations += 1
            self.seen.skip_to(_oldest(line[6:]))
        elif kind == b"replay.reset":
            self.resets += 1
        else:
            self.seen.see(number)


def _oldest(data: bytes) -> int:
    told = orjson.loads(data)
    return int(told.get("payload", told)["oldest"])
