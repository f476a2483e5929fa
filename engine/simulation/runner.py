"""Running scripts: in memory, or in memory and on PostgreSQL with the demand that both histories are equal."""

from collections.abc import Callable

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import Clock
from engine.dispatch import watch
from engine.simulation.lanes import LaneServer
from engine.simulation.memory import MemorySteps
from engine.simulation.port import Steps
from engine.simulation.postgres import PostgresSteps
from engine.simulation.script import Script
from engine.simulation.shrink import shrink
from engine.simulation.world import History, Learn, play
from engine.store.tables import metadata

Build = Callable[[Clock, int], Steps]

EMPTY = f"""
do $$ begin
    {" ".join(f"delete from {table};" for table in metadata.tables)}
    perform setval(format('%I', sequencename)::regclass, start_value, false) from pg_sequences;
end $$
"""  # one statement: each of forty would cost a turn to the server and back

_NO_NEWS = (" number 0", " number None", " claim []", " complete False", " queued_behind {")


async def play_on_both(script: Script, engine: AsyncEngine) -> History:
    """The history in memory, with a problem more when PostgreSQL's is another. The database is emptied first."""
    expected = await play(script, MemorySteps)
    await empty(engine)
    on_postgres: list[PostgresSteps] = []

    def build(clock: Clock, seed: int) -> Steps:
        on_postgres.append(PostgresSteps(engine, clock, seed))
        return on_postgres[0]

    try:
        found = await play(script, build)
    finally:
        for steps in on_postgres:
            await steps.close()
    if found.digest != expected.digest:
        expected.problems.append(f"P8 same_history: {difference(expected, found)}")
    return expected


def difference(expected: History, found: History) -> str:
    """Where two histories part."""
    for mine, theirs in zip(expected.lines, found.lines, strict=False):
        if mine != theirs:
            return _parting("a step", mine, theirs)
    if len(expected.lines) != len(found.lines):
        return f"{len(expected.lines)} steps in memory, {len(found.lines)} on PostgreSQL"
    for name in expected.end.__slots__:
        mine, theirs = repr(getattr(expected.end, name)), repr(getattr(found.end, name))
        if mine != theirs:
            return _parting(name, mine, theirs)
    return "equal"


def _parting(name: str, mine: str, theirs: str) -> str:
    same = next((n for n, pair in enumerate(zip(mine, theirs, strict=False)) if pair[0] != pair[1]), len(mine))
    at = max(0, same - 100)
    return f"{name}: {mine[:60]!r} in memory …{mine[at : at + 200]!r}…, on PostgreSQL …{theirs[at : at + 200]!r}…"


async def shortest(
    history: History,
    build: Build = MemorySteps,
    learn: Learn = watch.learn,
    lanes: Callable[[], LaneServer] = LaneServer,
) -> History:
    """The history of the shortest script that fails the same checker."""
    failed = _names(history)

    async def fails(script: Script) -> bool:
        return bool(failed & _names(await play(script, build, learn, lanes)))

    return await play(await shrink(history.script, fails), build, learn, lanes)


def report(history: History) -> list[str]:
    """The script, what happened but for looks that found nothing, and what is wrong."""
    told = [line.rstrip() for line in history.lines if not line.rstrip().endswith(_NO_NEWS)]
    told = [line for line in told if " queued_behind {" not in line]
    return [*history.script.lines(), "", *(f"{line:.220}" for line in told), "", *history.problems]


async def empty(engine: AsyncEngine) -> None:
    """Deletes every row and begins every sequence anew."""
    async with engine.begin() as conn:
        await conn.execute(text(EMPTY))


def _names(history: History) -> set[str]:
    return {problem.partition(":")[0] for problem in history.problems}
