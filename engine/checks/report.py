"""The table of all checkers, and running them."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from engine.checks import attempts, callers, calls, contacts, events, limits, people, prospects, tenants, usage
from engine.checks.evidence import Evidence


@dataclass(frozen=True, slots=True)
class Check:
    promise: str
    run: Callable[[Evidence], Awaitable[list[str]]]
    needs_log: bool = False

    @property
    def name(self) -> str:
        return self.run.__name__

    @property
    def claim(self) -> str:
        """The first line of the checker's docstring: what holds when it passes."""
        return (self.run.__doc__ or "").partition("\n")[0]


CHECKS = (
    Check("P1", prospects.counts_add_up),
    Check("P1", prospects.counts_equal_rows),
    Check("P1", prospects.completed_have_no_open),
    Check("P1", prospects.open_are_due),
    Check("P1", usage.usage_equals_attempts),
    Check("P2", attempts.attempts_contiguous),
    Check("P2", attempts.accepted_once, needs_log=True),
    Check("P2", attempts.creates_were_intended, needs_log=True),
    Check("P4", limits.sms_spacing, needs_log=True),
    Check("P4", limits.call_rate, needs_log=True),
    Check("P4", callers.calls_per_number),
    Check("P4", calls.calls_at_once),
    Check("P4", calls.carrier_rate, needs_log=True),
    Check("P5", contacts.suppressed_left_alone),
    Check("P5", contacts.inside_window),
    Check("P5", people.attempts_capped),
    Check("P5", people.consent_given),
    Check("P5", people.registries_asked),
    Check("P5", contacts.creates_followed_intents, needs_log=True),
    Check("P6", events.gapless),
    Check("P6", events.outbox_drains),
    Check("P6", events.causes_come_first),
    Check("P7", tenants.accounts_agree),
)
PROMISES = tuple(sorted({each.promise for each in CHECKS}))
# No row and no carrier's log tells when a pause was answered (P3) or that Redis was lost (P8).
SHOWN_ELSEWHERE = {
    "P3": "when a pause was answered is not recorded: `carillon simulate` and `carillon chaos` check it",
    "P8": "it is the other promises while Redis is lost: `carillon simulate` and `carillon chaos` flush it",
}


@dataclass(frozen=True, slots=True)
class Result:
    check: Check
    problems: list[str]
    skipped: bool = False  # it needs a carrier log and there is none

    @property
    def passed(self) -> bool:
        return not self.problems and not self.skipped


async def run_checks(evidence: Evidence, promises: Collection[str] = ()) -> list[Result]:
    """One result per checker of the `promises` (all when empty), in the order of the table."""
    results = []
    for check in CHECKS:
        if promises and check.promise not in promises:
            continue
        if check.needs_log and evidence.creates is None:
            results.append(Result(check, [], skipped=True))
        else:
            results.append(Result(check, await check.run(evidence)))
    return results
