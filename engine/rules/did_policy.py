"""How much a number may call, by its state and age: a dated table that settings and accounts may change.

The table is `data/did_policy.json`; it says where its figures come from. A change is a JSON object with `perHour`,
`perDay`, `gapS` and `warming` (calls a day in the first, second, … week), each optional.
"""

import json
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from engine.errors import InvalidInput
from engine.rules.fields import ABSENT, Fields, Problems, shown

_KNOWN = frozenset({"perHour", "perDay", "gapS", "warming"})
_MOST_WEEKS = 12
_MOST_PER_DAY = 100_000
_REDUCED = 0.5


class Caps(NamedTuple):
    """In any hour, in any day, and seconds between two calls."""

    per_hour: int
    per_day: int
    gap_s: int


class Step(NamedTuple):
    until_day: int
    per_day: int


@dataclass(frozen=True, slots=True)
class Policy:
    warming: tuple[Step, ...]
    per_day: int
    per_hour: int
    gap_s: int
    rest_after_low_score_h: int
    rests_after_flag_days: tuple[int, ...]

    @property
    def warming_days(self) -> int:
        return self.warming[-1].until_day if self.warming else 0


def caps(policy: Policy, state: str, age_days: float, is_reduced: bool) -> Caps:
    """The caps of a number. `age_days`: since its warming began. `is_reduced`: its score is between 0.7 and 0.8."""
    per_day = policy.per_day
    if state == "warming":
        per_day = next((step.per_day for step in policy.warming if age_days < step.until_day), per_day)
    if not is_reduced:
        return Caps(policy.per_hour, per_day, policy.gap_s)
    return Caps(_half(policy.per_hour), _half(per_day), policy.gap_s)


def parse_policy(value: object, base: Policy) -> Policy:
    """`base` with what `value` changes. Raises InvalidInput that names every faulty field (`didPolicy.perDay`, …)."""
    problems = Problems()
    fields = Fields(value, "didPolicy", problems, _KNOWN)
    per_hour = fields.whole("perHour", 1, _MOST_PER_DAY, "number of calls")
    per_day = fields.whole("perDay", 1, _MOST_PER_DAY, "number of calls")
    gap_s = fields.whole("gapS", 0, 3_600, "number of seconds")
    warming = _read_warming(fields)
    problems.raise_if_any("didPolicy")
    return replace(
        base,
        per_hour=base.per_hour if per_hour is None else per_hour,
        per_day=base.per_day if per_day is None else per_day,
        gap_s=base.gap_s if gap_s is None else gap_s,
        warming=base.warming if warming is None else warming,
    )


@cache
def policy_of(settings: str, account: str = "") -> Policy:
    """The policy of an account: the table, changed by the setting, changed by the account (JSON texts, or empty).

    A change that cannot be read changes nothing: the table is the cautious side. `parse_policy` says what is wrong.
    """
    policy = DEFAULT_POLICY
    for text in filter(None, (settings, account)):
        try:
            policy = parse_policy(json.loads(text), policy)
        except (InvalidInput, ValueError):
            continue
    return policy


def _read_warming(fields: Fields) -> tuple[Step, ...] | None:
    if fields.get("warming") is ABSENT:
        return None
    weeks = fields.items("warming", _MOST_WEEKS)
    for index, value in enumerate(weeks):
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST_PER_DAY:
            fields.fault(f"warming[{index}]", f"{shown(value)} is no number of calls; give one a week, such as 20")
    return tuple(Step(7 * week, calls) for week, calls in enumerate(weeks, 1) if isinstance(calls, int))


def _half(calls: int) -> int:
    return max(1, int(calls * _REDUCED))


def _default() -> Policy:
    table = json.loads(files("engine.rules.data").joinpath("did_policy.json").read_text("utf-8"))
    return Policy(
        warming=tuple(Step(step["until_day"], step["per_day"]) for step in table["warming"]),
        per_day=min(table["per_day"], table["most_per_day"]),
        per_hour=table["per_hour"],
        gap_s=table["gap_s"],
        rest_after_low_score_h=table["rest_after_low_score_h"],
        rests_after_flag_days=tuple(table["rests_after_flag_days"]),
    )


DEFAULT_POLICY = _default()
