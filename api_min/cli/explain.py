"""`carillon explain`: would this person be contacted now, why or why not, from which number, and when next?"""

import json
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api_min.cli.asking import DEFAULT_URL, Key, Url, ask

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.command()
def explain(
    campaign: Annotated[str, typer.Option(help="The campaign's id, camp_…")],
    phone: Annotated[str, typer.Option(help="The person's number, +1…, or prospect id, pros_…")],
    url: Url = DEFAULT_URL,
    key: Key = "",
    as_json: Annotated[bool, typer.Option("--json", help="The API's answer as it is, with all facts.")] = False,
) -> None:
    """Ask the engine's own rules about one person. Nothing is contacted and nothing is written."""
    path = f"/api/campaigns/{quote(campaign, safe='')}/prospects/{quote(phone, safe='')}/explain"
    found = ask(url, key, path)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        show(Console(), found)


def show(console: Console, found: dict[str, Any]) -> None:
    colour = "green" if found["wouldContact"] else "yellow"
    console.print(f"[{colour}]{escape(found['answer'])}[/]")
    console.print(f"next: {escape(found['next'])}")
    table = Table(box=None, show_header=False, pad_edge=False)
    for check in found["checks"]:
        mark = "[green]✓[/]" if check["passed"] else "[red]✗[/]"
        table.add_row(mark, check["check"].replace("_", " "), escape(check["says"]))
    console.print(table)
    console.print(f"rules: {escape(found['rulesVersion'])}", style="dim")
