"""What an account must keep to beyond hours and opt-outs: its `compliance` setting, read into values.

    {"require_registry": true, "require_consent": true, "frequencyCap": {"max": 2, "per": "24h"}}

Registries and consent are required of live traffic over real carriers, where people are, and of nothing else, unless
the setting says so. The cap holds everywhere.
"""

from dataclasses import dataclass

from engine.rules.attempt_caps import DEFAULT_CAP, Cap, read_cap
from engine.rules.fields import ABSENT, Fields, Problems

_FIELDS = frozenset({"require_registry", "require_consent", "frequencyCap"})


@dataclass(frozen=True, slots=True)
class Compliance:
    requires_registry: bool = False  # marketing: listed numbers need written consent, and the copies must be fresh
    requires_consent: bool = False  # the class that `rules.consent` asks for
    cap: Cap = DEFAULT_CAP  # marketing contacts per person


USUAL = Compliance()
# Of an account whose setting cannot be read: a mistake must be quiet and seen, not loud.
STRICTEST = Compliance(True, True, Cap(1, DEFAULT_CAP.period_s))


def parse_compliance(value: object, *, is_real: bool) -> Compliance:
    """`is_real`: a live key at a real carrier. Raises InvalidInput that names every faulty field."""
    problems = Problems()
    fields = Fields(None if value is ABSENT else value, "compliance", problems, _FIELDS)
    found = Compliance(
        requires_registry=fields.boolean("require_registry", is_real),
        requires_consent=fields.boolean("require_consent", is_real),
        cap=read_cap(fields, problems, "account") or DEFAULT_CAP,
    )
    problems.raise_if_any("compliance")
    return found
