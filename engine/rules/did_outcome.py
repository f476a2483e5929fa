"""What one attempt says of the number it came from."""

from collections.abc import Mapping

from engine.rules.did_health import Kind
from engine.rules.prospect import Outcome
from engine.rules.telephony import Channel, EndReason, Fault

_CALLS: Mapping[Outcome, Kind] = {
    Outcome.HUMAN_CONNECTED: Kind.PERSON,
    Outcome.ABANDONED: Kind.PERSON,  # they answered: our missing agent is not the number's fault
    Outcome.VOICEMAIL: Kind.MACHINE,
    Outcome.NO_ANSWER: Kind.NO_ANSWER,
    Outcome.BUSY: Kind.BUSY,
}
_FAILED_CALLS: Mapping[str | None, Kind] = {EndReason.REJECTED: Kind.DECLINED, "fax": Kind.MACHINE}  # by their reason
_TEXT_FAULTS: Mapping[Fault, Kind] = {
    Fault.BLOCKED: Kind.FILTERED,
    Fault.OPTED_OUT: Kind.OPTED_OUT,
    Fault.INVALID_NUMBER: Kind.UNREACHABLE,
    Fault.UNREACHABLE: Kind.UNREACHABLE,
    Fault.UNKNOWN: Kind.UNDELIVERED,
}


def kind_of(channel: Channel, outcome: Outcome, reason: str | None, fault: Fault | None) -> Kind | None:
    """The kind of an ended attempt; None when it says nothing of the number (not in service, never reported, …)."""
    return _of_text(outcome, fault) if channel is Channel.SMS else _of_call(outcome, reason, fault)


def _of_call(outcome: Outcome, reason: str | None, fault: Fault | None) -> Kind | None:
    if fault is Fault.BLOCKED:
        return Kind.BLOCKED
    return _FAILED_CALLS.get(reason) if outcome is Outcome.FAILED else _CALLS.get(outcome)


def _of_text(outcome: Outcome, fault: Fault | None) -> Kind | None:
    if outcome is Outcome.DELIVERED:
        return Kind.DELIVERED
    if outcome is Outcome.UNKNOWN:
        return Kind.UNDELIVERED
    return _TEXT_FAULTS.get(fault) if fault is not None else None
