"""The HTTP client of every carrier adapter: one session per account, one try per create, and a fence before the socket.

SDKs and connection pools resend, queue and wait. A telephone must not ring twice, and not ring late, so a create is
written at most once, and only if its ticket still allows it in the very loop turn in which the bytes reach the socket.
"""

import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_reqrep import ClientRequest, ClientResponse
from aiohttp.connector import AddrInfoType, Connection

from engine.carriers import fence
from engine.carriers.port import CarrierError, Fault, Outcome, Receipt, Ticket
from engine.clock import boottime, real_now

Form = Sequence[tuple[str, str]]

_DISCARD = struct.pack("ii", 1, 0)  # struct linger: on, for no time
_MAX_RETRY_AFTER_S = 3600.0  # a carrier that asks for more is asking for an operator


class TicketRefused(Exception):
    """The fence closed before any byte was written. Never leaves this module."""


@dataclass(slots=True)
class _Fence:
    """One create on its way: its ticket, and whether its bytes were handed to the socket."""

    ticket: Ticket
    written_at: float | None = None  # boottime

    def check(self) -> None:
        if reason := fence.refusal(self.ticket, boottime()):
            raise TicketRefused(reason)


_fence: ContextVar[_Fence | None] = ContextVar("carrier_fence", default=None)


class FencedRequest(ClientRequest):
    """Checks the ticket twice: when a connection is held, and again when header and body go out in one write.

    aiohttp up to Python 3.11 writes in a task of its own, so the loop may turn between the two. The headers stay
    buffered until the body comes, hence the second check guards every byte.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fence = _fence.get()

    async def send(self, conn: Connection) -> ClientResponse:
        if self.fence is not None:
            try:
                await fence.until_slot(self.fence.ticket)
                self.fence.check()
            except TicketRefused:
                conn.release()  # untouched: back to the pool, or every missed slot would cost a handshake
                raise
        return await super().send(conn)

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        if self.fence is not None and (refused := self._refusal(self.fence, conn)) is not None:
            if conn.protocol is not None:
                conn.protocol.set_exception(refused)  # wakes the reader, which waits for an answer that cannot come
            conn.close()
            return
        await super().write_bytes(writer, conn, content_length)

    def _refusal(self, held: _Fence, conn: Connection) -> Exception | None:
        transport = conn.transport
        if transport is None or transport.is_closing():
            return aiohttp.ClientConnectionError("the idle connection was closed before the request")
        try:
            held.check()
        except TicketRefused as refused:
            return refused
        held.written_at = boottime()
        return None


@dataclass(frozen=True, slots=True)
class CreateTiming:
    """For metrics. `lateness_s`: bytes out after the slot; `latency_s`: bytes out to answer. None: nothing was sent."""

    status: int  # 0 without an answer
    lateness_s: float | None
    latency_s: float | None


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """What every adapter's client shares. `connections` caps the requests in flight per account."""

    connections: int = 64
    connect_timeout_s: float = 2.0
    total_timeout_s: float = 5.0
    on_create: Callable[[CreateTiming], None] | None = None
    request_class: type[FencedRequest] = FencedRequest


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, whole. `status` 0 means that none came, and `text` says why."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = ""

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> dict[str, Any]:
        """The body as an object; empty when it is none, for a proxy's HTML must not raise in an adapter."""
        try:
            value = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        return value if isinstance(value, dict) else {}


class CarrierHttp:
    """One account's connections. `create` is fenced and never retried; `request` is for commands and look-ups."""

    def __init__(self, base_url: str, headers: Mapping[str, str], options: HttpOptions) -> None:
        self._base_url = base_url.rstrip("/")
        self._headers = dict(headers)
        self._options = options
        self._session: aiohttp.ClientSession | None = None

    async def create(
        self, path: str, ticket: Ticket, *, json: object = None, form: Form | None = None
    ) -> Answer | Receipt:
        """POSTs once. Returns the carrier's answer, or a Receipt: NOT_SENT if no byte left, else UNKNOWN."""
        held = _Fence(ticket)
        token = _fence.set(held)
        answer: Answer | None = None
        try:
            answer = await self._send("POST", path, json=json, form=form)
            return answer
        except TicketRefused as refused:
            return fence.not_sent(str(refused))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return _lost(error, held)
        finally:
            _fence.reset(token)
            self._report(held, answer)

    async def request(self, method: str, path: str, *, json: object = None, form: Form | None = None) -> Answer:
        """One try of a command or look-up; a transport failure is an Answer with status 0."""
        try:
            return await self._send(method, path, json=json, form=form)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Answer(0, text=_words(error))

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _send(self, method: str, path: str, *, json: object, form: Form | None) -> Answer:
        data, headers = _encode(json, form)
        async with self._open().request(
            method, self._base_url + path, data=data, headers=headers, allow_redirects=False
        ) as response:
            return Answer(response.status, await response.read(), response.headers)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            options = self._options
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=options.connections,
                    keepalive_timeout=30,
                    socket_factory=partial(_forgetful_socket, options.total_timeout_s),
                ),
                timeout=aiohttp.ClientTimeout(total=options.total_timeout_s, connect=options.connect_timeout_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                request_class=options.request_class,
                headers=self._headers,
            )
        return self._session

    def _report(self, held: _Fence, answer: Answer | None) -> None:
        if self._options.on_create is None:
            return
        sent_at, slot = held.written_at, held.ticket.not_before
        lateness_s = sent_at - slot if sent_at is not None and slot is not None else None
        latency_s = boottime() - sent_at if sent_at is not None else None
        self._options.on_create(CreateTiming(answer.status if answer else 0, lateness_s, latency_s))


def _forgetful_socket(timeout_s: float, address: AddrInfoType) -> socket.socket:
    """A socket whose kernel delivers nothing that we have given up.

    While a link is silent, TCP keeps what was written and sends it again and again, for minutes, also after a close and
    after the death of the process. The link comes back, and with it a create that was looked up meanwhile, found absent
    and repeated. So a close discards what was not delivered (linger 0: a reset in place of an orderly end), and what is
    not acknowledged within the request's own timeout is dropped even if the process stands still.
    """
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DISCARD)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(timeout_s * 1e3))
    return made


def valid_for_s(not_after: datetime, ticket: Ticket) -> int:
    """Whole seconds of validity, at least one, for a carrier that counts them from its acceptance: they end by
    `not_after` even if the create leaves at its ticket's last moment."""
    left_s = (not_after - real_now()).total_seconds() - (ticket.deadline - boottime())
    return max(1, int(left_s))


def refused(answer: Answer, code: str, text: str, faults: Mapping[str, tuple[Fault, bool]]) -> Receipt:
    """What a create's answer other than 2xx leaves behind; `faults` maps the carrier's code to (fault, retryable).

    A 5xx may come after the call was queued, and a redirect says nothing about it either: both are UNKNOWN.
    """
    status = answer.status
    if status == 429:
        error = CarrierError(Fault.RATE_LIMITED, code, text, retryable=True, retry_after_s=retry_after_s(answer))
        return Receipt(Outcome.REJECTED, error=error)
    if not 400 <= status < 500:
        return Receipt(Outcome.UNKNOWN, error=CarrierError(Fault.UNKNOWN, code or f"http_{status}", text))
    fault, retryable = faults.get(code, _BY_STATUS.get(status, (Fault.BAD_REQUEST, False)))
    return Receipt(Outcome.REJECTED, error=CarrierError(fault, code or f"http_{status}", text, retryable))


def retry_after_s(answer: Answer) -> float | None:
    """Seconds of `Retry-After`; None when it is missing, or a date (whose clock may not be ours)."""
    try:
        seconds = float(answer.headers.get("Retry-After", ""))
    except ValueError:
        return None
    return min(seconds, _MAX_RETRY_AFTER_S) if seconds >= 0 else None


_BY_STATUS = {401: (Fault.AUTH, False), 403: (Fault.AUTH, False)}


def _lost(error: Exception, held: _Fence) -> Receipt:
    if held.written_at is None:
        return fence.not_sent("connect_failed", _words(error))
    code = "timeout" if isinstance(error, TimeoutError) else "connection_lost"
    return Receipt(Outcome.UNKNOWN, error=CarrierError(Fault.UNKNOWN, code, _words(error)))


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _encode(json: object, form: Form | None) -> tuple[bytes | None, dict[str, str]]:
    if json is not None:
        return orjson.dumps(json), {"Content-Type": "application/json"}
    if form is not None:
        return urlencode(form).encode(), {"Content-Type": "application/x-www-form-urlencoded"}
    return None, {}
