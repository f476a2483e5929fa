"""The network's memory and its front door: every create passes here, is judged by the faults, logged, then answered."""

import asyncio
import hashlib
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
import structlog
from aiohttp import web

from engine.carriers.network import behaviour
from engine.carriers.network.call import Call, Floor
from engine.carriers.network.callbacks import Callbacks
from engine.carriers.network.config import Account, Config, Faults
from engine.carriers.network.inbound import Inbound, IncomingCall
from engine.carriers.network.journal import Journal
from engine.carriers.network.line import Line, Order, Report, Wire
from engine.carriers.network.post import Poster
from engine.carriers.network.pulse import Pulse
from engine.carriers.network.waited import waited_s
from engine.carriers.port import Channel

log = structlog.get_logger(__name__)

_BEFORE_ACCEPT = frozenset({"rate_limit", "drop_before_accept", "redirect"})
_E164 = re.compile(r"\+[1-9]\d{7,14}")
_SMS_FAILURES = {"failed": "landline", "transient": "transient", "filtered": "filtered", "opted_out": "opted_out"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A create that was not accepted: `rate_limited` or `invalid_number`, for the shape to word."""

    reason: str


class Exchange:
    """All calls and texts of this process, by (channel, ref) and by id."""

    def __init__(self, config: Config, journal: Journal, poster: Poster, outside: aiohttp.ClientSession) -> None:
        """`poster` reports to the engine; `outside` goes where campaigns say: to audio and agents."""
        self.config, self.journal = config, journal
        self.callbacks = Callbacks(config, poster, journal, self._obey)
        self.inbound = Inbound(config, journal, self.callbacks.send)
        self.counts: Counter[str] = Counter()
        self._pulse = Pulse()
        self._floor = Floor(config, journal, outside, self.callbacks.send)
        self._lines: dict[str, Line] = {}
        self._by_ref: dict[tuple[Channel, str], Line] = {}
        self._tries: Counter[str] = Counter()

    @property
    def faults(self) -> Faults:
        return self.callbacks.faults

    def set_faults(self, faults: Faults) -> None:
        self.callbacks.faults = faults

    def account(self, account_id: str) -> Account | None:
        return next((account for account in self.config.accounts if account.id == account_id), None)

    def call(self, carrier_id: str) -> Call | None:
        """A call that can still be commanded."""
        line = self._lines.get(carrier_id)
        return line if isinstance(line, Call) and not line.has_ended else None

    def find(self, account: Account, channel: Channel, ref: str) -> Line | None:
        line = self._by_ref.get((channel, ref))
        return line if line is not None and line.account.id == account.id else None

    async def create(self, wire: Wire, account: Account, order: Order, request: web.Request) -> Line | Refusal:
        """Accepts, refuses, or raises what the fault says: an HTTP error, or ConnectionDropped."""
        self._tries[order.ref] += 1
        nth = self._tries[order.ref]
        fault = behaviour.create_fault(self.config, self.faults, order.ref, nth, order.to)
        if fault in _BEFORE_ACCEPT:
            self._log_create(wire, account, order, "", fault, request)
            return self._turn_away(fault, request)
        line = self._open(wire, account, order, nth)
        if line is None:
            self._log_create(wire, account, order, "", "invalid_number", request)
            return Refusal("invalid_number")
        self._log_create(wire, account, order, line.id, "", request)
        self._by_ref.setdefault((order.channel, order.ref), line)
        self._lines[line.id] = line
        await self.answer_badly(fault, request)
        return line

    async def close(self) -> None:
        """Ends every call, for there is nobody to be told any more."""
        for line in self._lines.values():
            if isinstance(line, Call):
                line.abandon()
        self.inbound.close()
        self._pulse.stop()
        await self.callbacks.close()

    def reset(self) -> None:
        """Forgets calls, texts and live faults. The log stays."""
        for line in self._lines.values():
            if isinstance(line, Call):
                line.end("unspecified")
        self.set_faults(self.config.faults)
        for memory in (self._lines, self._by_ref, self._tries, self.counts):
            memory.clear()

    def restore(self, wires: Mapping[str, Wire]) -> None:
        """After a restart: the refs accepted before, so that a look-up never calls an accepted create absent."""
        lines, _ = self.journal.read(0)
        for entry in lines:
            if entry["type"] == "create" and entry["accepted"]:
                self._recall(entry, wires)
        for entry in lines:
            line = self._lines.get(entry.get("carrier_id", ""))
            if line is not None and entry["type"] in ("end", "sms_report"):
                _close(line, entry["at"], entry["cause"], entry.get("duration_s", 0))
        for line in self._lines.values():
            if line.order.channel is Channel.VOICE and not line.reports:
                _close(line, time.time(), "unspecified", 0)  # our own crash cut the call

    def _recall(self, entry: Mapping[str, str], wires: Mapping[str, Wire]) -> None:
        channel, account = Channel(entry["channel"]), self.account(entry["account"])
        if account is None:
            return
        order = Order(channel, entry["ref"], entry["to"], entry["from"], "")
        line = Line(wires[entry["shape"]], account, entry["carrier_id"], order)
        self._lines[line.id] = line
        self._by_ref.setdefault((channel, order.ref), line)
        self._tries[order.ref] += 1

    def _log_create(
        self, wire: Wire, account: Account, order: Order, carrier_id: str, reason: str, request: web.Request
    ) -> None:
        self.counts["create_accepted" if carrier_id else f"create_refused_{reason}"] += 1
        self.journal.write(
            "create",
            shape=wire.name,
            channel=order.channel,
            account=account.id,
            ref=order.ref,
            to=order.to,
            **{"from": order.from_},
            accepted=bool(carrier_id),
            carrier_id=carrier_id,
            reason=reason,
            not_after=order.not_after,
            lag_s=round(max(self._pulse.lag_s(), waited_s(request.transport)), 3),
            **_content(order),
        )

    def _turn_away(self, fault: str, request: web.Request) -> Refusal:
        if fault == "redirect":
            raise web.HTTPTemporaryRedirect(str(request.rel_url))
        if fault == "drop_before_accept":
            raise drop(request)
        return Refusal("rate_limited")

    async def answer_badly(self, fault: str, request: web.Request) -> None:
        if fault == "error_after_accept":
            raise web.HTTPServiceUnavailable(text="accepted, but you will not hear it from here")
        if fault == "drop_after_accept":
            raise drop(request)
        if fault == "hang_after_accept":
            await asyncio.sleep(self.faults.hang_s)

    def _open(self, wire: Wire, account: Account, order: Order, nth: int) -> Line | None:
        if not _E164.fullmatch(order.to):
            return None
        digest = hashlib.blake2b(repr((self.config.seed, order.channel, order.ref, nth)).encode(), digest_size=16)
        carrier_id = ("CA" if order.channel is Channel.VOICE else "SM") + digest.hexdigest()
        if order.channel is Channel.SMS:
            return self._open_text(Line(wire, account, carrier_id, order))
        script = behaviour.voice(self.config, order.ref, order.to)
        if script.outcome == "invalid":
            return None
        call = Call(wire, account, carrier_id, order, floor=self._floor, script=script)
        call.start()
        return call

    def _open_text(self, line: Line) -> Line | None:
        outcome, sent_s, delivery_s = behaviour.sms(self.config, line.order.ref, line.order.to)
        if outcome == "invalid":
            return None
        loop = asyncio.get_running_loop()
        if line.order.not_after is not None and (valid_s := line.order.not_after - time.time()) <= sent_s:
            loop.call_later(max(0.0, valid_s), self._report_text, line, "failed", "expired")
            return line
        loop.call_later(sent_s, self._report_text, line, "sent", "")
        if outcome == "delivered":
            loop.call_later(sent_s + delivery_s, self._report_text, line, "delivered", "")
        elif outcome in _SMS_FAILURES:
            loop.call_later(sent_s + delivery_s, self._report_text, line, "failed", _SMS_FAILURES[outcome])
        return line

    def _report_text(self, line: Line, kind: str, detail: str) -> None:
        report = Report(kind, len(line.reports) + 1, time.time(), detail)
        line.reports.append(report)
        if kind != "sent":
            cause = detail or kind
            self.journal.write("sms_report", ref=line.order.ref, carrier_id=line.id, cause=cause)
        self.callbacks.send(line, report)

    def _obey(self, line: Line, report: Report, body: bytes) -> None:
        """The answer to `answered` or to a verdict is what to do next, once per report (a repeat is a repeat)."""
        if isinstance(line, IncomingCall):
            self.inbound.obey(line, report, body)
            return
        if not isinstance(line, Call) or report.kind not in ("answered", "amd"):
            return
        command = f"report:{report.seq}"
        if command in line.done_commands:
            return
        line.done_commands.add(command)
        try:
            verbs = line.wire.instructions(body)
        except ValueError as error:
            log.warning("document.refused", ref=line.order.ref, error=str(error))
            return
        if verbs is not None:
            names = [type(verb).__name__ for verb in verbs]
            self.journal.write("document", ref=line.order.ref, carrier_id=line.id, event=report.kind, verbs=names)
            line.perform(verbs, hang_up_after=True)


def _content(order: Order) -> dict[str, object]:
    """What a message says. A call's log line has none of it."""
    if order.channel is not Channel.SMS:
        return {}
    return {"text": order.text, "media": list(order.media_urls)}


class ConnectionDropped(web.HTTPException):
    """The socket is gone; the status is never seen."""

    status_code = 500


def drop(request: web.Request) -> ConnectionDropped:
    if request.transport is not None:
        request.transport.abort()
    return ConnectionDropped()


def _close(line: Line, at: float, cause: str, duration_s: int) -> None:
    if line.order.channel is Channel.VOICE:
        line.reports.append(Report("hangup", len(line.reports) + 1, at, cause, duration_s))
    elif cause == "delivered":
        line.reports.append(Report("delivered", len(line.reports) + 1, at))
    else:
        line.reports.append(Report("failed", len(line.reports) + 1, at, cause))
