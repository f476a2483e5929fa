"""`carillon campaign import`: a CSV of any size into a campaign, through the API, as any client would."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from engine.errors import CarillonError, InvalidInput, Unavailable

CHUNK_BYTES = 256 * 1024
MOST_SHOWN = 20

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def group() -> None:
    """Campaigns."""


@app.command("import")
def import_file(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A CSV with a phone column.")
    ],
    campaign: Annotated[str, typer.Option(help="The campaign's id, camp_…")],
    region: Annotated[str, typer.Option(help="Country of numbers that have no country code.")] = "US",
    url: Annotated[str, typer.Option(envvar="CARILLON_URL", help="Base URL of the API.")] = "http://127.0.0.1:8000",
    key: Annotated[str, typer.Option(envvar="CARILLON_KEY", help="An API key; better in the environment.")] = "",
) -> None:
    """Import FILE into a campaign: all of it or nothing. Exits 1 when it was refused."""
    if not key:
        raise InvalidInput("no API key: set CARILLON_KEY")
    console = Console()
    with _progress(console) as progress:
        task = progress.add_task(escape(file.name), total=file.stat().st_size)
        target = f"{url.rstrip('/')}/api/campaigns/{campaign}/prospects/import"
        headers = {
            "Authorization": f"Bearer {key}",
            "Content-Type": "text/csv",
            "Content-Length": str(file.stat().st_size),
        }
        chunks = _chunks(file, lambda size: progress.advance(task, size))
        report = asyncio.run(_upload(target, headers, region, chunks))
    _print(console, report)


async def _upload(target: str, headers: dict[str, str], region: str, chunks: AsyncIterator[bytes]) -> dict[str, Any]:
    """The report. Raises CarillonError with the API's own words, and Unavailable when it cannot be reached."""
    timeout = aiohttp.ClientTimeout(total=None, connect=10)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            # Expect: a campaign that takes no prospects says so before the file is sent
            session.post(target, params={"region": region}, data=chunks, headers=headers, expect100=True) as response,
        ):
            body: dict[str, Any] = await response.json(content_type=None)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise Unavailable(f"{target} did not answer: {error or type(error).__name__}") from error
    if response.status != 200:
        raise CarillonError(body.get("error", {}).get("message", f"HTTP {response.status}"))
    return body


async def _chunks(file: Path, on_sent: Callable[[int], object]) -> AsyncIterator[bytes]:
    with file.open("rb") as source:
        while chunk := await asyncio.to_thread(source.read, CHUNK_BYTES):
            yield chunk
            on_sent(len(chunk))


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def _print(console: Console, report: dict[str, Any]) -> None:
    console.print(f"{report['added']:,} added, {report['duplicates']:,} duplicates, {report['invalid']:,} invalid")
    if not report["errors"]:
        return
    table = Table("line", "text", "reason", box=None)
    for row in report["errors"][:MOST_SHOWN]:
        table.add_row(str(row["line"]), escape(row["text"]), escape(row["reason"]))
    console.print(table)
    if report["invalid"] > MOST_SHOWN:
        console.print(f"… and {report['invalid'] - MOST_SHOWN:,} more")
