"""CPU time and memory are those of the whole process tree."""

import os
import subprocess
import sys

from workers.bench import meter

# A parent whose child works and ends; the parent then waits to be told to end.
_TREE = """
import subprocess, sys
subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.3: pass"])
print("done", flush=True)
sys.stdin.read()
"""


def test_cpu_of_ended_children_counts() -> None:
    with subprocess.Popen([sys.executable, "-c", _TREE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"

        assert meter.cpu_s({"tree": [process.pid]})["tree"] >= 0.28
        assert process.stdin is not None
        process.stdin.close()


def test_used_since_counts_from_the_reading_before() -> None:
    groups = {"we": [os.getpid()]}
    before = meter.cpu_s(groups)

    assert 0 <= meter.used_since(before, groups)["we"] < before["we"] + 1


def test_peak_is_that_of_the_largest() -> None:
    assert meter.peak_mb([os.getpid()]) > 10


def test_waiting_ends_when_true_or_in_vain() -> None:
    looks = iter([False, False, True])

    assert meter.wait_until(lambda: next(looks), 5.0, poll_s=0.0)
    assert not meter.wait_until(lambda: False, 0.0, poll_s=0.0)
