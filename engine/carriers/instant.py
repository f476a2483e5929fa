"""An in-process carrier without I/O: it accepts at once and knows the end at once. For the benchmark only.

It obeys the ticket exactly as `engine.carriers.http` does, so the benchmark pays for deadline and slot.
"""
# ruff: noqa: ARG002 - the port's signatures; most of them have nothing to do here

import asyncio

from engine.carriers import fence
from engine.carriers.port import (
    Ack,
    AgentKind,
    BadSignature,
    CallbackRequest,
    CallRef,
    Capabilities,
    CarrierError,
    CarrierEvent,
    Channel,
    Command,
    EndReason,
    EventKind,
    Fault,
    HttpReply,
    Inbound,
    Lookup,
    LookupState,
    NumberSearch,
    Offers,
    Outcome,
    PlaceCall,
    Receipt,
    SendMessage,
    Shape,
    Ticket,
)
from engine.clock import boottime, real_now

_TALK_S = 40  # of an answered call: its number stays healthy
_NOT_SOLD = Receipt(Outcome.REJECTED, error=CarrierError(Fault.BAD_REQUEST, "no_numbers", "it sells no numbers"))
_ENDS = (EndReason.COMPLETED, EndReason.NO_ANSWER, EndReason.COMPLETED, EndReason.BUSY)  # in turn: half are answered


class Instant:
    """Account settings: none. Every voice call ends in turn completed, no answer or busy; every text is delivered."""

    name = "instant"
    caps = Capabilities(
        channels=frozenset(Channel),
        shape=Shape.COMMAND,
        agent_kinds=frozenset(AgentKind),
        authoritative_lookup=True,
        is_simulated=True,
        most_segments=24,
        most_media=10,
    )

    def __init__(self) -> None:
        self._count = 0

    async def place_call(self, call: PlaceCall, ticket: Ticket) -> Receipt:
        if receipt := await _admit(ticket):
            return receipt
        self._count += 1
        return _receipt(call.ref, (EventKind.CALL_ENDED,), _ENDS[self._count % len(_ENDS)])

    async def send_message(self, message: SendMessage, ticket: Ticket) -> Receipt:
        if receipt := await _admit(ticket):
            return receipt
        return _receipt(message.ref, (EventKind.SMS_SENT, EventKind.SMS_DELIVERED), None)

    async def command(self, call: CallRef, command: Command) -> Ack:
        return Ack(ok=False, gone=True)

    async def lookup(self, ref: str, channel: Channel) -> Lookup:
        """Nothing outlives the process, and what it accepted it answered in the same breath."""
        return Lookup(LookupState.ABSENT)

    def read(self, request: CallbackRequest, now_s: float) -> tuple[CarrierEvent | Inbound, ...]:
        raise BadSignature("the instant carrier sends no callbacks: whoever sends one is somebody else")

    def reply(self, request: CallbackRequest, plan: Command | None) -> HttpReply:
        return HttpReply(200)

    async def search_numbers(self, wanted: NumberSearch) -> Offers:
        return Offers(())

    async def buy_number(self, number: str, ref: str) -> Receipt:
        return _NOT_SOLD

    async def release_number(self, number: str, carrier_id: str, ref: str) -> Receipt:
        return _NOT_SOLD

    async def close(self) -> None:
        return


async def _admit(ticket: Ticket) -> Receipt | None:
    if (wait_s := fence.wait_s(ticket, boottime())) > 0:
        await asyncio.sleep(wait_s)
    reason = fence.refusal(ticket, boottime())
    return fence.not_sent(reason) if reason else None


def _receipt(ref: str, kinds: tuple[EventKind, ...], end: EndReason | None) -> Receipt:
    carrier_id = f"instant-{ref}"
    now = real_now()
    duration_s = None if end is None else _TALK_S if end is EndReason.COMPLETED else 0
    events = tuple(
        CarrierEvent(kind, f"{carrier_id}:{kind}", ref, carrier_id, now, end=end, duration_s=duration_s)
        for kind in kinds
    )
    return Receipt(Outcome.ACCEPTED, carrier_id, events=events)
