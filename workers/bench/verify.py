"""What must be true after a round: a benchmark that loses work must fail."""

from typing import LiteralString

import psycopg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.checks.evidence import Evidence
from engine.checks.report import run_checks
from engine.clock import Clock
from engine.errors import CarillonError
from engine.rules.attempt import AttemptState
from engine.rules.prospect import ProspectState

_PROMISES = ("P1", "P2", "P6")
_BEFORE_THE_CARRIER = {"attempts", "numbers_called"}
_BOOKS = text(f"""
    select (select count(*) from attempts) as attempts,
           (select count(*) from attempts where state = {AttemptState.ENDED:d} and outcome is not null) as outcomes,
           (select count(distinct phone) from attempts) as numbers_called,
           (select count(*) from prospects where state = {ProspectState.COMPLETED:d}) as completed_prospects,
           (select count(distinct body ->> 'trackingId') from events where body ->> 'type' like 'voice.%') as calls_told
""")


class WorkLost(CarillonError):
    """A round did not do what it was measured for."""

    code = "work_lost"


async def balance(db: AsyncEngine, prospects: int, *, is_cut_short: bool = False) -> None:
    """Each prospect has one attempt, one outcome and its events, and the promises hold. Raises WorkLost.

    `is_cut_short`: the campaigns were cancelled, which leaves attempts that never reached the carrier.
    """
    async with db.connect() as conn:
        books = (await conn.execute(_BOOKS)).one()._mapping
    booked = books.keys() - (_BEFORE_THE_CARRIER if is_cut_short else set())
    problems = [f"{books[name]} {name}, not {prospects}" for name in sorted(booked) if books[name] != prospects]
    for result in await run_checks(Evidence(db, Clock()), _PROMISES):
        problems += [f"{result.check.name}: {problem}" for problem in result.problems]
    if problems:
        raise WorkLost("the benchmark lost work: " + "; ".join(problems[:5]))


def one(connection: "psycopg.Connection[tuple[object, ...]]", query: LiteralString) -> int:
    """The number that `query` asks for; NULL is 0."""
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(str(row[0] or 0))
