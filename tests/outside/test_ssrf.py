"""No address that a client names leads into our own network: webhooks, media of messages, audio and agents of calls.

`tests/webhooks/test_egress` tests the guard itself; here is everything that must stand behind it.
"""

import gzip
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from engine import egress
from engine.carriers.network import app as network
from engine.carriers.network import media as network_media
from engine.carriers.network.config import Config
from engine.carriers.network.line import Connect
from engine.carriers.port import AgentKind
from engine.dispatch import media
from engine.dispatch.media import REFUSED, Fault, File
from tests.outside.live import Live

PNG = b"\x89PNG"
INSIDE = [  # each of them 127.0.0.1, ::1 or an address of a private network, however it is written
    "127.0.0.1", "127.1", "0x7f.0.0.1", "0177.0.0.1", "2130706433", "0", "localhost", "LOCALHOST.", "a.localhost", "*",
    "127.0.0.1.", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
    "[fe80::1]", "[fd00::1]", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "168.63.129.16",
]  # fmt: skip


@pytest.fixture
async def inside() -> AsyncIterator[tuple[int, list[str]]]:
    """A server of our own network: its port, and what it was asked for."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        if request.path == "/away":
            raise web.HTTPFound(location=request.query["to"])
        return web.Response(body=PNG, content_type="image/png")

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1], asked
    await runner.cleanup()


@pytest.fixture
def one_public_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """127.0.0.1 counts as public, so that something can answer; every other address is what it is."""
    real = egress.addresses.refusal
    monkeypatch.setattr(egress.addresses, "refusal", lambda address: "" if address == "127.0.0.1" else real(address))


@pytest.mark.parametrize("host", INSIDE)
def test_no_webhook_is_made_or_moved_there(outside: Live, host: str) -> None:
    client = outside.client()
    made = outside.ask(client, "POST", "/api/webhooks", {"url": "https://example.com/", "events": ["*"]})
    for url in (f"https://{host}/hook", f"https://{host}:8443/hook"):
        for method, path, body in (
            ("POST", "/api/webhooks", {"url": url, "events": ["*"]}),
            ("PATCH", f"/api/webhooks/{made.json['id']}", {"url": url}),
        ):
            answer = outside.ask(client, method, path, body)
            assert (answer.status, list(answer.error["fields"])) == (400, ["url"]), url


def test_a_webhook_s_trial_does_not_tell_where_a_name_leads(outside: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name was public when the webhook was made; what its owner learns is no map of our network."""
    client = outside.client()
    url = "https://rebound.example/hook"
    made = outside.ask(client, "POST", "/api/webhooks", {"url": url, "events": ["*"]})
    inner = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.1.2.3", 443))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [inner])
    tried = outside.ask(client, "POST", f"/api/webhooks/{made.json['id']}/test").json
    assert (tried["status"], tried["error"]) == ("failed", "rebound.example has no public address")
    assert "10.1.2.3" not in outside.ask(client, "GET", f"/api/webhooks/{made.json['id']}/logs").text


@pytest.mark.parametrize("host", INSIDE)
async def test_no_file_of_a_message_is_fetched_there(inside: tuple[int, list[str]], host: str) -> None:
    """The URL is what the carrier's callback says; it may be anybody's."""
    port, asked = inside
    for url in (f"https://{host}:{port}/x", f"http://{host}:{port}/x", f"https://{host}/x"):
        found = await media.fetch(url, "image/png", 1_000, is_inside=False)
        assert isinstance(found, Fault)
        assert found == Fault(REFUSED, is_final=True), (url, found)
    assert asked == []


@pytest.mark.usefixtures("one_public_address")
async def test_no_redirect_of_a_file_leads_there(
    inside: tuple[int, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a public place, over each of the forms. Plain http is let through here alone, for want of a certificate."""
    port, asked = inside
    monkeypatch.setattr(egress, "check_url", lambda url, allow_private: None)
    for host in ("127.0.0.2", "[::1]", "[::ffff:127.0.0.1]", "10.0.0.1"):
        target = f"http://{host}:{port}/secret"
        found = await media.fetch(f"http://127.0.0.1:{port}/away?to={target}", "image/png", 1_000, is_inside=False)
        assert found == Fault(REFUSED, is_final=True), target
    assert set(asked) == {"/away"}


async def test_the_simulated_network_s_own_files_lead_nowhere_else(inside: tuple[int, list[str]]) -> None:
    port, asked = inside
    own = f"http://127.0.0.1:{port}"
    assert await media.fetch(f"{own}/x", "", 1_000, is_inside=True) == File("image/png", PNG)
    moved = await media.fetch(f"{own}/away?to={own}/secret", "", 1_000, is_inside=True)
    assert moved == Fault(REFUSED, is_final=True)
    assert "/secret" not in asked


@pytest.mark.parametrize("allow_private", [True, False])
async def test_the_network_fetches_and_calls_nothing_inside_when_strangers_use_it(
    inside: tuple[int, list[str]], tmp_path: Path, allow_private: bool
) -> None:
    """Whoever has a test key names its audio and its agent: in production the network is told to stay outside."""
    port, asked = inside
    async with network.running(Config(allow_private=allow_private), tmp_path / "log.jsonl") as running:
        session = running.exchange._floor.session
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "127.0.0.1.nip.invalid"):
            fetched = await network_media.fetch(session, f"http://{host}:{port}/audio")
            assert fetched.ok == (allow_private and host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]"))
        agent = Connect(AgentKind.WS_MEDIA, f"ws://127.0.0.1:{port}/agent", {})
        line: Any = None  # it does not come so far
        reason = await network_media.converse(session, agent, line, 5.0, lambda: None)
        assert reason.startswith("agent_unreachable")
    assert (asked != []) == allow_private
    assert ("/agent" in asked) == allow_private


async def test_a_compressed_answer_is_not_unpacked(inside: tuple[int, list[str]]) -> None:
    """A kilobyte could become a gigabyte: what is read is what came."""

    packed = gzip.compress(b" " * 1_000_000)

    async def bomb(_: web.Request) -> web.Response:
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    app = web.Application()
    app.router.add_get("/", bomb)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with (
            egress.guarded_session(allow_private=True, timeout_s=30) as session,
            session.get(f"http://127.0.0.1:{runner.addresses[0][1]}/") as answer,
        ):
            assert await egress.read_at_most(answer, 2_000_000) == packed
    finally:
        await runner.cleanup()


def test_the_shipped_network_stays_outside() -> None:
    compose = (Path(__file__).parents[2] / "deploy" / "compose.yaml").read_text("utf-8")
    (line,) = [each for each in compose.splitlines() if "--config=" in each]
    told = orjson.loads(line.partition("--config=")[2].rstrip("'").replace("${CARILLON_SECRET}", "x"))
    assert told["allow_private"] is False
