"""The `carillon` command."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from api_min.cli.main import COMMANDS

HERE = Path(__file__).parent
PROGRAM = """
import sys
from api_min.cli import main
main.COMMANDS = {"sub": ("sub_app:app", "A sub-application."), "process": ("sub_process", "A process."),
                 "absent": ("api_min.nowhere:app", "Not there."), "broken": ("sub_broken", "Lacks a package.")}
main.build.__defaults__ = (main.COMMANDS,)
main.main()
"""


def carillon(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the command with the stand-in table above, from the folder of the stand-ins."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=HERE,
        check=False,
        capture_output=True,
        text=True,
        env=environment,
        timeout=30,
    )


def test_help_lists_every_command_and_imports_none() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "api_min.cli.main", "--help"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert all(f"│ {name} " in done.stdout for name in COMMANDS)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert imported.isdisjoint({"sqlalchemy", "psycopg", "pydantic", "aiohttp", "dramatiq", "redis", "fastapi"})


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [("SMS_GAP_S", "899", "greater than or equal to 900"), ("SMS_JITTER_S", "-1", "greater than or equal to 0")],
)
def test_a_gap_that_would_let_five_texts_into_an_hour_is_refused(name: str, value: str, fault: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "api_min.cli.main", "check"],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"DATABASE_URL": "x", "REDIS_URL": "x", f"CARILLON_{name}": value},
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Set the environment right. CARILLON_{name}: Input should be {fault}\n"


def test_a_process_runs_as_main() -> None:
    assert carillon("process").stdout == "__main__ []\n"


@pytest.mark.parametrize("arguments", [["--help"], ["--help", "--port", "9000"]])
def test_help_of_a_process_says_what_it_is_and_starts_nothing(arguments: list[str]) -> None:
    done = carillon("process", *arguments)
    assert done.returncode == 0
    assert "A process." in done.stdout
    assert "environment variables configure it" in " ".join(done.stdout.split())
    assert "__main__" not in done.stdout


@pytest.mark.parametrize("arguments", [["--port", "9000"], ["-n3"], ["plain"], ["--port=9000", "--name", "x"]])
def test_a_process_refuses_arguments(arguments: list[str]) -> None:
    done = carillon("process", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert f"not understood: {' '.join(arguments)}" in done.stderr


def test_a_process_refuses_arguments_before_it_reads_its_settings() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "api_min.cli.main", "api", "--port", "9000"],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": ""},
    )
    assert done.returncode == 2
    assert "DATABASE_URL" not in done.stderr


def test_a_sub_application_gets_its_arguments() -> None:
    assert carillon("sub", "greet", "--name", "Ann").stdout == "hello Ann\n"
    assert "Usage: carillon sub" in carillon("sub", "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["sub", "fail"], "the port is taken: choose another with --port"),
        (["absent"], "`carillon absent` is not part of this installation: it has no module api_min.nowhere"),
        (["broken"], "Python module no_such_package is missing: install Carillon again (make venv)"),
    ],
)
def test_an_error_is_one_line_with_the_remedy(arguments: list[str], line: str) -> None:
    done = carillon(*arguments)
    assert done.returncode == 1
    assert done.stderr == f"{line}\n"


def test_a_missing_variable_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "api_min.cli.main", "migrate"],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": ""},
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "DATABASE_URL" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["migrate"], ["key", "create", "--name", "x", "--account", "y"], ["check"], ["relay"], ["api"]],
    ids=lambda arguments: arguments[0],
)
def test_a_database_that_is_away_is_one_line_without_credentials(arguments: list[str]) -> None:
    with socket.socket() as reserved:  # bound and not listening: it refuses
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "api_min.cli.main", *arguments],
            check=False,
            capture_output=True,
            text=True,
            env={
                "PATH": "",
                "DATABASE_URL": f"postgresql://jane:s3cret@127.0.0.1:{port}/calls",
                "REDIS_URL": "redis://127.0.0.1:1/1",
                "CARILLON_SECRET": "a long random text",
                "CARILLON_PORT": "0",
            },
            timeout=60,
        )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("PostgreSQL cannot be reached: start it, or set DATABASE_URL right")
    assert f"port {port}" in line
    assert "jane" not in line
    assert "s3cret" not in line


def test_a_wrong_name_is_corrected() -> None:
    done = carillon("proces")
    assert done.returncode == 2
    assert "Did you mean 'process'?" in done.stderr
