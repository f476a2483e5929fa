"""Connections that send nothing, or too much: the real protocol class under a real uvicorn."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from api_min.connections import MAX_HEAD_BYTES, BoundedConnection
from tests.feed.conftest import eventually

DEADLINE_S = 15.0


class Impatient(BoundedConnection):
    head_timeout_s = 0.2


async def length(request: Request) -> Response:
    async for _ in request.stream():
        pass
    return PlainTextResponse(str(len(request.headers.get("last-event-id", ""))))


@pytest.fixture(params=[BoundedConnection, Impatient])
async def address(request: pytest.FixtureRequest) -> AsyncIterator[tuple[str, int]]:
    app = Starlette(routes=[Route("/", length, methods=["GET", "POST"])])
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=request.param, lifespan="off", log_config=None))
    task = asyncio.create_task(server._serve())
    await eventually(lambda: server.started)
    yield server.servers[0].sockets[0].getsockname()
    server.should_exit = True
    await task


impatient = pytest.mark.parametrize("address", [Impatient], indirect=True)
patient = pytest.mark.parametrize("address", [BoundedConnection], indirect=True)


async def ask(address: tuple[str, int], sent: bytes) -> bytes:
    """Everything that comes until the server closes."""
    reader, writer = await asyncio.open_connection(*address)
    async with asyncio.timeout(DEADLINE_S):
        writer.write(sent)
        answer = await reader.read()
    writer.close()
    return answer


async def pour(address: tuple[str, int], begun: bytes, more: bytes) -> None:
    """Sends more and more, far beyond any limit. Raises ConnectionError when it is cut."""
    _, writer = await asyncio.open_connection(*address)
    try:
        writer.write(begun)
        for _ in range(500):
            writer.write(more)
            await writer.drain()
            await asyncio.sleep(0)  # `drain` waits only when much is pending
    finally:
        writer.transport.abort()


@patient
async def test_a_head_without_end_is_refused_and_not_collected(address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    sent = 0
    async with asyncio.timeout(DEADLINE_S):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nLast-Event-ID: ")
        while sent < 1_000_000:
            writer.write(b"9" * 10_000)
            await writer.drain()
            sent += 10_000
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b'{"error":{"code":"headers_too_large"' in answer


@patient
async def test_a_large_head_within_the_limit_is_read(address: tuple[str, int]) -> None:
    value = b"9" * (MAX_HEAD_BYTES - 1_000)
    request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nLast-Event-ID: " + value + b"\r\n\r\n"
    assert (await ask(address, request)).endswith(str(len(value)).encode())


@impatient
async def test_a_connection_that_sends_nothing_is_cut(address: tuple[str, int]) -> None:
    assert await ask(address, b"") == b""


@impatient
async def test_a_request_that_does_not_end_is_told_so(address: tuple[str, int]) -> None:
    answer = await ask(address, b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in answer


@impatient
async def test_many_half_open_connections_are_gone_in_time(address: tuple[str, int]) -> None:
    opened = [socket.create_connection(address) for _ in range(300)]
    answers = await asyncio.gather(*(asyncio.to_thread(connection.recv, 1) for connection in opened))
    for connection in opened:
        connection.close()
    assert answers == [b""] * 300


@impatient
async def test_a_kept_connection_may_wait_longer_for_its_next_request(address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    async with asyncio.timeout(DEADLINE_S):
        for wait_s in (0.0, 2 * Impatient.head_timeout_s):
            await asyncio.sleep(wait_s)  # the passing of time is what is tested
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 123\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(1) == b"3"
    writer.close()


CHUNKED = b"HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
CLOSING = b"POST / HTTP/1.1\r\nConnection: close\r\n" + CHUNKED.removeprefix(b"HTTP/1.1\r\n")


@patient
async def test_what_follows_a_body_is_no_header(address: tuple[str, int]) -> None:
    """RFC 9110 6.5.1: what a proxy before us has looked at are the headers."""
    answer = await ask(address, CLOSING + b"3\r\nabc\r\n0\r\nLast-Event-ID: 123\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n0")


@patient
@pytest.mark.parametrize("path", [b"/", b"/nowhere"], ids=["awaited", "answered"])
@pytest.mark.parametrize(
    ("begun", "more"),
    [(b"0\r\n", b"ab: cd\r\n" * 1_000), (b"0\r\nab: ", b"9" * 8_000), (b"3;", b"9" * 8_000)],
    ids=["fields", "field", "extension"],
)
async def test_what_follows_a_body_without_end_is_not_collected(
    address: tuple[str, int], path: bytes, begun: bytes, more: bytes
) -> None:
    """Its connection is cut: another answer would be taken for a part of the first."""
    with pytest.raises(ConnectionError):
        await pour(address, b"POST " + path + b" " + CHUNKED + begun, more)


@patient
async def test_a_body_of_many_small_parts_is_read(address: tuple[str, int]) -> None:
    """What is around the parts is larger than any head may be."""
    answer = await ask(address, CLOSING + b"1;extension\r\na\r\n" * 20_000 + b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
