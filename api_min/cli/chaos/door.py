"""The API as a client meets it that knows two addresses: it asks one, then the other, and says what came back."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import aiohttp
import orjson

from engine.errors import Unavailable

_TIMEOUT_S = 6.0  # a pause may take 2.2 s
LOOK_TIMEOUT_S = 2.0  # who only looks tries the other address then
_AGAIN_S = 0.2


class Answer(NamedTuple):
    """`status` 0: there was none."""

    status: int
    body: Any = None

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 300


class Door:
    """One client's. With a common turn, what others asked meanwhile would send it back to an address that is silent."""

    def __init__(self, session: aiohttp.ClientSession, urls: Sequence[str], key: str) -> None:
        self._session, self._addresses, self._key = session, urls, key
        self._urls = itertools.cycle(urls)
        self.headers = {"Authorization": f"Bearer {key}"}
        self.answers: Counter[int] = Counter()  # by status, of all clients

    def of_another_client(self) -> "Door":
        door = Door(self._session, self._addresses, self._key)
        door.answers = self.answers
        return door

    def next_url(self) -> str:
        return next(self._urls)

    async def ask(self, method: str, path: str, body: object = None, timeout_s: float = _TIMEOUT_S) -> Answer:
        """One request to the next address."""
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._session.request(
                method, self.next_url() + path, json=body, headers=self.headers, timeout=timeout
            ) as response:
                answer = Answer(response.status, orjson.loads(await response.read()))
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError):
            answer = Answer(0)
        self.answers[answer.status] += 1
        return answer

    async def insist(self, method: str, path: str, body: object = None, patience_s: float = 90.0) -> Any:
        """The body of a good answer to what does no harm when repeated. Raises Unavailable after `patience_s`."""
        deadline = time.monotonic() + patience_s
        while not (answer := await self.ask(method, path, body)).is_good:
            if time.monotonic() > deadline or 400 <= answer.status < 500:
                raise Unavailable(f"{method} {path} was answered {answer.status}: {str(answer.body)[:300]}")
            await asyncio.sleep(_AGAIN_S)
        return answer.body
