"""The guard: nothing that a client names reaches our own network, by any name, form, or redirect."""

import asyncio
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from engine import egress
from engine.egress import Refused, check_url, guarded_session, read_at_most
from engine.errors import InvalidInput


@pytest.fixture
async def inside() -> AsyncIterator[tuple[int, list[str]]]:
    """A server on loopback: its port, and the paths it was asked for."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        if request.path == "/away":
            raise web.HTTPFound(location=request.query["to"])
        return web.Response(body=b"x" * 100_000)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield runner.addresses[0][1], asked
    await runner.cleanup()


BAD_URLS = [
    ("http://example.com/", "must begin with https://"),
    ("ftp://example.com/", "must begin with https://"),
    ("file:///etc/passwd", "must begin with https://"),
    ("gopher://example.com/", "must begin with https://"),
    ("//example.com/", "must begin with https://"),
    ("example.com", "must begin with https://"),
    ("", "must begin with https://"),
    ("https://", "names no host"),
    ("https:///path", "names no host"),
    ("https://user:secret@example.com/", "user name or password"),
    ("https://user@example.com/", "user name or password"),
    ("https://@example.com/", "user name or password"),
    ("https://example.com/#top", "fragment"),
    ("https://example.com/a b", "percent-encode"),
    ("https://example.com\\@127.0.0.1/", "percent-encode"),
    ("https://example.com/\r\nHost: x", "percent-encode"),
    ("https://example.com/\0", "percent-encode"),
    ("https://example.com/\x85", "percent-encode"),
    ("https://example.com/\u2028", "percent-encode"),
    ("https://example.com:25/", "port 25"),
    ("https://example.com:22/", "port 22"),
    ("https://example.com:0/", "port 0"),
    ("https://example.com:99999/", "is not a URL"),
    ("https://[::1/", "is not a URL"),
    ("https://example.com/" + "a" * 2_100, "2048 are allowed"),
    ("https://127.0.0.1/", "loopback"),
    ("https://10.1.2.3/", "private"),
    ("https://169.254.169.254/latest/meta-data/", "link-local"),
    ("https://2130706433/", "not an address"),
    ("https://0x7f000001/", "not an address"),
    ("https://0177.0.0.1/", "not an address"),
    ("https://127.1/", "not an address"),
    ("https://127.0.0.1./", "loopback"),
    ("https://[::1]/", "loopback"),
    ("https://[::ffff:127.0.0.1]/", "IPv4 address in IPv6 form"),
    ("https://[::ffff:7f00:1]/", "IPv4 address in IPv6 form"),
    ("https://[64:ff9b::7f00:1]/", "IPv4 address in IPv6 form"),
    ("https://[fe80::1]/", "link-local"),
    ("https://localhost/", "loopback"),
    ("https://LOCALHOST./", "loopback"),
    ("https://a.localhost/", "loopback"),
    ("https://*/", "is no name of a host"),  # which the C library takes for the machine itself
    ("https://*.example.com/", "is no name of a host"),
    ("https://exa!mple.com/", "is no name of a host"),
]


@pytest.mark.parametrize(("url", "words"), BAD_URLS)
def test_a_bad_url_is_refused_by_name(url: str, words: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_url(url, allow_private=False)
    assert words in refused.value.fields["url"]  # type: ignore[operator]


@pytest.mark.parametrize(
    "url",
    ["https://example.com/hooks?a=1", "https://example.com:8443/", "https://1.1.1.1/", "https://[2606:4700::1111]/"],
)
def test_a_public_url_passes(url: str) -> None:
    check_url(url, allow_private=False)


def test_development_may_use_http_and_loopback_but_no_nonsense() -> None:
    check_url("http://127.0.0.1:9000/hooks", allow_private=True)
    check_url("http://localhost:9000/hooks", allow_private=True)
    with pytest.raises(InvalidInput):
        check_url("ftp://127.0.0.1/", allow_private=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "0"])
async def test_no_name_or_form_of_loopback_is_reached(inside: tuple[int, list[str]], host: str) -> None:
    port, asked = inside
    async with guarded_session(allow_private=False, timeout_s=5) as session:
        with pytest.raises((Refused, aiohttp.InvalidURL)):  # aiohttp itself refuses the odd forms of IPv4
            await session.post(f"http://{host}:{port}/hook")
    assert asked == []


@pytest.mark.parametrize("host", ["[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[::]"])
async def test_no_ipv6_form_of_loopback_is_reached(inside: tuple[int, list[str]], host: str) -> None:
    port, asked = inside
    async with guarded_session(allow_private=False, timeout_s=5) as session:
        with pytest.raises(Refused, match="not a public address"):
            await session.post(f"http://{host}:{port}/hook")
    assert asked == []


async def test_a_name_is_judged_by_what_it_resolves_to_at_that_moment(
    inside: tuple[int, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rebinding: public when the webhook was made, private when it is called. The reason tells no inner address."""
    port, asked = inside
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("127.0.0.1", port))])
    async with guarded_session(allow_private=False, timeout_s=5) as session:
        with pytest.raises(Refused) as refused:
            await session.post(f"http://rebound.example:{port}/hook")
    assert refused.value.reason == "rebound.example has no public address"
    assert asked == []


@pytest.fixture
def as_if_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """One loopback address counts as public; its neighbours do not."""
    real = egress.addresses.refusal
    monkeypatch.setattr(egress.addresses, "refusal", lambda address: "" if address == "127.0.0.1" else real(address))


@pytest.mark.usefixtures("as_if_public")
async def test_each_hop_of_a_redirect_passes_the_door(inside: tuple[int, list[str]]) -> None:
    port, asked = inside
    async with guarded_session(allow_private=False, timeout_s=5) as session:
        for target in (f"http://127.0.0.2:{port}/secret", f"http://localhost.:{port + 1}/", "http://[::1]/"):
            with pytest.raises((Refused, aiohttp.ClientConnectionError)):
                await session.get(f"http://127.0.0.1:{port}/away", params={"to": target})
        with pytest.raises(Refused):
            await session.get(f"http://127.0.0.1:{port}/away", params={"to": f"http://127.0.0.2:{port}/secret"})
    assert set(asked) == {"/away"}


@pytest.mark.usefixtures("as_if_public")
async def test_of_a_name_s_addresses_only_the_public_ones_are_tried(
    inside: tuple[int, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, asked = inside
    found = [(2, 1, 6, "", (host, port)) for host in ("10.0.0.1", "127.0.0.1", "127.0.0.2")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    async with (
        guarded_session(allow_private=False, timeout_s=5) as session,
        session.get(f"http://mixed.example:{port}/hook") as response,
    ):
        assert response.status == 200
    assert asked == ["/hook"]


async def test_a_body_is_read_only_as_far_as_asked(inside: tuple[int, list[str]]) -> None:
    port, _ = inside
    async with guarded_session(allow_private=True, timeout_s=5) as session:
        async with session.get(f"http://127.0.0.1:{port}/") as response:
            assert await read_at_most(response, 70_000) == b"x" * 70_000
        async with session.get(f"http://127.0.0.1:{port}/") as response:
            assert await read_at_most(response, 200_000) == b"x" * 100_000


async def test_a_name_that_cannot_be_found_is_a_connection_error() -> None:
    async with guarded_session(allow_private=False, timeout_s=20) as session:
        with pytest.raises((aiohttp.ClientConnectionError, asyncio.TimeoutError)):
            await session.get("https://nowhere.invalid/")
