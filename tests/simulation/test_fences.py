"""Negative controls: a store, or a watch, with one fence taken away is caught, and what catches it is short."""

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from engine.carriers.port import Lookup, LookupState
from engine.coordinator.shard import Due
from engine.dispatch.facts import AttemptKey
from engine.dispatch.hints import Hint
from engine.dispatch.watch import learn
from engine.rules import reports
from engine.rules.attempt import AttemptState
from engine.rules.decision import UNANSWERED, AttemptView, Decision
from engine.rules.reports import Report
from engine.simulation.lanes import Lane, LaneServer
from engine.simulation.memory import MemorySteps
from engine.simulation.port import Request
from engine.simulation.rows import ProspectRow
from engine.simulation.runner import Build, shortest
from engine.simulation.script import STARTS, Contact, Deed, Fault, write
from engine.simulation.world import Learn, play
from engine.store.callbacks import Report as Callback
from tests.simulation.test_found import CALL

MOST_SEEDS = 150
MOST_ENTRIES = 14


class NoUniqueIntent(MemorySteps):
    """An intent is granted whatever the attempt's row and the prospect's say."""

    def attempt_state(self, hint: Hint) -> int | None:
        return None

    def prospect_state(self, hint: Hint) -> int | None:
        return 0


class NoStateGuard(MemorySteps):
    """What is written is not compared with what it was decided from."""

    def may_write(self, decision: Decision) -> bool:
        return (decision.view.prospect_id, decision.view.attempt) in self.attempts


class NoMonotoneRank(MemorySteps):
    """A late report finds an ended attempt as if it were under way."""

    def read(self, key: AttemptKey) -> AttemptView | None:
        view = super().read(key)
        if view is not None and view.state == AttemptState.ENDED:
            return view._replace(state=AttemptState.PLACED, answered_at=None, ended_at=None)
        return view

    def may_write(self, decision: Decision) -> bool:
        return True


class OptOutsUnseen(MemorySteps):
    def is_suppressed(self, account_id: int, phone: str) -> bool:
        return False


class NumbersNeverRest(MemorySteps):
    def is_free(self, did_id: int) -> bool:
        return True


class PutsOffAnybody(MemorySteps):
    """Also who was cancelled or contacted since the claim."""

    def may_put_off(self, row: ProspectRow, due: Due, now: datetime) -> bool:
        return True


class AnswersAnything(MemorySteps):
    """The plan of a call is told to whatever report comes."""

    def may_render(self, command: Mapping[str, Any], callback: Callback) -> bool:
        return bool(command["rendered"])


class NamesForgotten(MemorySteps):
    """A request that comes again is another one."""

    def one_off_of(self, asked: Request, new: int) -> int:
        return new


class NamesPerCarrier(MemorySteps):
    """A request that comes again after a change of carrier is another one."""

    def _same(self, asked: Request, number: int) -> ProspectRow | None:
        return self.by_phone.get((self._direct(asked, self.clock.now()).id, asked.phone, number))


class FromAnyNumber(MemorySteps):
    """A one-off contact comes from whatever number its account has."""

    def sender_of(self, row: ProspectRow) -> str | None:
        return next(each.number.e164 for each in self.numbers.values() if each.number.account_id == row.account_id)


class SlotsTwice(LaneServer):
    """A slot that was handed out is handed out again."""

    def take(self, lane: Lane, at: float, earliest: float) -> None:
        pass


class FlushesBurst(LaneServer):
    """A lane of which nothing is known is taken for an idle one."""

    def begins(self, horizon: float) -> float:
        return -math.inf


def believes_anything(view: AttemptView, lookup: Lookup, is_authoritative: bool, is_last: bool) -> list[Report]:
    """What nobody knows was never sent."""
    if lookup.state is not LookupState.FOUND and view.state in UNANSWERED:
        return [reports.doubtful(view.try_no), reports.absent(view.try_no)]
    return learn(view, lookup, is_authoritative, is_last)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "believes", "lanes", "promise"),
    [
        (NoUniqueIntent, learn, LaneServer, "P2"),
        (NoStateGuard, learn, LaneServer, "P"),
        (NoMonotoneRank, learn, LaneServer, "P6"),
        (OptOutsUnseen, learn, LaneServer, "P5"),
        (NumbersNeverRest, learn, LaneServer, "P4"),
        (AnswersAnything, learn, LaneServer, "P2 documents_once"),
        (NamesForgotten, learn, LaneServer, "P2 asked_once_made_once"),
        (NamesPerCarrier, learn, LaneServer, "P2 asked_once_made_once"),
        (FromAnyNumber, learn, LaneServer, "P2 comes_from_its_number"),
        (MemorySteps, believes_anything, LaneServer, "P2"),
        (MemorySteps, learn, SlotsTwice, "P4 call_rate"),
    ],
    ids=[
        "unique intent",
        "state guard",
        "monotone rank",
        "opt-out",
        "sender",
        "document",
        "name",
        "name after a move",
        "own number",
        "unknown",
        "slots",
    ],
)
async def test_without_a_fence_a_promise_breaks_within_few_seeds(
    build: Build, believes: Learn, lanes: type[LaneServer], promise: str
) -> None:
    for seed in range(MOST_SEEDS):
        history = await play(write(seed), build, believes, lanes)
        if any(problem.startswith(promise) for problem in history.problems):
            break
    else:
        pytest.fail(f"nothing was caught within {MOST_SEEDS} seeds")
    short = await shortest(history, build, believes, lanes)
    assert any(problem.startswith(promise) for problem in short.problems)
    script = short.script
    assert len(script.faults) + len(script.deeds) + len(script.contacts) + len(script.one_offs) <= MOST_ENTRIES
    assert not (await play(short.script, MemorySteps)).problems, "the engine itself holds the same history"


async def test_who_was_cancelled_since_the_claim_is_not_put_off() -> None:
    """One coordinator finds that the night has begun and is stopped; meanwhile the campaign is cancelled and swept."""
    night = replace(
        CALL,
        start=STARTS[0] + timedelta(hours=12),
        deeds=(*CALL.deeds, Deed(0.6, "cancel", "100")),
        faults=(Fault("stall", "coordinator-0/claim", 1, 5.0),),
    )
    assert (await play(night, MemorySteps)).problems == []
    assert any(problem.startswith("P1") for problem in (await play(night, PutsOffAnybody)).problems)


async def test_after_a_flush_the_slots_that_are_on_their_way_are_remembered() -> None:
    phones = [f"+121355501{n:02d}" for n in range(12)]
    busy = replace(
        CALL,
        campaigns=(replace(CALL.campaigns[0], calls_per_second=4.0),),
        contacts=tuple(Contact(100, phone, ("busy",)) for phone in phones),
        faults=(Fault("flush", "1.300", 1),),
    )
    assert (await play(busy, MemorySteps)).problems == []
    burst = await play(busy, MemorySteps, lanes=FlushesBurst)
    assert any(problem.startswith("P4 call_rate") for problem in burst.problems)
