"""The sampling profiler names the function that used the CPU."""

import subprocess
import sys
from pathlib import Path

from workers.bench.profiled import shares

_BUSY = """
import time

def burn():
    while time.process_time() < 0.6:
        pass

def main():
    burn()

main()
"""


def test_the_hot_function_leads_the_profile(tmp_path: Path) -> None:
    (tmp_path / "busy.py").write_text(_BUSY)
    file = tmp_path / "busy.prof"

    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, "-m", "workers.bench.profiled", str(file), "busy"],
        check=True,
        env={"PYTHONPATH": f"{root}:{tmp_path}"},
    )

    own, within = shares(file.read_text().splitlines())
    assert next(iter(own)) == "__main__:burn"
    assert within["__main__:main"] >= own["__main__:burn"] > 0.5


def test_shares_add_up_own_time_and_count_a_recursion_once() -> None:
    own, within = shares(["a;b 3", "a;a;a 1"])

    assert own == {"b": 0.75, "a": 0.25}
    assert within == {"a": 1.0, "b": 0.75}
