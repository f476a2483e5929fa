"""`carillon bench`: how fast it is, on this machine, beside what it is to be compared with."""

import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from engine.embedded.servers import Servers, start_servers
from workers.bench import dispatch, imports, lifecycle, machine, report, stats, stream
from workers.bench.figures import Result

Bench = Callable[[Servers, int, int, Callable[[str], None]], Result]


class What(StrEnum):
    ALL = "all"
    DISPATCH = "dispatch"
    IMPORT = "import"
    STATS = "stats"
    LIFECYCLE = "lifecycle"
    STREAM = "stream"


BENCHES: Mapping[What, tuple[Bench, int]] = {
    What.DISPATCH: (dispatch.run, 200_000),
    What.IMPORT: (imports.run, 1_000_000),
    What.STATS: (stats.run, 1_000_000),
    What.LIFECYCLE: (lifecycle.run, 2_000),
    What.STREAM: (stream.run, 5_000),
}
"""What to run, and its usual size."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def bench(
    what: Annotated[What, typer.Argument(help="What to measure.")] = What.ALL,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each side, in turn.")] = 5,
    size: Annotated[int, typer.Option(min=0, help="Prospects, or stream clients; 0: as many as usual.")] = 0,
    cpus: Annotated[int, typer.Option(min=1, help="CPUs that everything is bound to.")] = 2,
    suppressions: Annotated[int, typer.Option(min=0, help="dispatch: suppressed numbers to look up in.")] = 0,
    registry: Annotated[int, typer.Option(min=0, help="dispatch: numbers of a registry that must be asked.")] = 0,
    profile: Annotated[
        Path | None, typer.Option(help="lifecycle: a folder for the stacks of one round more, for flame graphs.")
    ] = None,
) -> None:
    """Measure on fresh embedded servers. Compare with goals only on a machine that does nothing else."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended either way, it leaves nothing behind
    out, progress = Console(), Console(stderr=True)

    def tell(line: str) -> None:
        progress.print(line, style="dim", highlight=False)

    pinned = machine.pin(cpus)
    results: list[Result] = []
    with _servers() as servers:
        facts = machine.facts(servers, pinned)
        if not as_json:
            report.print_facts(out, facts)
        for name in _chosen(what):
            run, usual = BENCHES[name]
            if name is What.DISPATCH:
                run = partial(dispatch.run, suppressions=suppressions, registry=registry)
            elif name is What.LIFECYCLE:
                run = partial(lifecycle.run, profiles=profile)
            tell(f"bench {name} …")
            results.append(run(servers, size or usual, rounds, tell))
            if not as_json:
                report.print_result(out, results[-1])
    if as_json:
        out.out(report.to_json(facts, results), highlight=False)


def _chosen(what: What) -> Sequence[What]:
    return list(BENCHES) if what is What.ALL else [what]


@contextmanager
def _servers() -> Iterator[Servers]:
    with (
        tempfile.TemporaryDirectory(prefix="carillon-bench-") as folder,
        start_servers(Path(folder) / "servers", keep=False) as running,
    ):
        yield running.servers
