"""`carillon demo`: the main job on real-looking input, on a stack of its own, and the promises checked afterwards."""

import asyncio
import shutil
import tempfile
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import Annotated

import aiohttp
import typer
from rich.console import Console

from api_min.cli.demo import judgement, voicemail
from api_min.cli.demo.client import Api
from api_min.cli.demo.prospects import PROSPECTS
from api_min.cli.demo.story import Told, tell
from api_min.cli.demo.view import View, open_view
from api_min.cli.demo.world import SPEED, World, start_world
from api_min.cli.dev import stopped_by_signals
from engine.embedded.servers import Servers, start_servers
from engine.errors import Unavailable
from engine.processes.stack import HOST, MODULES
from engine.processes.supervisor import Supervisor, TerminalLog

LONGEST_S = 600.0
PROCESS_LOG = "processes.log"
_LOOK_S = 0.5
_INTERRUPTED = 130  # what shells give a command that Ctrl-C ended

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def demo(
    file: Annotated[
        Path, typer.Option(help="A CSV with a phone column.", exists=True, dir_okay=False, readable=True)
    ] = PROSPECTS,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 2,
    logs: Annotated[
        Path | None,
        typer.Option(help="Keep the logs of the processes, the carrier and the agent here.", file_okay=False),
    ] = None,
) -> None:
    """Import 5,000 rows, call and text them on a simulated network, check the promises; exit code 1: one broke."""
    console = Console()
    is_good = None
    with stopped_by_signals():
        is_good = run(console, file, workers, logs)
    if not is_good:
        raise typer.Exit(_INTERRUPTED if is_good is None else 1)


def run(console: Console, file: Path, workers: int, logs: Path | None) -> bool:
    """Whether every promise held. Leaves no process and no data behind. Raises Unavailable when a process dies."""
    console.print("Starting PostgreSQL, Redis, a simulated network with its agent, and Carillon …", highlight=False)
    folder = Path(tempfile.gettempdir(), f"carillon-demo-{token_hex(6)}")
    try:
        with start_servers(folder, keep=False) as running:
            kept = logs or running.servers.folder
            kept.mkdir(parents=True, exist_ok=True)
            with (kept / PROCESS_LOG).open("w") as lines:
                return _run(console, file, workers, running.servers, kept, TerminalLog(lines))
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # there only if the servers are not ours


def _run(console: Console, file: Path, workers: int, servers: Servers, logs: Path, log: TerminalLog) -> bool:
    with Supervisor(servers.environment(), log, forks=MODULES.values()) as supervisor:
        with open_view(console) as view:
            world = start_world(servers, supervisor, workers, logs)
            view.say(f"{world.url} is ready: it is {world.clock.now():%A, %H:%M} UTC, time runs {SPEED:g}-fold")
            told = asyncio.run(_tell(world, supervisor, view, file))
        judged = asyncio.run(judgement.judge(world, told))
    judgement.show(console, told, judged)
    return judged.is_good


async def _tell(world: World, supervisor: Supervisor, view: View, file: Path) -> Told:
    async with voicemail.serving(HOST) as recording_url, aiohttp.ClientSession() as session:
        api = Api(session, world.url, world.key)
        telling = asyncio.create_task(tell(world, api, view, file, recording_url))
        watching = asyncio.create_task(_watch(supervisor))
        tasks = {telling, watching}
        try:
            done, _ = await asyncio.wait(tasks, timeout=LONGEST_S, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                raise Unavailable(too_slow(world.clock.now()))
            if watching in done:
                await watching
            return await telling
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


def too_slow(now: datetime) -> str:
    """Why the campaigns are most likely not completed, and what to do. `now`: of the demo's clock."""
    return (
        f"the campaigns were not completed after {LONGEST_S:g} s; it is {now:%A, %H:%M} UTC on the demo's clock."
        f" Most likely the machine is busy or slow: that clock runs {SPEED:g}-fold whatever the machine does, and"
        " the legal hours of its day were over before everybody had been contacted. Run it again when the machine has"
        " less to do, or with fewer rows: .venv/bin/carillon demo --file SHORTER.csv (--logs FOLDER keeps what the"
        " processes said)"
    )


async def _watch(supervisor: Supervisor) -> None:
    """Raises Unavailable when a process ends by itself."""
    while True:
        if child := await asyncio.to_thread(supervisor.wait_for_death, _LOOK_S):
            raise Unavailable(child.obituary())
