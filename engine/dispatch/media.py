"""Fetches the media of incoming messages, soon after they came: carriers delete theirs, and the api calls no carrier.

The URL is what a carrier's callback said, so it passes the egress guard, each hop of a redirect too. The simulated
network alone may be inside: its own address, and no other.
"""

import asyncio
from typing import NamedTuple

import aiohttp
import structlog
from yarl import URL

from engine import egress
from engine.egress import Refused, guarded_session, read_at_most
from engine.errors import InvalidInput
from engine.ids import encode
from engine.rules import media as rules
from engine.runtime import Runtime
from engine.store import media
from engine.store.media import Awaited

log = structlog.get_logger(__name__)

_AT_ONCE = 8  # messages
_TIMEOUT_S = 15.0  # for one file
_LEASE_S = 300.0  # beyond ten files of one message, one after the other
_MOST_HOPS = 3
_REDIRECTS = frozenset((301, 302, 303, 307, 308))

TOO_LARGE, REFUSED, WRONG_TYPE, GONE = "too_large", "refused", "unsupported_type", "gone"


class File(NamedTuple):
    content_type: str
    body: bytes


class Fault(NamedTuple):
    """Why there is no file; `is_final`: asking again is of no use."""

    reason: str
    is_final: bool


class MediaFetch:
    """A duty of every worker: the messages that nobody has taken, a few at a time."""

    every_s = 1.0

    def __init__(self, runtime: Runtime) -> None:
        self._db, self._reader = runtime.db, runtime.reader
        self._most_bytes = runtime.settings.media_max_bytes
        self._simulated_url = runtime.settings.simulated_url.rstrip("/") + "/"
        self._simulated = runtime.simulated_carriers

    async def run_once(self) -> int:
        """Returns how many messages were taken."""
        async with self._reader.connect() as conn:
            found = await media.claim(conn, _AT_ONCE, _LEASE_S)
        if found:
            await asyncio.gather(*map(self._fetch_all, found))
        return len(found)

    async def _fetch_all(self, awaited: Awaited) -> None:
        is_short = False
        for number, component in enumerate(awaited.components, start=1):
            if number in awaited.kept or "fault" in component:
                continue
            is_inside = awaited.carrier in self._simulated and component["url"].startswith(self._simulated_url)
            found = await fetch(component["url"], component["contentType"], self._most_bytes, is_inside)
            is_short |= not await self._keep(awaited, number, found)
        after_s = rules.retry_after_s(awaited.tries) if is_short else None
        async with self._db.begin() as conn:
            await media.finish(conn, awaited, after_s)

    async def _keep(self, awaited: Awaited, number: int, found: File | Fault) -> bool:
        """False when the file is to be asked for again."""
        async with self._db.begin() as conn:
            if isinstance(found, File):
                await media.save(conn, awaited, number, found.content_type, found.body)
                return True
            is_last = rules.retry_after_s(awaited.tries) is None
            message = encode("msg", awaited.message_id)
            log.warning("media.failed", message=message, component=number, reason=found.reason)
            if found.is_final or is_last:
                await media.fault(conn, awaited, number, found.reason if found.is_final else GONE)
                return True
        return False


async def fetch(url: str, announced: str, most_bytes: int, is_inside: bool) -> File | Fault:
    """One file, from the place that a carrier named. `is_inside`: it is our own simulated network's."""
    try:
        async with guarded_session(allow_private=is_inside, timeout_s=_TIMEOUT_S, connections=2) as session:
            return await _follow(session, url, announced, most_bytes, is_inside)
    except (Refused, InvalidInput):
        return Fault(REFUSED, is_final=True)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        if isinstance(error.__cause__, Refused):
            return Fault(REFUSED, is_final=True)
        return Fault(f"unreachable: {type(error).__name__}", is_final=False)


async def _follow(
    session: aiohttp.ClientSession, url: str, announced: str, most_bytes: int, is_inside: bool
) -> File | Fault:
    for _ in range(_MOST_HOPS):
        egress.check_url(url, allow_private=is_inside)
        async with session.get(URL(url, encoded=True), allow_redirects=False) as answer:
            if answer.status in _REDIRECTS and "Location" in answer.headers:
                if is_inside:
                    return Fault(REFUSED, is_final=True)  # the simulated network sends nobody elsewhere
                url = str(URL(url, encoded=True).join(URL(answer.headers["Location"])))
                continue
            return await _read(answer, announced, most_bytes)
    return Fault(REFUSED, is_final=True)


async def _read(answer: aiohttp.ClientResponse, announced: str, most_bytes: int) -> File | Fault:
    if answer.status != 200:
        return Fault(f"status {answer.status}", is_final=False)
    content_type = rules.kind(answer.headers.get("Content-Type", ""), announced)
    if content_type is None:
        return Fault(WRONG_TYPE, is_final=True)
    if (answer.content_length or 0) > most_bytes:
        return Fault(TOO_LARGE, is_final=True)
    body = await read_at_most(answer, most_bytes + 1)
    return Fault(TOO_LARGE, is_final=True) if len(body) > most_bytes else File(content_type, body)
