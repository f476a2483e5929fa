"""The fence: no byte of a create leaves after its deadline or beside its slot, whatever the loop or the pool does."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_reqrep import ClientResponse
from aiohttp.connector import Connection

from engine.carriers import fence
from engine.carriers.http import Answer, CarrierHttp, CreateTiming, FencedRequest, HttpOptions, refused, retry_after_s
from engine.carriers.port import Fault, Outcome, Receipt, Ticket
from engine.clock import boottime
from tests.carriers.conftest import fresh_ticket

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
LATE_S = 0.015
PREEMPTION_S = 0.05  # this machine is shared: how late the witness thread may wake up after bytes arrived in time


@dataclass
class Witness:
    """A server in threads of its own that notes when bytes arrive, even while the client's loop is blocked."""

    listener: socket.socket
    arrivals: list[tuple[float, bytes]] = field(default_factory=list)
    connections: int = 0
    may_answer: threading.Event = field(default_factory=threading.Event)
    got_bytes: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.listener.getsockname())

    def refs(self) -> set[str]:
        received = b"".join(data for _, data in self.arrivals)
        return {part.split(b'"')[0].decode() for part in received.split(b'{"ref":"')[1:]}

    def accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65_536):
                    self.arrivals.append((boottime(), data))
                    self.got_bytes.set()
                    self.may_answer.wait(10)
                    connection.sendall(ANSWER)
            except OSError:
                return


@pytest.fixture
def witness() -> Iterator[Witness]:
    listener = socket.create_server(("127.0.0.1", 0))
    running = Witness(listener)
    running.may_answer.set()
    thread = threading.Thread(target=running.accept, daemon=True)
    thread.start()
    yield running
    running.may_answer.set()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


Connect = Callable[..., CarrierHttp]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Clients that are closed after the test, also after a failed one."""
    opened: list[CarrierHttp] = []

    def open_client(base_url: str, **options: Any) -> CarrierHttp:
        opened.append(CarrierHttp(base_url, {}, HttpOptions(**options)))
        return opened[-1]

    yield open_client
    for client in opened:
        await client.close()


async def post(http: CarrierHttp, ref: str, ticket: Ticket) -> Answer | Receipt:
    return await http.create("/calls", ticket, json={"ref": ref})


def code_of(result: Answer | Receipt) -> str:
    assert isinstance(result, Receipt)
    assert result.error is not None
    return result.error.code


async def test_a_pool_that_is_busy_past_the_deadline_sends_nothing(witness: Witness, connect: Connect) -> None:
    witness.may_answer.clear()
    http = connect(witness.url, connections=1)
    first = asyncio.create_task(post(http, "first", fresh_ticket()))
    await asyncio.to_thread(witness.got_bytes.wait, 5)
    ticket = fresh_ticket(0.2)
    late = asyncio.create_task(post(http, "late", ticket))
    waited_for = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.3, waited_for.set_result, None)
    await waited_for
    witness.may_answer.set()
    assert isinstance(await first, Answer)
    result = await late
    assert isinstance(result, Receipt)
    assert (result.outcome, code_of(result)) == (Outcome.NOT_SENT, "ticket_expired")
    assert isinstance(await post(http, "next", fresh_ticket()), Answer)  # the connection was not harmed
    assert witness.refs() == {"first", "next"}
    assert witness.connections == 1


class BlockedBetween(FencedRequest):
    """The loop is blocked after the connection is held and before the task that writes the body runs."""

    async def send(self, conn: Connection) -> ClientResponse:
        asyncio.get_running_loop().call_soon(time.sleep, 0.3)
        return await super().send(conn)


async def test_a_loop_blocked_before_the_write_sends_nothing_late(witness: Witness, connect: Connect) -> None:
    http = connect(witness.url, request_class=BlockedBetween)
    ticket = fresh_ticket(0.2)
    result = await post(http, "late", ticket)
    if isinstance(result, Receipt):  # Python 3.12 and later write before the loop can turn
        assert (result.outcome, code_of(result)) == (Outcome.NOT_SENT, "ticket_expired")
        assert witness.arrivals == []
    else:
        assert witness.arrivals[0][0] < ticket.deadline


class BlockedAfter(FencedRequest):
    """The loop is blocked in the very turn in which the bytes are written."""

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        await super().write_bytes(writer, conn, content_length)
        time.sleep(0.3)  # noqa: ASYNC251 - the fault under test


async def test_bytes_leave_with_the_check_and_not_at_the_end_of_the_turn(witness: Witness, connect: Connect) -> None:
    http = connect(witness.url, request_class=BlockedAfter)
    for ref in ("of a new connection", "of a kept one"):
        ticket = fresh_ticket(0.25)
        assert isinstance(await post(http, ref, ticket), Answer)
        assert witness.arrivals[-1][0] < ticket.deadline
    assert witness.connections == 1


async def test_under_a_stuttering_loop_what_was_not_sent_never_arrives_and_the_rest_arrives_in_time(
    witness: Witness, connect: Connect
) -> None:
    http = connect(witness.url, connections=5, connect_timeout_s=60, total_timeout_s=60)
    deadlines = {f"r{number}": boottime() + 0.02 * number for number in range(40)}
    deadlines["patient"] = boottime() + 60  # goes out however slow this machine is just now
    stop = asyncio.Event()

    async def stutter() -> None:
        while not stop.is_set():
            time.sleep(0.005)  # noqa: ASYNC251 - the fault under test
            await asyncio.sleep(0)

    stutterer = asyncio.create_task(stutter())
    results = await asyncio.gather(*(post(http, ref, Ticket(deadline)) for ref, deadline in deadlines.items()))
    stop.set()
    await stutterer
    sent = {ref for ref, result in zip(deadlines, results, strict=True) if isinstance(result, Answer)}
    assert witness.refs() == sent
    assert 0 < len(sent) < len(deadlines)
    for arrived_at, data in witness.arrivals:
        ref = data.split(b'{"ref":"')[1].split(b'"')[0].decode()
        assert arrived_at < deadlines[ref] + PREEMPTION_S


async def test_a_create_waits_for_its_slot(witness: Witness, connect: Connect) -> None:
    timings: list[CreateTiming] = []
    http = connect(witness.url, on_create=timings.append)
    slot = boottime() + 0.1
    result = await post(http, "slot", Ticket(slot + 2, slot, slot + LATE_S))
    if isinstance(result, Receipt):  # this machine was away for 15 ms: then the slot is forfeited, never used late
        assert code_of(result) == "slot_missed"
    else:
        assert witness.arrivals[0][0] >= slot
        (timing,) = timings
        assert timing.status == 200
        assert timing.lateness_s is not None
        assert 0 <= timing.lateness_s <= LATE_S
        assert timing.latency_s is not None


async def test_a_timer_that_ends_early_makes_no_create_early(
    witness: Witness, connect: Connect, early_timers: None
) -> None:
    http = connect(witness.url)
    slot = boottime() + 0.1
    assert isinstance(await post(http, "slot", Ticket(slot + 60, slot, slot + 60)), Answer)
    assert witness.arrivals[0][0] >= slot


async def test_a_missed_slot_is_forfeited(witness: Witness, connect: Connect) -> None:
    timings: list[CreateTiming] = []
    http = connect(witness.url, on_create=timings.append)
    result = await post(http, "late", fresh_ticket(slot_in_s=-0.016))
    assert isinstance(result, Receipt)
    assert (result.outcome, code_of(result)) == (Outcome.NOT_SENT, "slot_missed")
    assert timings == [CreateTiming(0, None, None)]
    assert witness.arrivals == []


async def test_no_name_no_certificate_no_listener_is_not_sent(witness: Witness, connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        refused_url = "http://{}:{}".format(*unused.getsockname())
    for url in (refused_url, "http://nowhere.invalid", witness.url.replace("http:", "https:")):
        http = connect(url, total_timeout_s=1.0)
        result = await post(http, "none", fresh_ticket())
        assert isinstance(result, Receipt)
        assert result.outcome is Outcome.NOT_SENT
        assert result.error is not None
        assert (result.error.fault, result.error.retryable) == (Fault.TRANSIENT, True)


async def test_a_timeout_after_the_bytes_is_unknown(witness: Witness, connect: Connect) -> None:
    witness.may_answer.clear()
    http = connect(witness.url, total_timeout_s=0.2)
    result = await post(http, "doubt", fresh_ticket())
    assert isinstance(result, Receipt)
    assert (result.outcome, code_of(result)) == (Outcome.UNKNOWN, "timeout")
    assert len(witness.arrivals) == 1


async def test_a_create_that_is_given_up_is_taken_from_the_kernel(connect: Connect) -> None:
    """A close discards what was not delivered, which the other end sees as a reset; `tests/network` has the reason."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        http = connect("http://{}:{}".format(*listener.getsockname()), total_timeout_s=0.2)
        await post(http, "doubt", fresh_ticket())
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(5)
            assert b"doubt" in connection.recv(65_536)
            with pytest.raises(ConnectionResetError):
                await asyncio.to_thread(connection.recv, 65_536)


async def test_a_pool_timeout_before_the_bytes_is_not_sent(witness: Witness, connect: Connect) -> None:
    witness.may_answer.clear()
    http = connect(witness.url, connections=1, connect_timeout_s=0.2)
    first = asyncio.create_task(post(http, "first", fresh_ticket()))
    await asyncio.to_thread(witness.got_bytes.wait, 5)
    result = await post(http, "second", fresh_ticket(9))
    assert isinstance(result, Receipt)
    assert result.outcome is Outcome.NOT_SENT
    witness.may_answer.set()
    await first
    assert witness.refs() == {"first"}


@pytest.mark.parametrize("status", [500, 502, 503, 504, 301, 302, 303, 307, 308])
def test_5xx_and_redirects_prove_nothing(status: int) -> None:
    assert refused(Answer(status), "", "", {}).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("status", "code", "fault"),
    [
        (400, "", Fault.BAD_REQUEST),
        (401, "", Fault.AUTH),
        (403, "", Fault.AUTH),
        (403, "optout", Fault.OPTED_OUT),
        (422, "unheard-of", Fault.BAD_REQUEST),
        (429, "", Fault.RATE_LIMITED),
    ],
)
def test_4xx_is_a_refusal_for_a_reason(status: int, code: str, fault: Fault) -> None:
    receipt = refused(Answer(status), code, "", {"optout": (Fault.OPTED_OUT, False)})
    assert receipt.outcome is Outcome.REJECTED
    assert receipt.error is not None
    assert receipt.error.fault is fault


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2", 2.0), ("0.5", 0.5), ("86400", 3600.0), ("-1", None), ("nan", None), ("Wed, 21 Oct 2026", None), ("", None)],
)
def test_retry_after(text: str, seconds: float | None) -> None:
    assert retry_after_s(Answer(429, headers={"Retry-After": text})) == seconds


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"\xff"])
def test_a_body_that_is_no_object_reads_as_empty(body: bytes) -> None:
    assert Answer(200, body).json() == {}


@pytest.mark.parametrize(
    ("now", "deadline", "slot", "reason"),
    [
        (10.0, 10.0, None, "ticket_expired"),
        (9.999, 10.0, None, ""),
        (5.014, 10.0, 5.0, ""),
        (5.016, 10.0, 5.0, "slot_missed"),
        (11.0, 10.0, 5.0, "ticket_expired"),
    ],
)
def test_the_verdict(now: float, deadline: float, slot: float | None, reason: str) -> None:
    assert fence.refusal(Ticket(deadline, slot, None if slot is None else slot + LATE_S), now) == reason


def test_aiohttp_is_not_asked_to_retry_a_create() -> None:
    """It resends some methods by itself when a kept connection turns out dead. POST must not be among them."""
    assert "POST" not in aiohttp.client.IDEMPOTENT_METHODS
