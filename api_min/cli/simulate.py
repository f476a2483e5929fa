"""`carillon simulate`: whole histories under one seed each, until a promise breaks or the seeds are done."""

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Annotated

import structlog
import typer
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.embedded.servers import start_servers
from engine.rules.zones import use_packaged_tzdata
from engine.simulation.memory import MemorySteps
from engine.simulation.runner import Build, play_on_both, report, shortest
from engine.simulation.script import write
from engine.simulation.world import History, play
from engine.store import migrate
from engine.store.database import connect

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def simulate(
    seeds: Annotated[int, typer.Option(help="How many seeds, one history each.", min=1)] = 1_000,
    seed: Annotated[int, typer.Option(help="The first of them.", min=0)] = 0,
    on_postgres: Annotated[bool, typer.Option(help="Also on an embedded PostgreSQL; both must agree.")] = False,
) -> None:
    """Simulate histories with every fault there is; exit code 1 at the first that breaks a promise, with its seed."""
    use_packaged_tzdata()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))  # faults are the point
    failed = asyncio.run(run(seeds, seed, on_postgres))
    if failed is not None:
        print("\n".join(failed))
        raise typer.Exit(1)


async def run(seeds: int, first: int, on_postgres: bool, build: Build = MemorySteps) -> list[str] | None:
    """The report of the first history that fails; None when all hold."""
    begun = told = monotonic()
    async with _database(on_postgres) as engine:
        for count, seed in enumerate(range(first, first + seeds), 1):
            script = write(seed)
            history = await (play(script, build) if engine is None else play_on_both(script, engine))
            if history.problems:
                return [f"seed {seed} breaks a promise:", *history.problems, "", *await _shortest(history, build)]
            if monotonic() - told > 1:
                told = monotonic()
                print(
                    f"\r{count:,} of {seeds:,} histories hold, {count / (told - begun):.0f} a second",
                    end="",
                    flush=True,
                )
    print(f"\r{seeds:,} histories hold, seeds {first} to {first + seeds - 1}, in {monotonic() - begun:.1f} s")
    return None


async def _shortest(history: History, build: Build) -> list[str]:
    """Nothing more when only the comparison of two stores failed: memory alone cannot repeat that."""
    if all(problem.startswith("P8 same_history") for problem in history.problems):
        return []
    return [
        "The shortest script found that breaks it, and its history (microseconds):",
        *report(await shortest(history, build)),
    ]


@asynccontextmanager
async def _database(is_wanted: bool) -> AsyncIterator[AsyncEngine | None]:
    if not is_wanted:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder, start_servers(Path(folder), keep=False) as running:
        url = make_url(running.servers.database_url).set(drivername="postgresql+psycopg")
        text = url.render_as_string(hide_password=False)
        await asyncio.to_thread(migrate.upgrade, text)
        engine = connect(text, pool_size=2, idle_in_transaction_ms=0, keyed=True)
        try:
            yield engine
        finally:
            await engine.dispose()
