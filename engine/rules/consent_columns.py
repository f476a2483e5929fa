"""Consent as an import's columns say it: `consent`, `consent_at`, `consent_source`, `consent_proof`.

An empty `consent` and `none` say that nothing is known, and record nothing. A time without an offset is UTC.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from engine.rules.consent import LABELS, Consent

CLASS, AT, SOURCE, PROOF = "consent", "consent_at", "consent_source", "consent_proof"
_EARLIEST = datetime(1991, 12, 20, tzinfo=UTC)  # the TCPA: nobody gave consent of its classes before


class Given(NamedTuple):
    consent: Consent
    at: datetime | None  # None: with the import
    source: str
    proof: str


def has_consent(names: tuple[str, ...]) -> bool:
    """Whether rows with these columns can say anything of consent."""
    return CLASS in _columns(names)


def read(data: Mapping[str, str], now: datetime) -> Given | str | None:
    """What a row says; None for nothing, and a text for what is wrong with it."""
    columns = _columns(tuple(data))
    cells = {name: data.get(column, "").strip() for name, column in columns.items()}
    word = cells.get(CLASS, "").lower().replace(" ", "_").replace("-", "_")
    if not word:
        return None
    consent = LABELS.get(word)
    if consent is None:
        return f"consent '{word[:40]}' is not one of {', '.join(LABELS)}"
    if consent is Consent.NONE:
        return None
    at = None
    if (text := cells.get(AT, "")) and (at := given_at(text, now)) is None:
        return f"consent_at '{text[:40]}' is no past time such as 2026-03-09 or 2026-03-09T16:05:00Z"
    return Given(consent, at, cells.get(SOURCE, "") or "import", cells.get(PROOF, ""))


def given_at(text: str, now: datetime) -> datetime | None:
    """A past time in ISO 8601; None for anything else."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return at.astimezone(UTC) if _EARLIEST <= at <= now else None  # at the calendar's very ends it would overflow


@lru_cache(maxsize=1024)
def _columns(names: tuple[str, ...]) -> dict[str, str]:
    """The names as the file has them, by ours; case and spaces do not matter."""
    known = {name.strip().lower().replace(" ", "_"): name for name in reversed(names)}
    return {name: known[name] for name in (CLASS, AT, SOURCE, PROOF) if name in known}
