"""`carillon dnc`: a registry's file on disk becomes the copy in use, or nothing does.

Once as its users run it; what is refused is asked in this process, for each command would take a second to start.
"""

import asyncio
import hashlib
from datetime import date, timedelta
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner

from api_min.cli import dnc
from engine.clock import real_now
from engine.embedded.servers import Servers
from engine.errors import CarillonError
from engine.store import registries
from engine.store.registries import Copy
from tests.api.test_cli import carillon


@pytest.fixture
def environment(servers: Servers, database_url: str) -> dict[str, str]:
    return servers.environment() | {"DATABASE_URL": database_url}


async def copies(db: AsyncEngine) -> dict[str, Copy]:
    async with db.connect() as conn:
        return {copy.registry: copy for copy in await registries.current(conn)}


async def refusal(environment: dict[str, str], file: Path, *arguments: str) -> str:
    """Why the file is not loaded; empty when it is."""
    command = ["load", str(file), *arguments]
    done = await asyncio.to_thread(CliRunner().invoke, dnc.app, command, env=environment)
    if done.exception is None:
        return ""
    assert isinstance(done.exception, CarillonError), done.output
    return done.exception.message


async def test_a_file_is_loaded_listed_and_replaced(
    db: AsyncEngine, environment: dict[str, str], tmp_path: Path
) -> None:
    today = real_now().date()
    file = tmp_path / "dnc.txt"
    file.write_text("".join(f"212,{line}\n" for line in range(5_550_000, 5_560_000)))
    load = ("dnc", "load", str(file), "--as-of", str(today))
    code, out, err = await carillon(*load, "--registry", "national", **environment)
    assert (code, "10,000 numbers of the national registry" in out) == (0, True), err
    file.write_text("(215) 555-0147\n")
    code, out, err = await carillon(*load, "--registry", "PA", **environment)
    assert code == 0, err

    found = await copies(db)
    assert {code: copy.numbers for code, copy in found.items()} == {"US": 10_000, "US-PA": 1}
    assert found["US-PA"].sha256 == hashlib.sha256(file.read_bytes()).digest()

    code, out, err = await carillon("dnc", "list", **environment)
    assert code == 0, err
    assert "national" in out
    assert f"until {today + timedelta(days=31)}" in out.replace("\n", " ")


@pytest.mark.parametrize(("age", "is_warned"), [(29, False), (40, True)])
async def test_a_copy_that_is_too_old_already_is_loaded_with_a_warning(
    db: AsyncEngine, environment: dict[str, str], tmp_path: Path, age: int, is_warned: bool
) -> None:
    file, day = tmp_path / "dnc.txt", real_now().date() - timedelta(days=age)
    file.write_text("2155550147\n")
    code, out, err = await carillon("dnc", "load", str(file), "--registry", "PA", "--as-of", str(day), **environment)
    said = " ".join(out.split())
    assert (code, "in use now" in said) == (0, True), err
    warning = "warning: this copy is older than 31 days: marketing that must ask it stops as long as no newer one is"
    assert (warning in said) is is_warned
    assert (await copies(db))["US-PA"].as_of == day


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        ("2125550147\nhello\n", ("--registry", "national", "--as-of", "2026-03-01"), "line 2: 'hello' is no number"),
        ("\n", ("--registry", "national", "--as-of", "2026-03-01"), "holds no number"),
        ("2125550147\n", ("--registry", "Texas", "--as-of", "2026-03-01"), "neither national nor a state"),
        ("2125550147\n", ("--registry", "TX", "--as-of", "last week"), "is not a date"),
        ("2125550147\n", ("--registry", "TX", "--as-of", "2999-01-01"), "in the future"),
    ],
)
async def test_what_is_refused_loads_nothing(
    db: AsyncEngine, environment: dict[str, str], tmp_path: Path, text: str, arguments: tuple[str, ...], said: str
) -> None:
    file = tmp_path / "dnc.txt"
    file.write_text(text)
    assert said in await refusal(environment, file, *arguments)
    assert await copies(db) == {}


async def test_an_older_file_does_not_replace_a_newer_one(
    db: AsyncEngine, environment: dict[str, str], tmp_path: Path
) -> None:
    """Whoever registered in between would be called again. The same day's file may be loaded once more."""
    today, file = real_now().date(), tmp_path / "dnc.txt"

    async def load(number: str, day: date) -> str:
        file.write_text(f"{number}\n")
        return await refusal(environment, file, "--registry", "PA", "--as-of", str(day))

    assert await load("2155550147", today) == ""
    newer = await copies(db)
    assert f"of {today}" in await load("2155550148", today - timedelta(days=1))
    assert await copies(db) == newer
    assert await load("2155550148", today) == ""
    assert await copies(db) != newer
