"""`carillon chaos`: a whole stack under load, broken from a seed, and judged by the promises' own checkers."""

import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console

from api_min.cli.chaos.controls import CONTROLS, Fence
from api_min.cli.chaos.findings import Findings, promises
from api_min.cli.chaos.load import Size
from api_min.cli.chaos.plan import EVERY_S, WEIGHTS, Kind, Pace, draw
from api_min.cli.chaos.run import Order, run
from api_min.cli.chaos.show import show
from api_min.cli.chaos.stage import running_stage

_MOST_RATE = 100.0  # what two cores carry with the network on them and something always down
_BUSY_SHARE = 0.6  # of the time: retries, pauses and outages need the rest

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def chaos(
    minutes: Annotated[float, typer.Option(min=0.05, help="How long faults go on.")] = 5.0,
    hours: Annotated[float, typer.Option(min=0, help="The same, in hours.")] = 0.0,
    prospects: Annotated[int, typer.Option(min=10, help="People to contact.")] = 5_000,
    seed: Annotated[int, typer.Option(help="The same seed breaks the same things in the same order.")] = 0,
    rate: Annotated[float, typer.Option(min=0, help="Calls a second; 0: so that the time is filled.")] = 0.0,
    every: Annotated[
        float, typer.Option(min=0.5, help="Seconds from a fault's end to the next, on average.")
    ] = EVERY_S,
    workers: Annotated[int, typer.Option(min=2)] = 2,
    only: Annotated[list[Kind] | None, typer.Option("--fault", help="Only faults of this kind; repeatable.")] = None,
    without: Annotated[Fence | None, typer.Option(help="A negative control: exit code 0 when it is caught.")] = None,
    gentle: Annotated[bool, typer.Option("--gentle", help="A soak: no faults; what grows is reported.")] = False,
    keep: Annotated[Path | None, typer.Option(help="A folder for the logs; else they are deleted.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Break a stack of its own on embedded servers. Exit code 1 when a promise does not hold."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended either way, it leaves nothing behind
    progress = Console(stderr=True)
    seconds = hours * 3600 or minutes * 60
    size = Size(seconds, prospects, rate or min(_MOST_RATE, max(1.0, prospects / (_BUSY_SHARE * seconds))))
    pace = Pace(every, weights={kind: weight for kind, weight in WEIGHTS.items() if not only or kind in only})
    with tempfile.TemporaryDirectory(prefix="carillon-chaos-") as scratch:
        folder = keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        with running_stage(folder, seed, workers, without or "", forks=not gentle) as stage:
            order = _order(seed, size, stage.cast, pace, without, is_gentle=gentle)
            found = asyncio.run(run(stage, order, lambda line: progress.print(line, style="dim", highlight=False)))
            if keep:
                shutil.copy(stage.network.carrier_log, keep)
    if as_json:
        print(orjson.dumps(found.as_json(), option=orjson.OPT_INDENT_2).decode())
    else:
        show(Console(), found)
    if not _is_as_wanted(found, without):
        raise typer.Exit(1)


def _order(seed: int, size: Size, cast: Sequence[str], pace: Pace, without: Fence | None, *, is_gentle: bool) -> Order:
    if without is not None:
        control = CONTROLS[without]
        return Order(seed, size, control.plan, pauses=control.pauses, must_complete=False)
    if is_gentle:
        return Order(seed, size, (), soaks=True)
    return Order(seed, size, draw(seed, size.seconds, cast, pace))


def _is_as_wanted(found: Findings, without: Fence | None) -> bool:
    """Every promise holds; or, without a fence, one that rests on it does not."""
    broken = found.broken()
    if without is None:
        return not broken
    caught = promises(broken) & CONTROLS[without].breaks
    verdict = f"caught: {', '.join(sorted(caught))} broke" if caught else "NOT CAUGHT: the run did not notice"
    print(f"without {without}: {verdict}", file=sys.stderr)
    return bool(caught)
