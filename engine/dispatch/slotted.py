"""Hints that have a send slot, and the creates that were then granted to them."""

from collections.abc import Sequence
from typing import NamedTuple

from engine.dispatch.hints import Job
from engine.dispatch.intent import Intent
from engine.ids import attempt_ref
from engine.limits.slots import Slot

NEAR_S = 0.002  # slots that share a timer: a seventh of what a create may be late


class Slotted(NamedTuple):
    job: Job
    slot: Slot


Granted = tuple[Intent, Slotted]


def near_slots(granted: Sequence[Granted]) -> list[list[Granted]]:
    """Groups of creates, in order of their slots, whose slots lie within `NEAR_S` of one another."""
    groups: list[list[Granted]] = []
    end = 0.0
    for each in granted:
        if not groups or each[1].slot.at > end:
            groups.append([])
            end = each[1].slot.at + NEAR_S
        groups[-1].append(each)
    return groups


def name_of(item: Slotted) -> dict[str, object]:
    """What a log line says of it."""
    hint = item.job.hint
    return {"attempts": [attempt_ref(hint.campaign_id, hint.prospect_id, hint.attempt)]}
