"""A client of the API, as an upstream service would write one: JSON requests, a CSV upload, and the event stream."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import orjson

from engine.errors import CarillonError, Unavailable

_RECONNECT_S = 0.2
_PATIENCE_S = 10.0
_AWAY = 503
_LINE_BYTES = 1 << 20


class ServerEvent(NamedTuple):
    id: int
    type: str
    payload: dict[str, Any]


class Api:
    """Requests of one key. `session` needs no base URL."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str) -> None:
        self._session, self._url = session, url
        self._headers = {"Authorization": f"Bearer {key}"}

    async def get(self, path: str, **query: str) -> Any:
        """Asks again while a server behind the API is away, for `_PATIENCE_S`: a question does no harm twice."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return await self._call("GET", path, params=query)
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(_RECONNECT_S)

    async def post(self, path: str, body: object = None) -> Any:
        return await self._call("POST", path, json=body)

    async def upload(self, path: str, file: Path) -> Any:
        """Streams a CSV; answers the import's report."""
        with file.open("rb") as source:
            return await self._call("POST", path, data=source, headers={"Content-Type": "text/csv"})

    async def _call(self, method: str, path: str, headers: dict[str, str] | None = None, **request: Any) -> Any:
        """The decoded answer. Raises CarillonError with the API's own words, Unavailable when there is no answer."""
        try:
            async with self._session.request(
                method, self._url + path, headers={**self._headers, **(headers or {})}, **request
            ) as answer:
                body = orjson.loads(await answer.read())
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as fault:
            raise Unavailable(f"{method} {path}: {fault or type(fault).__name__}") from fault
        if answer.status >= 400:
            raise CarillonError(
                f"{method} {path}: {answer.status} {body['error']['message']} {body['error']['fields']}"
            )
        return body

    async def events(self, last_id: int | None = None) -> AsyncIterator[ServerEvent]:
        """Follows `GET /api/events` for ever, coming back with `Last-Event-ID` whenever the connection is lost."""
        while True:
            try:
                async for event in self.stream(last_id):
                    last_id = event.id
                    yield event
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(_RECONNECT_S)

    async def stream(self, last_id: int | None) -> AsyncIterator[ServerEvent]:
        """One connection's events. It ends, or raises aiohttp.ClientError, when the server is gone."""
        headers = self._headers if last_id is None else {**self._headers, "Last-Event-ID": str(last_id)}
        timeout = aiohttp.ClientTimeout(total=None, connect=5.0)
        async with self._session.get(
            f"{self._url}/api/events", headers=headers, timeout=timeout, read_bufsize=_LINE_BYTES
        ) as answer:
            fields: dict[str, str] = {}
            async for raw in answer.content:
                name, _, value = raw.decode().rstrip("\n").partition(": ")
                if name:
                    fields[name] = value
                elif "data" in fields:
                    yield _event(fields)
                    fields = {}


def _event(fields: dict[str, str]) -> ServerEvent:
    data = orjson.loads(fields["data"])
    return ServerEvent(int(fields["id"]), fields["event"], data.get("payload", data))
