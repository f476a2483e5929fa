"""`carillon rules check`, and the file at the start of a process."""

import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import Misconfigured
from engine.rules.states import rules
from engine.rules.window import use_rows
from engine.runtime import load_rules
from engine.settings import Settings

GOOD = "region,mon_fri,sat,sun\nAU,09-20,09-17,none\nAU,09-18,09-17,none\nUS-NY,09-20,09-20,none\n"


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "api_min.cli.main", "rules", "check", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def settings_for(path: Path) -> Settings:
    return Settings.model_validate({"DATABASE_URL": "x", "REDIS_URL": "x", "rules_file": str(path)})


def test_a_good_file_says_what_it_opens_and_narrows(tmp_path: Path) -> None:
    file = tmp_path / "rules.csv"
    file.write_text(GOOD)
    done = check(str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["3 rows, all good", "AU: opened by 2 rows", "US-NY: narrowed by 1 row"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"region,mon_fri,sat,sun\nAU,9-20,x,none\nQQ,1-2,1-2,1-2\n", ("line 2: sat 'x'", "line 3: region 'QQ'")),
        (b"\xff\xfe", ("is not UTF-8",)),
        (None, ("cannot be read",)),
    ],
)
def test_a_bad_file_is_refused_by_line(tmp_path: Path, content: bytes | None, words: tuple[str, ...]) -> None:
    file = tmp_path / "rules.csv"
    if content is not None:
        file.write_bytes(content)
    done = check(str(file))
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    for word in words:
        assert word in done.stderr


def test_a_process_reads_its_file_once_and_refuses_a_bad_one(tmp_path: Path) -> None:
    file = tmp_path / "rules.csv"
    file.write_text(GOOD)
    before = rules().version
    try:
        assert load_rules(settings_for(file)) == 3
        assert rules().version != before
        for content in ("region\n", None):
            file.write_text(content) if content else file.unlink()
            with pytest.raises(Misconfigured, match="CARILLON_RULES_FILE"):
                load_rules(settings_for(file))
    finally:
        use_rows("")
    assert rules().version == before
