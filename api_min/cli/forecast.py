"""`carillon forecast`: when will this campaign end, and what holds it back? With a chart of how it will go."""

import itertools
import json
from datetime import datetime, timedelta
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from api_min.cli.asking import DEFAULT_URL, Key, Url, ask

BAR = 40  # characters
ROWS = 16  # of the chart
_BLOCKS = " ▏▎▍▌▋▊▉█"
_CAUSES = {
    "window": "legal hours and the campaign's schedule",
    "retries": "the delay before retries",
    "pace": "calls_per_second",
    "numbers": "its numbers (DIDs): their caps, or their gap after a text",
    "agents": "the agents",
    "concurrent_calls": "concurrentCalls",
    "carrier_calls": "calls that the carrier takes at one time",
    "carrier": "the carrier's rate",
    "ten_dlc": "10DLC caps",
    "contacts_under_way": "the last contacts, until they end",
}
_BASES = {
    "campaign": "this campaign's own {attempts:,} attempts",
    "account": "the account's last {attempts:,} attempts",
    "typical": "what is typical, for there are no attempts yet",
}

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.command()
def forecast(
    campaign: Annotated[str, typer.Option(help="The campaign's id, camp_…")],
    url: Url = DEFAULT_URL,
    key: Key = "",
    as_json: Annotated[bool, typer.Option("--json", help="The API's answer as it is.")] = False,
) -> None:
    """Run the rest of a campaign on a virtual clock. Nothing is contacted and nothing is written."""
    found = ask(url, key, f"/api/campaigns/{quote(campaign, safe='')}/forecast")
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        show(Console(), found)


def show(console: Console, found: dict[str, Any]) -> None:
    begins = datetime.fromisoformat(found["at"])
    if found["status"] != "dialing":
        console.print(f"The campaign is {found['status']}; as if it were dialing from now on:", style="yellow")
    if found["finishAt"] is None:
        console.print("[red]It does not end within two years.[/]")
    else:
        ends = datetime.fromisoformat(found["finishAt"])
        console.print(f"[bold]It ends on {ends:%Y-%m-%d at %H:%M} UTC[/], {_duration(ends - begins)} from now.")
    people = f"{found['waiting']:,} people wait, {found['underWay']:,} are being contacted"
    console.print(f"{people}; {found['contacts']:,} contacts are still to come.")
    if found["held"]:
        console.print(f"[yellow]{found['held']:,} people are held and never contacted; they keep it open.[/]")
    console.print(_chart(found["points"]))
    console.print(_causes(found["holding"]))
    console.print(f"Outcomes: {_BASES[found['basis']['source']].format(**found['basis'])}.", style="dim")


def _chart(points: list[dict[str, Any]]) -> Table:
    """Contacts in each of some even spans of time."""
    stride = max(1, (len(points) - 1) // ROWS)
    marks = [*points[:-1:stride], points[-1]]
    spans = list(itertools.pairwise(marks))
    counts = [after["contacts"] - before["contacts"] for before, after in spans]
    lasts = datetime.fromisoformat(points[-1]["at"]) - datetime.fromisoformat(points[0]["at"])
    table = Table(box=None, pad_edge=False)
    table.add_column("from (UTC)")
    table.add_column("contacts", justify="right")
    table.add_column("")
    table.add_column("done", justify="right")
    for (before, after), count in zip(spans, counts, strict=True):
        at = datetime.fromisoformat(before["at"])
        bar = Text(_bar(count / max(1, *counts)), style="cyan")
        table.add_row(f"{at:{_form(lasts)}}", f"{count:,}", bar, f"{after['done']:,}")
    return table


def _form(lasts: timedelta) -> str:
    return "%H:%M:%S" if lasts < timedelta(hours=2) else "%H:%M" if lasts < timedelta(days=1) else "%a %d %b %H:%M"


def _bar(share: float) -> str:
    eighths = round(share * BAR * 8)
    return (_BLOCKS[8] * (eighths // 8) + _BLOCKS[eighths % 8]).rstrip()


def _causes(holding: dict[str, float]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("held back by")
    table.add_column("for", justify="right")
    for cause, seconds in sorted(holding.items(), key=lambda item: -item[1]):
        table.add_row(escape(_CAUSES.get(cause, cause)), _duration(timedelta(seconds=seconds)))
    return table


def _duration(span: timedelta) -> str:
    hours, seconds = divmod(round(span.total_seconds()), 3600)
    days, hours = divmod(hours, 24)
    minutes, seconds = divmod(seconds, 60)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
