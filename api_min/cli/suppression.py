"""`carillon suppression import`: a CSV of any size onto the suppression list, through the API, as any client would."""

import asyncio
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import aiohttp
import typer
from rich.console import Console
from rich.markup import escape

from engine.errors import CarillonError, InvalidInput, Unavailable
from engine.rules.csv_rows import BadRow, Row, read_rows
from engine.rules.suppression import Scope

MOST_AT_ONCE = 10_000
_CHUNK_BYTES = 256 * 1024
_MOST_SHOWN = 20

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def group() -> None:
    """The suppression list."""


class Entry(NamedTuple):
    """What one request shares; the phone comes last, so that equal ones are sent together."""

    channel: str
    source: str
    reason: str
    phone: str


class Read(NamedTuple):
    entries: list[Entry]
    bad: list[BadRow]


@app.command("import")
def import_file(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A CSV with a phone column.")
    ],
    reason: Annotated[str, typer.Option(help="Where the file has no column `reason`.")] = "",
    source: Annotated[str, typer.Option(help="Where it has no column `source`.")] = "import",
    channel: Annotated[Scope, typer.Option(help="Where it has no column `channel`.")] = Scope.ALL,
    region: Annotated[str, typer.Option(help="Country of numbers that have no country code.")] = "US",
    url: Annotated[str, typer.Option(envvar="CARILLON_URL", help="Base URL of the API.")] = "http://127.0.0.1:8000",
    key: Annotated[str, typer.Option(envvar="CARILLON_KEY", help="An API key; better in the environment.")] = "",
) -> None:
    """Suppress every number of FILE. Run it again after a failure: who is on the list stays there. Exits 1 when a line
    could not be read, with the others suppressed."""
    if not key:
        raise InvalidInput("no API key: set CARILLON_KEY")
    read = read_file(file, Entry(channel, source, reason, ""), region)
    added = asyncio.run(_send(url, key, read.entries))
    console = Console()
    console.print(f"{added:,} added, {len(read.entries) - added:,} known, {len(read.bad):,} invalid")
    for row in read.bad[:_MOST_SHOWN]:
        console.print(f"  line {row.line}: {escape(row.text)}: {escape(row.reason)}")
    if read.bad:
        raise typer.Exit(1)


def read_file(file: Path, usual: Entry, region: str) -> Read:
    """Every line; `usual` fills what a line lacks. Raises InvalidInput for what is no contact list."""
    found: dict[str, Entry] = {}
    bad: list[BadRow] = []
    with file.open("rb") as source:
        for batch in read_rows(iter(lambda: source.read(_CHUNK_BYTES), b""), region):
            bad += batch.bad
            for row in batch.rows:
                entry = _entry(row, usual)
                if entry.channel in list(Scope):
                    found[entry.phone] = entry
                else:
                    bad.append(BadRow(row[0], f"channel is not one of {', '.join(Scope)}", entry.channel[:40]))
    return Read(sorted(found.values()), bad)


def _entry(row: Row, usual: Entry) -> Entry:
    _, phone, data = row
    cells = {name.strip().lower(): value.strip() for name, value in (data or {}).items()}
    given = {name: cells[name] for name in ("channel", "source", "reason") if cells.get(name)}
    return usual._replace(phone=phone, **given)


def _requests(entries: list[Entry]) -> Iterator[dict[str, Any]]:
    for (channel, source, reason), some in groupby(entries, lambda entry: entry[:3]):
        phones = [entry.phone for entry in some]
        for start in range(0, len(phones), MOST_AT_ONCE):
            yield {
                "phones": phones[start : start + MOST_AT_ONCE],
                "channel": channel,
                "source": source,
                "reason": reason,
            }


async def _send(url: str, key: str, entries: list[Entry]) -> int:
    """How many were not suppressed before. Raises CarillonError in the API's words, and Unavailable without answer."""
    target, added = f"{url.rstrip('/')}/api/suppression", 0
    headers = {"Authorization": f"Bearer {key}"}
    try:
        async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=60)) as session:
            for body in _requests(entries):
                async with session.post(target, json=body) as response:
                    answer: dict[str, Any] = await response.json(content_type=None)
                if response.status != 201:
                    raise CarillonError(answer.get("error", {}).get("message", f"HTTP {response.status}"))
                added += answer["added"]
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise Unavailable(f"{target} did not answer: {error or type(error).__name__}") from error
    return added
