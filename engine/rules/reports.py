"""What can become known about one attempt: values that the flows fold, whichever way they reached us.

An answer to a create carries the `try_no` of the intent that it belongs to: an answer to an older try says nothing
about the row as it is now.
"""

from collections.abc import Sequence
from enum import IntEnum, auto
from typing import NamedTuple

from engine.rules.telephony import Amd, CarrierError, CarrierEvent, EventKind


class ReportKind(IntEnum):
    """In the order in which they are folded: what a create left behind, then what the carrier told, then our own."""

    ACCEPTED = auto()  # the carrier took the create: `carrier_id`
    REJECTED = auto()  # it provably did not: `error`
    NOT_SENT = auto()  # no byte left us: `reason`
    DOUBTFUL = auto()  # nobody knows yet
    ABSENT = auto()  # an authoritative look-up, after every deadline, found nothing
    CARRIER = auto()  # the carrier's own report: `event`
    CHECK = auto()  # the attempt's `check_at` has passed
    COMMAND_DONE = auto()  # the carrier took command `number`
    COMMAND_FAILED = auto()  # it did not: `error`; `gone` when the call no longer exists
    GIVE_UP = auto()  # the look-ups have led nowhere for long enough


class Report(NamedTuple):
    kind: ReportKind
    try_no: int = 0
    carrier_id: str = ""
    error: CarrierError | None = None
    reason: str = ""
    event: CarrierEvent | None = None
    is_whole: bool = False  # told with everything that went before it: no straggler is on its way
    number: int = 0
    gone: bool = False


def accepted(try_no: int, carrier_id: str) -> Report:
    return Report(ReportKind.ACCEPTED, try_no, carrier_id)


def rejected(try_no: int, error: CarrierError) -> Report:
    return Report(ReportKind.REJECTED, try_no, error=error)


def not_sent(try_no: int, reason: str) -> Report:
    return Report(ReportKind.NOT_SENT, try_no, reason=reason)


def doubtful(try_no: int) -> Report:
    return Report(ReportKind.DOUBTFUL, try_no)


def absent(try_no: int) -> Report:
    return Report(ReportKind.ABSENT, try_no)


def carrier(event: CarrierEvent, *, is_whole: bool = False) -> Report:
    """`is_whole`: from an answer or a look-up, which tell a history, and not from a callback, which tells one event."""
    return Report(ReportKind.CARRIER, event=event, is_whole=is_whole)


def command_done(number: int) -> Report:
    return Report(ReportKind.COMMAND_DONE, number=number)


def command_failed(number: int, *, gone: bool, error: CarrierError | None = None) -> Report:
    return Report(ReportKind.COMMAND_FAILED, number=number, gone=gone, error=error)


CHECK = Report(ReportKind.CHECK)
GIVE_UP = Report(ReportKind.GIVE_UP)


_EVENT_ORDER = {kind: place for place, kind in enumerate(EventKind)}
_AMD_ORDER = {Amd.SCREENING: 0.1, Amd.MACHINE_READY: 0.2}


def in_order(reports: Sequence[Report]) -> Sequence[Report]:
    """The reports in the order in which they must have happened; those of one kind keep their places."""
    return reports if len(reports) < 2 else sorted(reports, key=_place)


def _place(report: Report) -> float:
    place: float = 10 * report.kind
    if (event := report.event) is None:
        return place
    return place + _EVENT_ORDER[event.kind] / 2 + (_AMD_ORDER.get(event.amd, 0.15) / 2 if event.amd else 0.0)
