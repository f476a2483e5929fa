"""A create that was given up is not delivered by the kernel when the link is back: it may have been repeated."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.carriers.http import Answer, CarrierHttp, HttpOptions
from engine.carriers.port import Outcome, Receipt, Ticket
from engine.clock import boottime
from tests.network.namespaces import Machine, Network

pytestmark = pytest.mark.slow

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
TIMEOUT_S = 1.0
# What TCP sends again it sends at growing intervals; after a second of silence the next is at most so far away.
AGAIN_S = 4.0


@dataclass(frozen=True, slots=True)
class Carrier:
    here: Machine
    there: Machine
    listener: socket.socket

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.listener.getsockname())


@pytest.fixture
def carrier(network: Network) -> Iterator[Carrier]:
    here, there = network.plug(), network.plug()
    with there.entered():
        listener = socket.create_server((there.address, 0))
    with listener, here.entered():
        yield Carrier(here, there, listener)


async def test_after_its_timeout(carrier: Carrier) -> None:
    http = CarrierHttp(carrier.url, {}, HttpOptions(total_timeout_s=TIMEOUT_S))
    try:
        first = asyncio.create_task(http.create("/calls", _ticket(), json={"ref": "answered"}))
        connection = await asyncio.to_thread(_answer_one, carrier.listener)
        with connection:
            assert isinstance(await first, Answer)
            carrier.here.cut(carrier.there)
            lost = await http.create("/calls", _ticket(), json={"ref": "lost"})
            assert isinstance(lost, Receipt)
            assert lost.outcome is Outcome.UNKNOWN
            carrier.here.mend(carrier.there)
            assert await asyncio.to_thread(_what_comes, connection) == b""
    finally:
        await http.close()


async def test_from_a_process_that_stands_still(carrier: Carrier) -> None:
    """It cannot give anything up itself, and what it wrote lies in its kernel's buffer."""
    with _two_creates(carrier.url) as process:
        assert process.stdin is not None
        try:
            connection = await asyncio.to_thread(_answer_one, carrier.listener)
            with connection:
                port = connection.getpeername()[1]
                await _until(lambda: _unacknowledged(port) == 0, "the answer to be read")
                carrier.here.cut(carrier.there)
                process.stdin.write(b"\n")
                process.stdin.flush()
                await _until(lambda: bool(_unacknowledged(port)), "the second create to be written")
                os.kill(process.pid, signal.SIGSTOP)
                await _until(lambda: _unacknowledged(port) is None, "the kernel to give it up")
                carrier.here.mend(carrier.there)
                assert await asyncio.to_thread(_what_comes, connection) == b""
        finally:
            process.kill()


TWO_CREATES = """
import asyncio, sys
from engine.carriers.http import CarrierHttp, HttpOptions
from engine.carriers.port import Ticket
from engine.clock import boottime

async def main():
    http = CarrierHttp(sys.argv[1], {}, HttpOptions(total_timeout_s=float(sys.argv[2])))
    await http.create("/calls", Ticket(boottime() + 10), json={"ref": "answered"})
    await asyncio.to_thread(sys.stdin.readline)
    await http.create("/calls", Ticket(boottime() + 10), json={"ref": "lost"})

asyncio.run(main())
"""


def _two_creates(url: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", TWO_CREATES, url, str(TIMEOUT_S)], stdin=subprocess.PIPE)


def _ticket() -> Ticket:
    return Ticket(boottime() + 10.0)


def _answer_one(listener: socket.socket) -> socket.socket:
    listener.settimeout(30.0)
    connection, _ = listener.accept()
    connection.settimeout(AGAIN_S)
    assert b"answered" in connection.recv(65_536)
    connection.sendall(ANSWER)
    return connection


def _what_comes(connection: socket.socket) -> bytes:
    """Within `AGAIN_S`; nothing when the connection is reset or silent."""
    try:
        return connection.recv(65_536)
    except (TimeoutError, ConnectionResetError):
        return b""


def _unacknowledged(port: int) -> int | None:
    """Bytes that the established connection from `port` has sent in vain; None when there is no such connection."""
    for line in Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, queues, *_ = line.split()
        if int(local.partition(":")[2], 16) == port and state == "01":
            return int(queues.partition(":")[0], 16)
    return None


async def _until(reached: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 10.0
    while not reached():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        await asyncio.sleep(0.01)
