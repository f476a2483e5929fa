"""The ticket's verdict: may this create begin at this moment? Every carrier client asks here, right before it acts."""

from engine.carriers.port import CarrierError, Fault, Outcome, Receipt, Ticket

TICKET_EXPIRED = "ticket_expired"
SLOT_MISSED = "slot_missed"


def refusal(ticket: Ticket, now_s: float) -> str:
    """Why the ticket forbids a create at boottime `now_s`; empty when it allows it."""
    if now_s >= ticket.deadline:
        return TICKET_EXPIRED
    if ticket.not_after is not None and now_s > ticket.not_after:
        return SLOT_MISSED
    return ""


def wait_s(ticket: Ticket, now_s: float) -> float:
    """Seconds until the slot; 0 without one. Never beyond the deadline, where waiting on would be pointless."""
    if ticket.not_before is None:
        return 0.0
    return max(0.0, min(ticket.not_before, ticket.deadline) - now_s)


def not_sent(code: str, text: str = "") -> Receipt:
    """Provably nothing left this process: the engine may try the same attempt again."""
    return Receipt(Outcome.NOT_SENT, error=CarrierError(Fault.TRANSIENT, code, text or code, retryable=True))
