"""`carillon chaos`: a whole stack under load, broken from a seed, and judged by the promises' own checkers."""

import asyncio
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console

from api_min.cli.chaos import plan
from api_min.cli.chaos.load import Size
from api_min.cli.chaos.run import Order, run
from api_min.cli.chaos.show import show
from api_min.cli.chaos.stage import running_stage

_MOST_RATE = 100.0  # what two cores carry with the network on them and something always down
_BUSY_SHARE = 0.6  # of the time: retries, pauses and outages need the rest

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def chaos(
    minutes: Annotated[float, typer.Option(min=0.05, help="How long faults go on.")] = 5.0,
    prospects: Annotated[int, typer.Option(min=10, help="People to contact.")] = 5_000,
    seed: Annotated[int, typer.Option(help="The same seed breaks the same things in the same order.")] = 0,
    rate: Annotated[float, typer.Option(min=0, help="Calls a second; 0: so that the time is filled.")] = 0.0,
    workers: Annotated[int, typer.Option(min=2)] = 2,
    only: Annotated[
        list[plan.Kind] | None, typer.Option("--fault", help="Only faults of this kind; repeatable.")
    ] = None,
    keep: Annotated[Path | None, typer.Option(help="A folder for the logs; else they are deleted.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Break a stack of its own on embedded servers. Exit code 1 when a promise does not hold."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended either way, it leaves nothing behind
    progress = Console(stderr=True)
    seconds = minutes * 60
    size = Size(seconds, prospects, rate or min(_MOST_RATE, max(1.0, prospects / (_BUSY_SHARE * seconds))))
    with tempfile.TemporaryDirectory(prefix="carillon-chaos-") as scratch:
        folder = keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        with running_stage(folder, seed, workers) as stage:
            order = Order(seed, size, plan.draw(seed, seconds, stage.cast, _pace(only)))
            found = asyncio.run(run(stage, order, lambda line: progress.print(line, style="dim", highlight=False)))
            if keep:
                shutil.copy(stage.network.carrier_log, keep)
    if as_json:
        print(orjson.dumps(found.as_json(), option=orjson.OPT_INDENT_2).decode())
    else:
        show(Console(), found)
    if found.broken():
        raise typer.Exit(1)


def _pace(only: list[plan.Kind] | None) -> plan.Pace:
    return plan.Pace(weights={kind: weight for kind, weight in plan.WEIGHTS.items() if not only or kind in only})
