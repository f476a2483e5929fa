"""An in-process carrier without I/O: it accepts at once and knows the end at once. For the benchmark only.

It obeys the ticket exactly as `engine.carriers.http` does, so the benchmark pays for deadline and slot.
"""
# ruff: noqa: ARG002 - the port's signatures; most of them have nothing to do here

import itertools
from collections import defaultdict
from collections.abc import Iterator

from engine.carriers import fence
from engine.carriers.port import (
    Ack,
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
_ANSWERED = (EndReason.COMPLETED, _TALK_S)
# In turn for each number: by chance alone one in a hundred would be answered so seldom that it comes to rest, and a
# round would end with the wait for another number.
_ENDS = (_ANSWERED, (EndReason.NO_ANSWER, 0), _ANSWERED, (EndReason.BUSY, 0))


class Instant:
    """Account settings: none. The calls of each number end in turn completed, no answer or busy; every text is
    delivered."""

    name = "instant"
    caps = Capabilities(
        channels=frozenset(Channel),
        shape=Shape.COMMAND,
        authoritative_lookup=True,
        is_simulated=True,
        most_segments=24,
        most_media=10,
    )

    def __init__(self) -> None:
        self._ends: defaultdict[str, Iterator[tuple[EndReason, int]]] = defaultdict(lambda: itertools.cycle(_ENDS))

    async def place_call(self, call: PlaceCall, ticket: Ticket) -> Receipt:
        if receipt := await _admit(ticket):
            return receipt
        end, duration_s = next(self._ends[call.from_])
        carrier_id = f"instant-{call.ref}"
        event = CarrierEvent(
            EventKind.CALL_ENDED, carrier_id, call.ref, carrier_id, real_now(), end=end, duration_s=duration_s
        )
        return Receipt(Outcome.ACCEPTED, carrier_id, events=(event,))

    async def send_message(self, message: SendMessage, ticket: Ticket) -> Receipt:
        if receipt := await _admit(ticket):
            return receipt
        carrier_id, now = f"instant-{message.ref}", real_now()
        events = tuple(
            CarrierEvent(kind, f"{carrier_id}:{kind}", message.ref, carrier_id, now)
            for kind in (EventKind.SMS_SENT, EventKind.SMS_DELIVERED)
        )
        return Receipt(Outcome.ACCEPTED, carrier_id, events=events)

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
    await fence.until_slot(ticket)
    reason = fence.refusal(ticket, boottime())
    return fence.not_sent(reason) if reason else None
