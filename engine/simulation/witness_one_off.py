"""What must hold of one-off contacts besides what holds of everybody: asked for once, made once, from their number."""

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from engine.ids import parse_attempt_ref
from engine.rules.prospect import Outcome, ProspectState
from engine.simulation.port import Snapshot
from engine.simulation.script import OneOff

if TYPE_CHECKING:
    from engine.simulation.world import World


class OneOffWitness:
    def __init__(self, world: "World") -> None:
        self._world = world
        self._asked: dict[int, OneOff] = {}  # by prospect
        self._kept: dict[OneOff, set[int]] = defaultdict(set)

    def kept(self, one_off: OneOff, prospect_id: int) -> None:
        """A request is durable, in this prospect. Whatever its client hears or asks again: it stays this one."""
        self._asked.setdefault(prospect_id, one_off)
        self._kept[one_off].add(prospect_id)

    def is_ai(self, prospect_id: int) -> bool:
        return self._asked[prospect_id].asked.is_ai

    def requests_kept_once(self, _end: Snapshot) -> list[str]:
        """Each request is one prospect, and each prospect that of one request; a client with a name gave no rest."""
        named = [each for each in self._world.script.one_offs if each.asked.name]
        owners = Counter(id_ for some in self._kept.values() for id_ in some)
        problems = [f"{each} is kept nowhere" for each in named if each not in self._kept]
        problems += [f"{some} are all of {each}" for each, some in self._kept.items() if len(some) > 1]
        return problems + [f"{id_} is kept for {n} requests" for id_, n in owners.items() if n > 1]

    def kept_where_asked(self, end: Snapshot) -> list[str]:
        """In the hidden campaign of its account and channel; and nobody is there without a request."""
        homes = {each.id: (each.account_id, each.channel) for each in end.directs}
        found = {each.id: (*homes[each.campaign_id], each.phone) for each in end.people if each.campaign_id in homes}
        wanted = {id_: (*each.asked[:2], each.asked.phone) for id_, each in self._asked.items()}
        return [
            f"{id_} was asked for as {wanted.get(id_)}, and is {found.get(id_)}"
            for id_ in sorted({*found, *wanted})
            if found.get(id_) != wanted.get(id_)
        ]

    def ends_are_explained(self, end: Snapshot) -> list[str]:
        """An outcome, with the reason if it is unknown, or a cancellation with its reason."""
        reasons = {(view.prospect_id, view.attempt): view.reason for view in end.attempts}
        ours = [person for person in end.people if person.id in self._asked]
        return [
            f"{person} has no explanation"
            for person in ours
            if (person.state == ProspectState.CANCELLED and not person.reason)
            or (person.state == ProspectState.COMPLETED and person.outcome is None)
            or (person.outcome == Outcome.UNKNOWN and not reasons.get((person.id, person.attempt)))
        ]

    def asked_once_made_once(self, end: Snapshot) -> list[str]:
        """Nothing is tried again behind its client's back, and no repeat of a request is a second contact."""
        made = Counter(
            self._asked[id_] for line in self._world.carrier.log if (id_ := _prospect(line.ref)) in self._asked
        )
        again = [view for view in end.attempts if view.attempt > 1 and view.prospect_id in self._asked]
        return [f"{view.prospect_id} has an attempt {view.attempt}" for view in again] + [
            f"{one_off} was made {n} times" for one_off, n in made.items() if n > 1
        ]

    def comes_from_its_number(self, _end: Snapshot) -> list[str]:
        return [
            f"{line.ref} came from {line.from_}, asked for was {asked.number}"
            for line in self._world.carrier.log
            if (one_off := self._asked.get(_prospect(line.ref))) and (asked := one_off.asked).number != line.from_
        ]


def _prospect(ref: str) -> int:
    parsed = parse_attempt_ref(ref)
    return parsed[1] if parsed else 0
