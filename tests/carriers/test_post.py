"""The network's own client: connections are kept, and a bad one never answers for the next request."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from engine.carriers.network.post import Poster

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Engine:
    """Answers each request with what `answer` makes of its bytes; None leaves it without one."""

    def __init__(self, answer: Callable[[bytes], bytes | None]) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        while head := await reader.read(65_536):
            self.requests.append(head)
            if answer := self.answer(head):
                writer.write(answer)
        writer.close()

    async def hang_up(self) -> None:
        for writer in self.writers:
            writer.close()
            await writer.wait_closed()


@asynccontextmanager
async def engine(answer: Callable[[bytes], bytes | None] = lambda _: OK) -> AsyncIterator[Engine]:
    running = Engine(answer)
    server = await asyncio.start_server(running.serve, "127.0.0.1", 0)
    running.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/carriers/x/callbacks?att=a%2Fb"
    try:
        yield running
    finally:
        server.close()
        await running.hang_up()


@asynccontextmanager
async def posting(timeout_s: float = 30.0) -> AsyncIterator[Poster]:
    poster = Poster(4, timeout_s)
    yield poster
    poster.close()


async def test_a_host_that_stands_still_holds_up_no_other() -> None:
    async with engine(lambda _: None) as silent, engine() as other, posting() as poster, asyncio.timeout(20):
        waiting = [asyncio.create_task(poster.post(silent.url, {}, b"")) for _ in range(5)]
        while len(silent.requests) < 4:  # noqa: ASYNC110 — nothing else tells what has come
            await asyncio.sleep(0)
        assert await poster.post(other.url, {}, b"") == (200, b"ok")
        assert len(silent.requests) == 4
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_request_is_sent_as_it_is_and_its_connection_kept() -> None:
    async with engine() as running, posting() as poster:
        for _ in range(3):
            assert await poster.post(running.url, {"x-sim-signature": "s"}, b"body") == (200, b"ok")
        head, _, body = running.requests[0].partition(b"\r\n\r\n")
        assert body == b"body"
        assert head.startswith(b"POST /carriers/x/callbacks?att=a%2Fb HTTP/1.1\r\nHost: 127.0.0.1:")
        assert head.endswith(b"\r\nContent-Length: 4\r\nx-sim-signature: s")
        assert len(running.writers) == 1


async def test_no_more_connections_than_allowed() -> None:
    async with engine() as running, posting() as poster:
        answers = await asyncio.gather(*(poster.post(running.url, {}, b"") for _ in range(20)))
        assert answers == [(200, b"ok")] * 20
        assert len(running.writers) <= 4


async def test_a_connection_that_was_closed_is_replaced() -> None:
    async with engine() as running, posting() as poster:
        await poster.post(running.url, {}, b"")
        await running.hang_up()
        [[kept]] = [host.idle for host in poster._hosts.values()]
        while not kept.transport.is_closing():  # noqa: ASYNC110 — nothing tells when the loop has read the end
            await asyncio.sleep(0)
        assert await poster.post(running.url, {}, b"") == (200, b"ok")
        assert len(running.writers) == 2


async def test_a_late_answer_is_never_the_next_ones() -> None:
    async with engine(lambda request: OK if b"second" in request else None) as running, posting(0.05) as poster:
        with pytest.raises(TimeoutError):
            await poster.post(running.url, {}, b"first")
        assert await poster.post(running.url, {}, b"second") == (200, b"ok")
        assert len(running.writers) == 2


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"])
async def test_what_is_no_http_is_no_answer(answer: bytes) -> None:
    async with engine(lambda _: answer) as running, posting() as poster:
        with pytest.raises(ConnectionError):
            await poster.post(running.url, {}, b"")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "nowhere", "http://", "http://127.0.0.1:port/"])
async def test_what_is_no_address_is_refused(url: str) -> None:
    async with posting() as poster:
        with pytest.raises(ValueError, match=r".+"):
            await poster.post(url, {}, b"")
