"""Streams under strangers: last ids and tokens of every kind, and frames of a WebSocket that are none."""

import contextlib
import re
import socket
import struct
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.outside import strategies
from tests.outside.amount import tries
from tests.outside.live import Live
from tests.outside.test_document import STREAMS

SAMPLE = 15
REQUESTS_PER_INPUT = 0.01
DEADLINE_S = 15.0
UPGRADE = (
    b"GET /api/realtime HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


@pytest.fixture(scope="module")
def key(outside: Live) -> str:
    return outside.client().key


@contextlib.contextmanager
def connected(outside: Live) -> Iterator[socket.socket]:
    host, _, port = outside.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE_S) as connection:
        yield connection


def until(connection: socket.socket, pattern: bytes) -> bytes:
    """What comes, up to the pattern or to the end."""
    received = b""
    while not re.search(pattern, received, re.DOTALL):
        try:
            more = connection.recv(65_536)
        except ConnectionResetError:
            return received
        if not more:
            return received
        received += more
    return received


header_values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=60)


@pytest.mark.parametrize("path", sorted(STREAMS))
def test_any_last_id_is_answered_by_a_stream_that_begins_well(outside: Live, key: str, path: str) -> None:
    """In the header or in the query; never a failure."""

    @tries(SAMPLE, REQUESTS_PER_INPUT)
    @given(in_query=st.none() | strategies.event_ids, in_header=st.none() | header_values | st.integers().map(str))
    def ask(in_query: str | None, in_header: str | None) -> None:
        query = "" if in_query is None else f"&lastEventId={quote(in_query.encode('utf-8', 'replace'))}"
        header = "" if in_header is None else f"Last-Event-ID: {in_header}\r\n"
        with connected(outside) as connection:
            connection.sendall(f"GET {path}?token={key}{query} HTTP/1.1\r\nHost: x\r\n{header}\r\n".encode("latin-1"))
            head = until(connection, rb"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), head

    ask()


def frame(opcode: int, payload: bytes, *, is_last: bool = True, is_masked: bool = True) -> bytes:
    """As RFC 6455 5.2 has it, right or wrong."""
    head = bytes([(0x80 if is_last else 0) | (opcode & 0x0F)])
    size = len(payload)
    masked = 0x80 if is_masked else 0
    if size < 126:
        head += bytes([masked | size])
    elif size < 65_536:
        head += bytes([masked | 126]) + struct.pack("!H", size)
    else:
        head += bytes([masked | 127]) + struct.pack("!Q", size)
    mask = b"\x01\x02\x03\x04"
    if not is_masked:
        return head + payload
    return head + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))


frames = st.binary(max_size=60) | st.builds(
    frame,
    st.integers(0, 15),
    st.binary(max_size=200) | strategies.socket_messages.map(lambda text: text.encode("utf-8", "replace")),
    is_last=st.booleans(),
    is_masked=st.booleans(),
)


def test_any_frames_are_answered_or_end_the_connection(outside: Live, capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing is raised on our side."""

    @tries(3 * SAMPLE, REQUESTS_PER_INPUT)
    @given(sent=st.lists(frames, min_size=1, max_size=12))
    def talk(sent: list[bytes]) -> None:
        with connected(outside) as connection:
            connection.sendall(UPGRADE)
            assert until(connection, rb"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(b"".join(sent))
                connection.sendall(frame(0x8, b""))

    talk()
    assert outside.ask(outside.client(), "GET", "/api/campaigns").status == 200
    assert "realtime.failed" not in capsys.readouterr().out


@pytest.mark.parametrize("opcode", [0x1, 0x2])
def test_a_message_without_end_is_not_collected(outside: Live, opcode: int) -> None:
    """Over 64 KiB it is cut off, in one frame or in many, announced or not."""
    for parts in ([b"x" * 200_000], [b"x" * 10_000] * 20):
        with connected(outside) as connection:
            connection.sendall(UPGRADE)
            until(connection, rb"\r\n\r\n")
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for place, part in enumerate(parts):
                    connection.sendall(frame(opcode if place == 0 else 0, part, is_last=False))
            assert (1009).to_bytes(2) in until(connection, (1009).to_bytes(2))  # "message too big"
