"""The embedded PostgreSQL: its data folder, its command line, and how to tell that it is ours and ready."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg

from engine.embedded.accounts import Account
from engine.embedded.programs import PostgresPrograms
from engine.errors import Misconfigured, Unavailable

NAME = "postgres"
DATABASE = "carillon"
LOCALE = "C.UTF-8" if sys.platform == "linux" else "C"  # always installed, unlike the user's own

# An intent locks each campaign, account and phone of its batch: 1,000 rows need as many advisory locks at once.
_SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "max_locks_per_transaction": "512",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "jit": "off",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "unix_socket_directories": "",
}


def prepare_data(folder: Path, programs: PostgresPrograms, account: Account | None) -> None:
    """Initialises `folder/postgres` unless that was done before. Raises Misconfigured for another version's data."""
    data = folder / NAME
    for unfinished in folder.glob(f"{NAME}.new-*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    if data.exists():
        _check_version(data, programs)
        return
    fresh = Path(tempfile.mkdtemp(prefix=f"{NAME}.new-", dir=folder))
    if account:
        account.own(fresh)
    _initialise(fresh, programs, account)
    fresh.rename(data)  # a folder of this name is always complete


def command_line(folder: Path, programs: PostgresPrograms, host: str, port: int) -> list[str]:
    settings = {**_SETTINGS, "listen_addresses": host, "port": str(port)}
    return [
        str(programs.postgres),
        *("-D", str(folder / NAME)),
        *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
    ]


def url(host: str, port: int) -> str:
    return f"postgresql://postgres@{host}:{port}/{DATABASE}"


def is_ready(folder: Path, host: str, port: int) -> bool:
    """True when our own server answers; creates the database then if it is absent."""
    try:
        with psycopg.connect(
            host=host, port=port, user="postgres", dbname="postgres", connect_timeout=5, autocommit=True
        ) as connection:
            serves = connection.execute("SHOW data_directory").fetchone()
            if serves is None or not Path(serves[0]).samefile(folder / NAME):
                return False  # another server took the port before ours did
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                connection.execute(f"CREATE DATABASE {DATABASE}")
    except (psycopg.OperationalError, FileNotFoundError):
        return False
    return True


def _check_version(data: Path, programs: PostgresPrograms) -> None:
    stored, found = (data / "PG_VERSION").read_text().strip(), programs.major()
    if stored != found:
        raise Misconfigured(
            f"{data} holds data of PostgreSQL {stored}, but the programs found are version {found}: "
            "delete the folder, or name another one"
        )


def _initialise(data: Path, programs: PostgresPrograms, account: Account | None) -> None:
    """Without syncing each file: a machine that fails within this second has lost nothing but an empty database."""
    done = subprocess.run(
        [
            str(programs.initdb),
            *("-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8"),
            *(f"--locale={LOCALE}", "--no-sync", "--no-instructions"),
        ],
        env=os.environ | {"LC_ALL": LOCALE},
        cwd=data,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )
    if done.returncode:
        raise Unavailable(f"initdb failed: {(done.stderr or done.stdout).strip()[-500:]}")
