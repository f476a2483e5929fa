"""CR, LF and NUL in whatever may reach a header or a frame of ours: nothing that a person writes begins a line."""

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from api_min.socket_sink import frame
from engine import egress
from engine.feed import frames, revdesk, teletracker, trunx
from engine.rules import media
from engine.rules.events import Event
from engine.rules.signing import write_secret
from engine.store.webhooks import Webhook
from engine.webhooks.send import Sender
from tests.outside.live import Live
from tests.outside.test_document import STREAMS

HOSTILE = "x\r\nid: 999\r\ndata: {}\r\n\r\nevent: evil\n\n\0\u2028\u0085X-Injected: 1\r\n"
AT = datetime(2026, 3, 9, 16, 5, tzinfo=UTC)
DEADLINE_S = 30.0
SENT = {"host", "content-type", "webhook-id", "webhook-timestamp", "webhook-signature", "accept-encoding", "user-agent",
        "accept", "content-length"}  # fmt: skip


@pytest.fixture
async def wire() -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that keeps the bytes of each request as they came."""
    received: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        received.append(head + await reader.readexactly(length))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], received


def webhook(url: str) -> Webhook:
    return Webhook(
        id=5,
        account_id=3,
        url=url,
        events=("*",),
        secret=write_secret(b"k" * 32),
        previous_secret=None,
        previous_secret_until=None,
        ordered=False,
        active=True,
        disabled_reason="",
        failures=0,
        parked_until=None,
        created_at=AT,
    )


async def test_a_webhook_s_request_has_our_headers_and_no_other(wire: tuple[int, list[bytes]]) -> None:
    port, received = wire
    line = Event("sms.sent", AT, {"text": HOSTILE, HOSTILE: HOSTILE}, HOSTILE, HOSTILE).encode()
    async with egress.guarded_session(allow_private=True, timeout_s=DEADLINE_S) as session:
        sender = Sender(session, allow_private=True, timeout_s=DEADLINE_S)
        answer = await sender.send(webhook(f"http://127.0.0.1:{port}/hook"), 42, line)
    assert answer.status == 200
    (request,) = received
    head, _, body = request.partition(b"\r\n\r\n")
    names = {each.partition(b":")[0].decode().lower() for each in head.split(b"\r\n")[1:]}
    assert names == SENT
    assert orjson.loads(body)["data"] == {"text": HOSTILE, HOSTILE: HOSTILE}


@pytest.mark.parametrize(
    "place",
    ["https://example.com/{}", "https://example.com/?a={}", "https://{}.example.com/", "https://example.com:{}/"],
)
async def test_no_address_of_a_webhook_breaks_the_request_line(outside: Live, place: str) -> None:
    client = outside.client()
    for evil in ("\r\nX-Injected: 1", "\n", "\r", "\0", " HTTP/1.1\r\nHost: evil", "\t", "\u2028\n"):
        answer = outside.ask(client, "POST", "/api/webhooks", {"url": place.format(evil), "events": ["*"]})
        assert (answer.status, answer.error["code"]) == (400, "validation_error"), repr(evil)


@pytest.mark.parametrize("dialect", [trunx.Trunx, revdesk.RevDesk, teletracker.Sse], ids=lambda each: each.name)
def test_no_event_breaks_its_frame(dialect: Any) -> None:
    """Whatever the people write whose texts it carries."""
    payload = {
        "id": HOSTILE,
        "from": HOSTILE,
        "to": HOSTILE,
        "text": HOSTILE,
        "message": HOSTILE,
        "created_at": HOSTILE,
        HOSTILE: HOSTILE,
    }
    for kind in ("sms.received", "sms.sent", "voice.completed"):
        found = dialect.encode(3, 7, Event(kind, AT, payload, HOSTILE, HOSTILE).encode().encode())
        if found.frame:
            assert found.frame.count(b"\n\n") == 1
            assert len(found.frame.decode().splitlines()) == 4
            assert not {*b"\0\r"} & {*found.frame}


def test_a_frame_of_the_websocket_holds_one_message_whatever_is_in_it() -> None:
    line = orjson.dumps({"text": HOSTILE}) + b"\n"
    framed = frame(line)
    assert framed[0] == 0x81
    assert framed[2:] == line[:-1]


@pytest.mark.parametrize("path", sorted(STREAMS))
@pytest.mark.parametrize("name", ["lastEventId", "channels", "topics", "stream", "token"])
def test_nothing_of_a_query_begins_a_line_of_a_stream(outside: Live, path: str, name: str) -> None:
    key = outside.client().key
    host, _, port = outside.url.removeprefix("http://").partition(":")
    query = f"token={key}&{name}={quote(HOSTILE)}" if name != "token" else f"token={quote(HOSTILE)}"
    with socket.create_connection((host, int(port)), timeout=DEADLINE_S) as connection:
        connection.sendall(f"GET {path}?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        received = b""
        while b"\r\n\r\n" not in received or (
            b" 200 " in received and name == "lastEventId" and b"replay." not in received
        ):
            more = connection.recv(65_536)
            assert more
            received += more
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"x-injected" not in head.lower()
    assert not [each for each in body.splitlines() if each.startswith((b"event: evil", b"id: 999", b"X-Injected"))]


@pytest.mark.parametrize(
    "answered", [HOSTILE, f"image/png\r\n{HOSTILE}", "image/p\0ng", "image/png\u2028", "text/html", "image/svg+xml"]
)
def test_no_content_type_of_a_stranger_s_file_breaks_our_header(answered: str) -> None:
    kept = media.kind(answered, "")
    assert kept is None or (kept.isprintable() and kept.isascii())


def test_a_reset_quotes_little_and_safely() -> None:
    assert frames.reset(HOSTILE * 100, 7).count(b"\n\n") == 1
