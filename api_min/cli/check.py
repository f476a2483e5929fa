"""`carillon check`: the promises, checked against a live database and, with its log, against the simulated network."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from engine.checks.evidence import Evidence, read_creates
from engine.checks.report import PROMISES, SHOWN_ELSEWHERE, Result, run_checks
from engine.errors import InvalidInput
from engine.runtime import load_rules
from engine.settings import Settings
from engine.store import clock
from engine.store.database import connect, reaching

MOST_PROBLEMS = 20  # printed per checker

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def check(
    promise: Annotated[list[str] | None, typer.Argument(help=f"{' '.join(PROMISES)}; all when none is named.")] = None,
    carrier_log: Annotated[Path | None, typer.Option(help="The simulated network's log.", exists=True)] = None,
) -> None:
    """Check the promises against the database at DATABASE_URL; exit code 1 when one does not hold."""
    for each in promise or ():
        if each in SHOWN_ELSEWHERE:
            raise InvalidInput(f"{each} has no checker of a database: {SHOWN_ELSEWHERE[each]}")
        if each not in PROMISES:
            raise InvalidInput(f"no such promise: {each}; those that have checkers are {', '.join(PROMISES)}")
    results = asyncio.run(_run(Settings(), promise or (), carrier_log))
    print("\n".join(render(results)))
    if any(result.problems for result in results):
        raise typer.Exit(1)


def render(results: Sequence[Result]) -> list[str]:
    """The report, line by line."""
    lines = []
    for result in results:
        verdict = "SKIP" if result.skipped else "PASS" if result.passed else "FAIL"
        reason = " (needs --carrier-log)" if result.skipped else ""
        lines.append(f"{verdict}  {result.check.promise}  {result.check.name}: {result.check.claim}{reason}")
        lines += [f"          {problem}" for problem in result.problems[:MOST_PROBLEMS]]
        if (more := len(result.problems) - MOST_PROBLEMS) > 0:
            lines.append(f"          … and {more} more")
    return lines


async def _run(settings: Settings, promises: Sequence[str], carrier_log: Path | None) -> list[Result]:
    load_rules(settings)  # the same as decided
    engine = connect(settings.sqlalchemy_url, pool_size=1, statement_timeout_ms=0, idle_in_transaction_ms=0)
    try:
        with reaching():
            async with engine.connect() as conn:
                engine_clock = await clock.read(conn)
        creates = read_creates(carrier_log) if carrier_log else None
        evidence = Evidence(
            engine,
            engine_clock,
            creates,
            ticket_s=settings.ticket_s,
            sms_gap_s=float(settings.sms_gap_s),
            did_policy=settings.did_policy,
        )
        return await run_checks(evidence, promises)
    finally:
        await engine.dispose()
