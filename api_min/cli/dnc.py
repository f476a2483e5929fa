"""`carillon dnc`: copies of do-not-call registries, loaded on the machine that knows the database."""

import asyncio
import hashlib
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from engine.errors import InvalidInput
from engine.rules import registry
from engine.rules.registry import MOST_AGE, RegistryReader
from engine.runtime import running
from engine.settings import Settings
from engine.store import registries
from engine.store.registries import Copy

_CHUNK_BYTES = 1 << 20

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def group() -> None:
    """Do-not-call registries."""


@app.command()
def load(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="One number per line.")],
    registry_name: Annotated[str, typer.Option("--registry", help="national, or a state such as PA.")],
    as_of: Annotated[str, typer.Option(help="The day of which the registry's file is, YYYY-MM-DD.")],
) -> None:
    """Put FILE in the place of the copy in use: at once, and all of it or nothing."""
    code, day = registry.code_of(registry_name), _day(as_of)
    console = Console()
    reader, digest = _read(file, console)
    today = asyncio.run(_load(code, day, reader, digest))
    console.print(f"{reader.numbers:,} numbers of the {registry.name_of(code)} registry as of {day}, in use now")
    if registry.unfit(code, {code: day}, today):
        too_old = f"this copy is older than {MOST_AGE.days} days"
        console.print(f"warning: {too_old}: marketing that must ask it stops as long as no newer one is loaded")


@app.command("list")
def show() -> None:
    """The copies in use, and until when each may be used."""
    copies, today = asyncio.run(_current())
    Console().print(table(copies, today))


def table(copies: list[Copy], today: date) -> Table:
    """What `carillon dnc list` prints."""
    shown = Table("registry", "as of", "numbers", "sha256", "usable", box=None)
    for copy in copies:
        until = copy.as_of + MOST_AGE
        usable = f"until {until}" if today <= until else "no longer: older than 31 days"
        digest = copy.sha256.hex()[:16] if copy.sha256 else ""
        shown.add_row(registry.name_of(copy.registry), str(copy.as_of), f"{copy.numbers:,}", digest, usable)
    return shown


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"--as-of: '{text[:40]}' is not a date such as 2026-11-01", {"as_of": text}) from None


def _read(file: Path, console: Console) -> tuple[RegistryReader, bytes]:
    reader, digest = RegistryReader(), hashlib.sha256()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with file.open("rb") as source, Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("reading", total=file.stat().st_size)
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
            reader.feed(chunk)
            progress.advance(task, len(chunk))
    reader.close()
    if not reader.numbers:
        raise InvalidInput(f"{file} holds no number; nothing was loaded")
    return reader, digest.digest()


async def _load(code: str, day: date, reader: RegistryReader, digest: bytes) -> date:
    """Returns the day of the load, by engine time."""
    async with running(Settings()) as runtime:
        now = runtime.clock.now()
        if day > now.date() + timedelta(days=1):  # it may be tomorrow where the registry is
            raise InvalidInput(f"--as-of: {day} is in the future", {"as_of": str(day)})
        await registries.replace(runtime.db, code, day, reader.blocks, reader.numbers, now, digest)
        return now.date()


async def _current() -> tuple[list[Copy], date]:
    async with running(Settings()) as runtime, runtime.reader.connect() as conn:
        return await registries.current(conn), runtime.clock.now().date()
