"""Finding and copying the server programs."""

import stat
import subprocess
from pathlib import Path

import pytest

from engine.embedded import programs
from engine.errors import Misconfigured


def test_the_error_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "_DEBIAN_POSTGRES", str(tmp_path))
    with pytest.raises(Misconfigured, match="apt install postgresql"):
        programs.find_postgres()
    with pytest.raises(Misconfigured, match="apt install redis-server"):
        programs.find_redis()


@pytest.mark.parametrize("name", ["redis-server", "valkey-server"])
def test_without_wheels_path_is_searched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    for program in (name, "postgres", "initdb"):
        (tmp_path / program).touch(stat.S_IRWXU)
    assert programs.find_redis() == tmp_path / name
    assert programs.find_postgres().initdb == tmp_path / "initdb"


def test_debian_s_newest_version_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "_DEBIAN_POSTGRES", str(tmp_path).lstrip("/"))
    for version in ("9", "18", "15"):
        (tmp_path / version / "bin").mkdir(parents=True)
        for program in ("postgres", "initdb"):
            (tmp_path / version / "bin" / program).touch(stat.S_IRWXU)
    assert programs.find_postgres().postgres == tmp_path / "18" / "bin" / "postgres"


def test_copied_programs_run(tmp_path: Path) -> None:
    found = programs.find_postgres()
    initdb = programs.copy_wheel_programs(found.initdb, tmp_path / "programs")
    assert subprocess.run([initdb, "--version"], capture_output=True, text=True, check=True).stdout.startswith("initdb")
