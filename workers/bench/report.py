"""What the benchmark prints: tables for people, one JSON object for machines."""

from collections.abc import Mapping, Sequence

import orjson
from rich.console import Console
from rich.table import Table

from workers.bench.figures import Figure, Result


def to_json(facts: Mapping[str, object], results: Sequence[Result]) -> str:
    """`{"machine": {…}, "<benchmark>": {…}}`; with `dispatch` among them its `ratio` stands at the top as well."""
    shown: dict[str, object] = {"machine": dict(facts)}
    for result in results:
        shown[result.name] = result.as_json()
        if result.name == "dispatch":
            shown["ratio"] = result.as_json()["ratio"]
    return orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode()


def print_facts(console: Console, facts: Mapping[str, object]) -> None:
    console.print(", ".join(f"{name} [bold]{value}[/bold]" for name, value in facts.items()), highlight=False)


def print_result(console: Console, result: Result) -> None:
    table = Table(title=f"bench {result.name}", title_justify="left")
    table.add_column("")
    for heading in (f"{result.job}s/s", "slowest", "fastest", "CPU µs each", "of these"):
        table.add_column(heading, justify="right" if heading != "of these" else "left")
    for line in result.lines:
        rates = [sample.rate for sample in line.samples]
        shares = line.cpu_us()
        total = shares.pop("total", None)
        table.add_row(
            line.name,
            f"{line.rate:,.0f}",
            f"{min(rates):,.0f}",
            f"{max(rates):,.0f}",
            "" if total is None else f"{total:,.0f}",
            " + ".join(f"{name} {share:,.0f}" for name, share in shares.items()),
        )
    console.print(table)
    goals = {goal.figure: goal for goal in result.goals}
    for name, value in result.figures.items():
        goal = goals.get(name)
        verdict = "" if goal is None else _verdict(goal.is_met(float(value)), str(goal))
        console.print(f"  {name.replace('_', ' ')}: [bold]{_shown(value)}[/bold]{verdict}", highlight=False)


def _verdict(is_met: bool, goal: str) -> str:
    return f"  (goal {goal}: {'[green]met' if is_met else '[red]missed'}[/])"


def _shown(value: Figure) -> str:
    return value if isinstance(value, str) else f"{value:,.3g}"
