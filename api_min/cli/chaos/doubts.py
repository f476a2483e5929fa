"""Attempts of which nobody knew for a while whether they had reached the carrier, and what became of them."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson
from sqlalchemy import TextClause, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.ids import attempt_ref
from engine.rules.attempt import AttemptState
from engine.rules.prospect import Outcome
from engine.store.database import autocommit

EVERY_S = 0.5
_NEVER_ENDED = "the carrier never learned how it ended"

_DOUBTFUL = text(f"""
    select campaign_id, prospect_id, attempt from attempts
     where check_at is not null and state + 0 = {AttemptState.UNKNOWN:d}
""")
_SETTLED_UNKNOWN = text(f"select campaign_id, prospect_id, attempt from attempts where outcome = {Outcome.UNKNOWN:d}")


class Doubts:
    """`look` for ever, then `unknown` once."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = autocommit(engine)
        self.refs: set[str] = set()

    async def look(self) -> None:
        while True:
            with suppress(DBAPIError, SQLAlchemyError, OSError):  # the server is away: it is on purpose
                self.refs |= await self._refs(_DOUBTFUL)
            await asyncio.sleep(EVERY_S)

    async def unknown(self) -> set[str]:
        """The attempts that were settled as unknown."""
        return await self._refs(_SETTLED_UNKNOWN)

    async def open(self) -> set[str]:
        return await self._refs(_DOUBTFUL)

    async def _refs(self, query: TextClause) -> set[str]:
        async with self._engine.connect() as conn:
            rows = (await conn.execute(query)).all()
        return {attempt_ref(*row) for row in rows}


@dataclass(slots=True)
class Known:
    """What the carrier's log has of one attempt."""

    accepted: bool = False
    ended: bool = False


def explain(refs: Iterable[str], known: Mapping[str, Known]) -> tuple[dict[str, int], list[str]]:
    """Reasons with their counts, and the attempts for which there is none."""
    reasons: Counter[str] = Counter()
    unexplained = []
    for ref in sorted(refs):
        fact = known.get(ref, Known())
        if fact.accepted and not fact.ended:
            reasons[_NEVER_ENDED] += 1
        else:
            unexplained.append(f"{ref}: settled as unknown, though the carrier knew: {fact}")
    return dict(reasons), unexplained


def read_known(log: Path, refs: Iterable[str]) -> dict[str, Known]:
    """What the log says of these attempts."""
    known = {ref: Known() for ref in refs}
    if not known:
        return known
    with log.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                _note(orjson.loads(line), known)
    return known


def _note(entry: Mapping[str, object], known: Mapping[str, Known]) -> None:
    fact = known.get(str(entry.get("ref", "")))
    if fact is None:
        return
    match entry["type"]:
        case "create":
            fact.accepted |= bool(entry["accepted"])
        case "end" | "sms_report":
            fact.ended = True
