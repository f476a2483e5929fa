"""The benchmark's carrier obeys the same ticket as a real one."""

from engine.carriers.instant import Instant
from engine.carriers.port import EndReason, EventKind, Outcome, PlaceCall, SendMessage, Ticket
from engine.clock import boottime
from tests.carriers.conftest import fresh_ticket

CALL = PlaceCall("att-1", "+14155550100", "+12125550100", 30, 600, amd=True, callback_url="")
TEXT = SendMessage("att-2", "+14155550100", "+12125550100", "hello", callback_url="")


async def test_it_knows_the_end_at_once() -> None:
    carrier = Instant()
    receipts = [await carrier.place_call(CALL, fresh_ticket()) for _ in range(4)]
    assert {receipt.outcome for receipt in receipts} == {Outcome.ACCEPTED}
    ends = [event.end for receipt in receipts for event in receipt.events]
    assert {EndReason.COMPLETED, EndReason.BUSY, EndReason.NO_ANSWER} == set(ends)
    text = await carrier.send_message(TEXT, fresh_ticket())
    assert [event.kind for event in text.events] == [EventKind.SMS_SENT, EventKind.SMS_DELIVERED]
    assert len({event.key for event in text.events}) == 2


async def test_it_refuses_an_expired_ticket_and_a_missed_slot() -> None:
    carrier = Instant()
    for ticket in (fresh_ticket(-1), fresh_ticket(slot_in_s=-0.02)):
        for receipt in (await carrier.place_call(CALL, ticket), await carrier.send_message(TEXT, ticket)):
            assert receipt.outcome is Outcome.NOT_SENT


async def test_it_waits_for_its_slot(early_timers: None) -> None:
    slot = boottime() + 0.05
    receipt = await Instant().place_call(CALL, Ticket(slot + 1, slot, slot + 0.015))
    assert boottime() >= slot
    assert receipt.outcome in (Outcome.ACCEPTED, Outcome.NOT_SENT)  # the latter if this machine was away for 15 ms
