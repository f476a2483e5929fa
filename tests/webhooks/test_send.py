"""One request: what goes out is signed and complete, and every way of going wrong has words."""

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from engine import egress
from engine.clock import real_now
from engine.rules import signing
from engine.rules.events import Event
from engine.store.webhooks import Webhook
from engine.webhooks.send import Sender
from tests.webhooks.conftest import ACCOUNT, SECRET, Endpoints, Received

AT = datetime(2026, 3, 9, 16, 5, 0, 123456, tzinfo=UTC)
LINE = Event("sms.sent", AT, {"n": 1}).encode()
OLD = signing.write_secret(b"old secret old secret old secret")


def webhook(url: str, **changes: object) -> Webhook:
    values: dict[str, object] = {
        "id": 5,
        "account_id": ACCOUNT,
        "url": url,
        "events": ("*",),
        "secret": SECRET,
        "previous_secret": None,
        "previous_secret_until": None,
        "ordered": False,
        "active": True,
        "disabled_reason": "",
        "failures": 0,
        "parked_until": None,
        "created_at": AT,
    }
    return Webhook(**values | changes)  # type: ignore[arg-type]


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    async with egress.guarded_session(allow_private=True, timeout_s=10) as session:
        yield Sender(session, allow_private=True, timeout_s=10)


async def test_the_standard_library_verifies_what_is_sent(sender: Sender, endpoints: Endpoints) -> None:
    endpoint = endpoints.add()
    assert (await sender.send(webhook(endpoint.url), 42, LINE)).status == 200
    (received,) = endpoint.received
    body = Verifier(SECRET).verify(received.body, dict(received.headers))
    assert body == {
        "event": "sms.sent",
        "data": {"n": 1},
        "id": received.headers["webhook-id"],
        "timestamp": "2026-03-09T16:05:00.123Z",
    }
    assert body["id"] == "evt_0000000000007000000000001a"
    assert received.headers["Content-Type"] == "application/json"
    with pytest.raises(WebhookVerificationError):
        Verifier(SECRET).verify(received.body + b" ", dict(received.headers))
    with pytest.raises(WebhookVerificationError):
        Verifier(OLD).verify(received.body, dict(received.headers))


async def test_the_readme_s_own_lines_verify_it_too(sender: Sender, endpoints: Endpoints) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    (lines,) = re.findall(r"```python\n(import base64.+?)```", readme, re.DOTALL)
    names: dict[str, Any] = {}
    exec(lines, names)
    is_ours = names["is_ours"]
    endpoint = endpoints.add()
    rotated = webhook(endpoint.url, previous_secret=OLD, previous_secret_until=real_now() + timedelta(hours=1))
    await sender.send(rotated, 1, LINE)
    (received,) = endpoint.received
    assert is_ours(SECRET, received.headers, received.body)
    assert is_ours(OLD, received.headers, received.body)
    assert not is_ours(SECRET, received.headers, received.body + b" ")
    assert not is_ours(signing.write_secret(b"x" * 32), received.headers, received.body)
    stale = dict(received.headers) | {"webhook-timestamp": "1700000000"}
    assert not is_ours(SECRET, stale, received.body)


async def test_while_secrets_overlap_both_verify(sender: Sender, endpoints: Endpoints) -> None:
    endpoint = endpoints.add()
    for until, secrets in ((timedelta(hours=1), (SECRET, OLD)), (timedelta(hours=-1), (SECRET,))):
        rotated = webhook(endpoint.url, previous_secret=OLD, previous_secret_until=real_now() + until)
        await sender.send(rotated, 1, LINE)
        received = endpoint.received.pop()
        assert received.headers["webhook-signature"].count("v1,") == len(secrets)
        for secret in secrets:
            Verifier(secret).verify(received.body, dict(received.headers))


async def test_an_inbound_text_has_the_documented_fields_first(sender: Sender, endpoints: Endpoints) -> None:
    payload = {
        "campaignId": "camp_1",
        "id": "msg_1",
        "from": "+14155551234",
        "to": "+14155559876",
        "message": "Yes, I'll be there.",
    }
    endpoint = endpoints.add()
    await sender.send(webhook(endpoint.url), 1, Event("sms.received", AT, payload).encode())
    assert list(endpoint.received[0].json["data"].items()) == [
        ("id", "msg_1"),
        ("from", "+14155551234"),
        ("to", "+14155559876"),
        ("message", "Yes, I'll be there."),
        ("direction", "inbound"),
        ("created_at", "2026-03-09T16:05:00.123Z"),
        ("campaignId", "camp_1"),
    ]


async def test_an_answer_that_says_no(sender: Sender, endpoints: Endpoints) -> None:
    body = "no\x00 such\r\nthing" + "x" * 10_000
    endpoint = endpoints.add(lambda received: web.Response(status=404, text=body))
    answer = await sender.send(webhook(endpoint.url), 1, LINE)
    assert answer.status == 404
    assert answer.error.startswith("HTTP 404: no such thingxxx")
    assert len(answer.error) <= 220


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(sender: Sender, endpoints: Endpoints, status: int) -> None:
    target = endpoints.add()
    endpoint = endpoints.add(lambda received: web.Response(status=status, headers={"Location": target.url}))
    answer = await sender.send(webhook(endpoint.url), 1, LINE)
    assert (answer.status, answer.error) == (status, f"HTTP {status}: redirects are not followed")
    assert target.received == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("120", (120, 120)),
        ("0", (0, 0)),
        (timedelta(seconds=500), (300, 500)),
        (timedelta(seconds=-500), (0, 0)),
        ("soon", None),
        ("-5", None),
        ("1e9", None),
        ("9" * 40, None),
        ("Mon, 99 Foo 2026 00:00:00 GMT", None),
    ],
)
async def test_retry_after(
    sender: Sender, endpoints: Endpoints, value: str | timedelta, expected: tuple[float, float] | None
) -> None:
    if isinstance(value, timedelta):
        value = format_datetime(real_now() + value, usegmt=True)
    endpoint = endpoints.add(lambda received: web.Response(status=503, headers={"Retry-After": value}))
    found = (await sender.send(webhook(endpoint.url), 1, LINE)).retry_after_s
    assert found == expected or (expected and found is not None and expected[0] <= found <= expected[1])


async def test_no_answer_in_time(endpoints: Endpoints) -> None:
    never = asyncio.Event()

    async def hang(received: Received) -> web.Response:
        await never.wait()
        return web.Response()

    endpoint = endpoints.add(hang)
    async with egress.guarded_session(allow_private=True, timeout_s=0.2) as session:
        answer = await Sender(session, allow_private=True, timeout_s=0.2).send(webhook(endpoint.url), 1, LINE)
    assert (answer.status, answer.error) == (0, "no answer within 0.2 s")
    never.set()


@asynccontextmanager
async def listening(answers: list[bytes]) -> AsyncIterator[str]:
    """A server that reads a request, writes the next answer as it stands, and closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answers.pop(0))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


@pytest.mark.parametrize(
    ("answers", "status", "words"),
    [
        ([b"", b""], 0, "the connection was closed before an answer came"),
        ([b"", b"HTTP/1.1 204 No Content\r\n\r\n"], 204, ""),  # an idle connection that was closed: once more
        ([b"garbage\r\n\r\n"], 0, "no valid HTTP answer"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut off"], 200, ""),
        ([b"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\ncut off"], 500, "HTTP 500"),
        ([b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nbad"], 200, ""),
        ([b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"], 0, "no valid HTTP answer"),
    ],
)
async def test_broken_servers(sender: Sender, answers: list[bytes], status: int, words: str) -> None:
    async with listening(answers) as url:
        answer = await sender.send(webhook(url), 1, LINE)
    assert answer.status == status
    assert answer.error.startswith(words)
    assert answer.error or not words


async def test_nobody_listens(sender: Sender) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    answer = await sender.send(webhook(f"http://127.0.0.1:{port}/"), 1, LINE)
    assert answer.status == 0
    assert answer.error.startswith("cannot connect")


async def test_a_name_that_does_not_exist(sender: Sender) -> None:
    answer = await sender.send(webhook("http://nowhere.invalid/"), 1, LINE)
    assert (answer.status, answer.error) == (0, "the host name cannot be resolved")


async def test_a_server_without_tls(sender: Sender, endpoints: Endpoints) -> None:
    answer = await sender.send(webhook(endpoints.add().url.replace("http:", "https:")), 1, LINE)
    assert (answer.status, answer.error) == (0, "the TLS handshake failed")


async def test_the_guard_holds_at_every_attempt_not_only_when_the_webhook_is_made(endpoints: Endpoints) -> None:
    endpoint = endpoints.add()
    async with egress.guarded_session(allow_private=False, timeout_s=5) as session:
        sender = Sender(session, allow_private=False, timeout_s=5)
        http = await sender.send(webhook(endpoint.url), 1, LINE)
        literal = await sender.send(webhook(endpoint.url.replace("http:", "https:")), 1, LINE)
        named = await sender.send(webhook(f"https://ip6-localhost:{endpoints.port}/"), 1, LINE)
    assert http.error == "url: must begin with https://"
    assert literal.error == "url: 127.0.0.1 is not a public address (loopback)"
    assert named.error in ("ip6-localhost has no public address", "the host name cannot be resolved")
    assert endpoint.received == []


async def test_a_certificate_that_nobody_vouches_for(sender: Sender) -> None:
    """Signed by itself, for this very address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(__file__).with_name("self_signed.pem"))
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        answer = await sender.send(webhook(f"https://127.0.0.1:{port}/"), 1, LINE)
    assert answer.status == 0
    assert answer.error.startswith("its certificate is not valid: ")
    assert asked in ([], [b""])


def test_the_secret_is_never_shown_by_accident() -> None:
    shown = repr(webhook("https://example.com/", previous_secret=OLD))
    assert SECRET not in shown
    assert OLD not in shown
