"""Requests to addresses that clients named: webhooks, media. A guard keeps them out of our own network (SSRF).

What is checked is the address that the socket is opened to, not the name: a name that resolves to something else the
second time gains nothing, and each hop of a redirect passes the same door.
"""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from engine.errors import InvalidInput
from engine.rules import addresses

LONGEST_URL = 2_048
# Looking a name up blocks a thread, for half a minute when its servers are dead: enough threads that the dead ones of
# some clients leave room for the others'.
_LOOKUPS_AT_ONCE = 64
_DNS_CACHE_S = 10
_KEEP_ALIVE_S = 4.0  # under the 5 s of common servers: an idle connection is closed by us, not under a request
_ALLOWED_LOW_PORTS = frozenset({80, 443})  # the others below 1024 speak mail, shells and the like

_UNSAFE = re.compile(r"[\x00-\x20\x7f-\x9f\s\\]")
_NAME = re.compile(r"[\w.-]+")  # of a host, in any script; resolvers have meanings of their own for "*"
_NUMERIC_LABEL = re.compile(r"(?i)\d+|0x[0-9a-f]*")  # as the last label it makes resolvers read the host as IPv4


class Refused(Exception):
    """The address must not be connected to. `reason` is safe to show to the client: it names what the client wrote, and
    never where a name leads inside our network."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@asynccontextmanager
async def guarded_session(
    *, allow_private: bool, timeout_s: float, connections: int = 100
) -> AsyncIterator[aiohttp.ClientSession]:
    """A session whose requests raise Refused instead of reaching a private address (unless `allow_private`).

    No proxy, no cookies, no decompression, `timeout_s` for a whole request, its body included. Callers read bodies with
    `read_at_most`, check URLs with `check_url`, and pass `allow_redirects=False` or check the URL of each hop too.
    """
    resolver = _Resolver(allow_private)
    connector = aiohttp.TCPConnector(
        limit=connections,
        resolver=resolver,
        ttl_dns_cache=_DNS_CACHE_S,
        keepalive_timeout=_KEEP_ALIVE_S,
        socket_factory=None if allow_private else _open_public,
    )
    session = aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=timeout_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"Accept-Encoding": "identity", "User-Agent": "Carillon"},
        trust_env=False,
    )
    try:
        yield session
    finally:
        await session.close()
        await resolver.close()


async def read_at_most(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    """The first `limit_bytes` of the body; ask for one more than you take to learn that there is more.

    Raises what aiohttp raises when the body breaks off.
    """
    parts: list[bytes] = []
    room = limit_bytes
    while room > 0 and (part := await response.content.read(room)):
        parts.append(part)
        room -= len(part)
    return b"".join(parts)


def check_url(url: str, *, allow_private: bool) -> None:
    """Refuses what can be refused without looking a name up. Raises InvalidInput that names the field `url`.

    `allow_private` also allows http, for development.
    """
    if fault := _fault(url, allow_private):
        raise InvalidInput(f"url: {fault}", {"url": fault})


def _fault(url: str, allow_private: bool) -> str:
    if len(url) > LONGEST_URL:
        return f"has {len(url)} characters; {LONGEST_URL} are allowed"
    if _UNSAFE.search(url):
        return "holds a space, a backslash or a control character; percent-encode it"
    try:
        parsed = URL(url)
        host, port = parsed.host, parsed.port
    except ValueError:
        return "is not a URL such as https://example.com/hooks"
    if parsed.scheme not in (("https", "http") if allow_private else ("https",)):
        return "must begin with https://"
    if not host:
        return "names no host; give a URL such as https://example.com/hooks"
    if ":" not in host and not _NAME.fullmatch(host):
        return f"{host[:60]} is no name of a host; give a URL such as https://example.com/hooks"
    if "@" in url.split("/")[2]:
        return "holds a user name or password; the signature proves who sends, so leave them out"
    if "#" in url:
        return "holds a fragment (#…), which is never sent; leave it out"
    if port is None or (port < 1024 and port not in _ALLOWED_LOW_PORTS):
        return f"port {port} is not allowed; use 443, 80, or one from 1024 on"
    return "" if allow_private else _host_fault(host)


def _host_fault(host: str) -> str:
    name = host.rstrip(".").lower()
    if ":" not in name and name.replace(".", "").isascii() and _NUMERIC_LABEL.fullmatch(name.rpartition(".")[2]):
        if reason := addresses.refusal(name):
            return f"{host} is not a public address ({reason})"
    elif ":" in name and (reason := addresses.refusal(name)):
        return f"{host} is not a public address ({reason})"
    elif name == "localhost" or name.endswith(".localhost"):
        return f"{host} is not a public address (loopback)"
    return ""


class _Resolver(AbstractResolver):
    """The system's resolver on threads of its own; leaves out the addresses that must not be connected to."""

    def __init__(self, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._threads = ThreadPoolExecutor(_LOOKUPS_AT_ONCE, "lookup")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await asyncio.get_running_loop().run_in_executor(self._threads, _look_up, host, port, family)
        if self._allow_private:
            return found
        public = [each for each in found if not addresses.refusal(each["host"])]
        if not public:
            raise Refused(f"{host[:100]} has no public address")
        return public

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    infos = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return [
        ResolveResult(
            hostname=host, host=str(address[0]), port=int(address[1]), family=each_family, proto=proto, flags=flags
        )
        for each_family, _, proto, _, address in infos
    ]


def _open_public(info: AddrInfoType) -> socket.socket:
    """The last door: also for addresses in the URL itself, which no resolver sees."""
    family, kind, proto, _, address = info
    if reason := addresses.refusal(str(address[0])):
        raise Refused(f"{address[0]} is not a public address ({reason})")
    return socket.socket(family, kind, proto)
