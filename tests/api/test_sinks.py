"""A stream's bytes on a connection that takes none any more."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from starlette.types import Message

from api_min.sinks import TransportSink


@pytest.fixture
async def ended() -> AsyncIterator[asyncio.Transport]:
    """A transport whose writing side is over, which it does not show."""
    ours, theirs = socket.socketpair()
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
    transport.write_eof()
    yield transport
    transport.abort()
    theirs.close()


def sink_of(transport: asyncio.Transport) -> TransportSink:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        transport.write(message["body"])

    return TransportSink(transport, receive, send)


async def test_a_write_that_fails_cuts_the_client_and_nobody_else(ended: asyncio.Transport) -> None:
    """It is called from the reader of everybody's events."""
    sink = sink_of(ended)
    assert not ended.is_closing()
    sink.write(b"data: 1\n\n")
    assert not sink.is_open
    assert sink.pending() == 0


async def test_so_does_a_wait_that_fails(ended: asyncio.Transport) -> None:
    sink = sink_of(ended)
    await sink.drained()
    assert not sink.is_open
