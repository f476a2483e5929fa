"""The ticket's verdict: may this create begin at this moment? Every carrier client asks here, right before it acts."""

from engine.carriers.port import CarrierError, Fault, Outcome, Receipt, Ticket
from engine.clock import until

TICKET_EXPIRED = "ticket_expired"
SLOT_MISSED = "slot_missed"


def refusal(ticket: Ticket, now_s: float) -> str:
    """Why the ticket forbids a create at boottime `now_s`; empty when it allows it."""
    if now_s >= ticket.deadline:
        return TICKET_EXPIRED
    if ticket.not_after is not None and now_s > ticket.not_after:
        return SLOT_MISSED
    return ""


async def until_slot(ticket: Ticket) -> None:
    """Waits for the slot, if there is one. Never beyond the deadline, where waiting on would be pointless."""
    if ticket.not_before is not None:
        await until(min(ticket.not_before, ticket.deadline))


def not_sent(code: str, text: str = "") -> Receipt:
    """Provably nothing left this process: the engine may try the same attempt again."""
    return Receipt(Outcome.NOT_SENT, error=CarrierError(Fault.TRANSIENT, code, text or code, retryable=True))
