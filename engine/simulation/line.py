"""The scripted carrier: what it accepts, what it reports and when, what it knows of what it was asked."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.carriers import fence
from engine.carriers.port import Ack, CarrierError, Fault, Lookup, LookupState, Outcome, Receipt
from engine.clock import real_now
from engine.dispatch.intent import Intent
from engine.dispatch.orders import Order
from engine.ids import attempt_ref, parse_attempt_ref
from engine.rules.telephony import Amd, CarrierEvent, Channel, Command, CommandKind, EndReason, EventKind
from engine.simulation.port import CARRIER, SETTINGS
from engine.simulation.script import Contact, OneOff, Script
from engine.simulation.timeline import Timeline

if TYPE_CHECKING:
    from engine.simulation.script import Fault as Wrong

TIMEOUT_S = 5.0
# A busy carrier reads it when its client has long given up; a look-up before that finds nothing.
_ARRIVES_S = {"slow": TIMEOUT_S - 0.5, "unread": TIMEOUT_S + SETTINGS.reconcile_after_s - 1.0}
_ABSENT_FOR_S = 60.0  # what a carrier without authoritative look-ups may not find yet

_REJECTED = {
    "rate_limited": CarrierError(Fault.RATE_LIMITED, "429", "too many", retry_after_s=2.0),
    "unavailable": CarrierError(Fault.TRANSIENT, "503", "unavailable", retryable=True),
    "refused": CarrierError(Fault.SENDER_CONFIG, "403", "the sender is not registered"),
    "invalid": CarrierError(Fault.INVALID_NUMBER, "404", "no such number"),
    "opted_out": CarrierError(Fault.OPTED_OUT, "21610", "opted out"),
}
_VOICE_ENDS = {
    "no_answer": (25.0, EndReason.NO_ANSWER),
    "busy": (2.0, EndReason.BUSY),
    "failed": (1.0, EndReason.FAILED),
    "invalid": (1.0, EndReason.INVALID_NUMBER),
}
_SMS_ERRORS = {
    "failed": CarrierError(Fault.UNREACHABLE, "30003", "unreachable", retryable=True),
    "filtered": CarrierError(Fault.BLOCKED, "30007", "filtered"),
    "opted_out": CarrierError(Fault.OPTED_OUT, "30004", "opted out"),
}


@dataclass(slots=True)
class Contacted:
    """One create that the carrier accepted."""

    ref: str
    channel: Channel
    from_: str
    to: str
    begun_us: int  # its first byte left us
    at_us: int
    contact: Contact | OneOff | None
    events: list[CarrierEvent] = field(default_factory=list)
    answered_us: int | None = None
    ended_us: int | None = None
    is_mute: bool = False  # whatever happens, no callback tells of it
    carrier: str = CARRIER
    commands: set[int] = field(default_factory=set)
    documents: list[int] = field(default_factory=list)  # commands that were fetched as documents
    heard: set[str] = field(default_factory=set)  # callbacks that were answered

    @property
    def campaign_id(self) -> int:
        parsed = parse_attempt_ref(self.ref)
        return parsed[0] if parsed else 0


class ScriptedCarrier:
    """`deliver` is called with each callback when it is due; `log` holds every create that was accepted."""

    def __init__(self, script: Script, timeline: Timeline, deliver: Callable[[CarrierEvent, int], None]) -> None:
        self._script, self._timeline, self._deliver = script, timeline, deliver
        self._contacts = {(each.campaign_id, each.phone): each for each in script.contacts}
        self._one_offs: dict[int, OneOff] = {}  # by prospect
        self._seen: Counter[tuple[str, str]] = Counter()
        self.log: list[Contacted] = []
        self._lines: dict[str, Contacted] = {}

    def expect(self, prospect_id: int, one_off: OneOff) -> None:
        self._one_offs.setdefault(prospect_id, one_off)

    def create(self, intent: Intent) -> tuple[Receipt, float]:
        """The answer to a create whose bytes leave now, and how long it takes."""
        hint = intent.hint
        ref = attempt_ref(hint.campaign_id, hint.prospect_id, hint.attempt)
        wrong = self._wrong("create", hint.phone)
        took_s = self._timeline.spread(0.02, 0.4, "create", ref, intent.try_no)
        kind = wrong.kind.partition(".")[2] if wrong else ""
        if kind in _REJECTED:
            return Receipt(Outcome.REJECTED, error=_REJECTED[kind]), took_s
        if kind == "no_connection":
            return fence.not_sent("connection_refused"), took_s
        if kind in ("error_before", "hang_lost"):
            return Receipt(Outcome.UNKNOWN), TIMEOUT_S if kind == "hang_lost" else took_s
        begun_us = self._timeline.time.now_us
        contact = self._contacts.get((hint.campaign_id, hint.phone)) or self._one_offs.get(hint.prospect_id)
        line = Contacted(
            ref, intent.campaign.channel, hint.from_number, hint.phone, begun_us, 0, contact,
            carrier=intent.campaign.carrier,
        )  # fmt: skip
        arrives_s = _ARRIVES_S.get(kind, took_s / 2)
        self._timeline.after(arrives_s, None, lambda: self._accept(line))
        if kind in ("error_after", "hang", "dropped", *_ARRIVES_S):
            return Receipt(Outcome.UNKNOWN), took_s if kind in ("error_after", "dropped") else TIMEOUT_S
        return Receipt(Outcome.ACCEPTED, f"carrier-{ref}"), took_s

    def lookup(self, ref: str, phone: str) -> Lookup:
        """Raises RuntimeError when the script says that asking fails."""
        wrong = self._wrong("lookup", phone)
        if wrong is not None and wrong.kind == "lookup.raises":
            raise RuntimeError("the look-up failed")
        if wrong is not None:
            return Lookup(LookupState.STILL_UNKNOWN)
        line = self._lines.get(ref)
        is_hidden = line is not None and not self._script.is_authoritative and self._age_s(line) < _ABSENT_FOR_S
        if line is None or is_hidden:
            return Lookup(LookupState.ABSENT)
        return Lookup(LookupState.FOUND, f"carrier-{ref}", tuple(line.events))

    def command(self, order: Order) -> Ack:
        line = self._lines.get(order.ref)
        wrong = self._wrong("command", order.phone)
        if wrong is not None and wrong.kind == "command.refused":
            return Ack(False, error=CarrierError(Fault.BAD_REQUEST, "422", "refused"))
        if wrong is not None and wrong.kind == "command.lost":
            return Ack(False)
        if line is None or line.ended_us is not None:
            return Ack(False, gone=True)
        number = order.command["number"]
        if number not in line.commands:
            line.commands.add(number)
            self._obey(line, order.command["kind"])
        return Ack(wrong is None)

    def answered(self, event: CarrierEvent, plan: Command | None) -> None:
        """The answer to a callback of a document carrier, which does what the first answer to each says."""
        line = self._lines[event.ref]
        if event.key in line.heard or line.ended_us is not None:
            return
        line.heard.add(event.key)
        if plan is not None:
            line.documents.append(plan.number)
            self._obey(line, plan.kind)
        elif event.kind is EventKind.ANSWERED:
            self._end(line, 0.0)  # nothing more to do

    def of(self, event: CarrierEvent) -> Contacted:
        return self._lines[event.ref]

    def up(self, campaign_id: int) -> int:
        return sum(
            line.ended_us is None and line.campaign_id == campaign_id and line.channel is Channel.VOICE
            for line in self.log
        )

    def _wrong(self, group: str, phone: str) -> "Wrong | None":
        self._seen[group, phone] += 1
        return self._script.fault(group, phone, self._seen[group, phone])

    def _age_s(self, line: Contacted) -> float:
        return (self._timeline.time.now_us - line.at_us) / 1e6

    async def _accept(self, line: Contacted) -> None:
        line.at_us = self._timeline.time.now_us
        self.log.append(line)
        self._lines[line.ref] = line
        contacted = sum(other.contact is line.contact for other in self.log)
        ends = line.contact.ends if line.contact else ("human",)
        end = ends[(contacted - 1) % len(ends)]
        line.is_mute = end == "mute"
        if line.channel is Channel.VOICE:
            self._call(line, "human" if line.is_mute else end)
        else:
            self._text(line, "delivered" if line.is_mute else end)

    def _text(self, line: Contacted, end: str) -> None:
        self._later(line, 0.3, EventKind.SMS_SENT)
        if end == "delivered":
            self._later(line, 2.0, EventKind.SMS_DELIVERED)
        elif end in _SMS_ERRORS:
            self._later(line, 2.0, EventKind.SMS_FAILED, error=_SMS_ERRORS[end])
        line.ended_us = line.at_us

    def _call(self, line: Contacted, end: str) -> None:
        self._later(line, 0.5, EventKind.RINGING)
        if end in _VOICE_ENDS:
            wait_s, reason = _VOICE_ENDS[end]
            self._end(line, wait_s, reason)
            return
        self._later(line, 4.0, EventKind.ANSWERED)
        if end == "hangup":
            self._end(line, 4.4)
            return
        if end == "human":
            self._later(line, 5.2, EventKind.AMD, amd=Amd.HUMAN)
            self._later(line, 5.0, EventKind.GREETING_ENDED)
        elif end == "screened":
            self._later(line, 5.0, EventKind.AMD, amd=Amd.SCREENING)
        else:
            self._later(line, 5.0 if end == "machine" else 6.5, EventKind.AMD, amd=Amd.MACHINE)
            self._later(line, 8.0, EventKind.AMD, amd=Amd.MACHINE_READY)
        self._end(line, 14.0 if end == "human" else 40.0)

    def _obey(self, line: Contacted, kind: str) -> None:
        agent = line.contact.agent if line.contact else "bridges"
        if kind == CommandKind.HANDOFF and agent in ("bridges", "late"):
            self._later(line, 0.3 if agent == "bridges" else 3.5, EventKind.AGENT_BRIDGED)
        elif kind == CommandKind.HANDOFF and agent == "fails":
            self._later(line, 0.4, EventKind.AGENT_FAILED)
        elif kind == CommandKind.PLAY:
            self._later(line, 3.0, EventKind.PLAYBACK_DONE)
            self._end(line, 3.1)
        elif kind == CommandKind.HANGUP:
            self._end(line, 0.2)

    def _end(self, line: Contacted, wait_s: float, reason: EndReason = EndReason.COMPLETED) -> None:
        async def end() -> None:
            if line.ended_us is None:
                now_us = self._timeline.time.now_us
                talked_s = None if line.answered_us is None else (now_us - line.answered_us) // 1_000_000
                self._tell(line, EventKind.CALL_ENDED, end=reason, duration_s=talked_s)
                line.ended_us = now_us

        self._timeline.after(wait_s, None, end)

    def _later(self, line: Contacted, wait_s: float, kind: EventKind, **more: object) -> None:
        async def happen() -> None:
            if line.ended_us is None or line.channel is Channel.SMS:
                self._tell(line, kind, **more)

        self._timeline.after(wait_s, None, happen)

    def _tell(self, line: Contacted, kind: EventKind, **more: object) -> None:
        if kind is EventKind.ANSWERED:
            line.answered_us = self._timeline.time.now_us
        key = f"{line.ref}:{len(self.log)}:{len(line.events)}"
        event = CarrierEvent(kind, key, line.ref, f"carrier-{line.ref}", real_now(), **more)  # type: ignore[arg-type]
        line.events.append(event)
        self._seen["callback", line.to] += 1
        if not line.is_mute:
            self._deliver(event, self._seen["callback", line.to])
