"""What kind of consent a contact needs, and what kinds there are.

| | live voice | AI or prerecorded voice | text of a campaign |
| --- | --- | --- | --- |
| marketing | none, or what a state asks for | express written | express written |
| informational | none | express | express |
| emergency | none | none | none |

Sources: 47 CFR 64.1200(a)(1)(iii), (a)(2), (a)(3) and FCC 24-17 (an AI agent is an artificial voice); CTIA 5.1 for
informational texts; states by the flags of their rows in `data/state_rules.csv` (COMPLIANCE 2).
"""

from collections.abc import Iterable, Mapping
from enum import IntEnum

from engine.rules.purpose import Purpose


class Consent(IntEnum):
    """Ascending: a class serves wherever a lower one is asked for."""

    NONE = 0
    EXPRESS = 1
    EXPRESS_WRITTEN = 2

    @property
    def label(self) -> str:
        return self.name.lower()


LABELS: Mapping[str, Consent] = {consent.label: consent for consent in Consent}

_AUTOMATED: Mapping[Purpose, Consent] = {
    Purpose.MARKETING: Consent.EXPRESS_WRITTEN,
    Purpose.INFORMATIONAL: Consent.EXPRESS,
    Purpose.EMERGENCY: Consent.NONE,
}
# What a state asks for before any solicitation, a live call included. `pewc_automated` and `texts_need_consent` ask for
# no more than the federal rule above does.
_OF_STATES: Mapping[str, Consent] = {
    "pewc": Consent.EXPRESS_WRITTEN,
    "mobile_unsolicited_ban": Consent.EXPRESS,  # which numbers are mobiles is not known here: all are taken for one
}


def needed(is_automated: bool, purpose: Purpose, flags: Iterable[str] = ()) -> Consent:
    """The least class that allows it. `is_automated`: an artificial or prerecorded voice, or a campaign's text;
    `flags`: of every state row that may bind."""
    federal = _AUTOMATED[purpose] if is_automated else Consent.NONE
    if purpose is not Purpose.MARKETING:
        return federal
    return max([federal, *(_OF_STATES.get(flag, Consent.NONE) for flag in flags)])
