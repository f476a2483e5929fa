"""Runs one of our processes under a sampling profiler: `python -m workers.bench.profiled FILE MODULE`.

Every millisecond of CPU time the main thread's stack is noted, which costs next to nothing and distorts nothing; the
other threads of our processes only pass messages on. FILE gets one line per stack, `caller;…;callee count`, hottest
first: the format that flame graphs are drawn from.
"""

import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

SAMPLE_S = 0.001
_HOTTEST = 5

Stack = tuple[str, ...]


class Sampler:
    """`start` must be called in the main thread."""

    def __init__(self) -> None:
        self.stacks: Counter[Stack] = Counter()

    def start(self) -> None:
        signal.signal(signal.SIGPROF, self._note)
        signal.setitimer(signal.ITIMER_PROF, SAMPLE_S, SAMPLE_S)

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0.0)

    def _note(self, _signal: int, frame: FrameType | None) -> None:
        stack: list[str] = []
        while frame is not None:
            code = frame.f_code
            stack.append(f"{frame.f_globals.get('__name__', '?')}:{code.co_qualname}")
            frame = frame.f_back
        self.stacks[tuple(reversed(stack))] += 1


def run(file: Path, module: str) -> None:
    """Writes the profile to `file` when the process ends in order."""
    sampler = Sampler()
    sampler.start()
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        sampler.stop()
        file.write_text("".join(f"{';'.join(stack)} {count}\n" for stack, count in sampler.stacks.most_common()))


def shares(lines: list[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Of a profile's lines: the share of samples in which each function was running, and was anywhere on the stack."""
    own: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        functions = stack.split(";")
        own[functions[-1]] += int(count)
        for function in set(functions):
            within[function] += int(count)
    total = max(1, own.total())
    return ({name: n / total for name, n in own.most_common()}, {name: n / total for name, n in within.most_common()})


def hottest(folder: Path) -> dict[str, str]:
    """By process, the functions in which most samples were taken: `{"worker-1": "wait_async 8 %, …"}`."""
    found = {}
    for file in sorted(folder.glob("*.prof")):
        own, _ = shares(file.read_text().splitlines())
        first = list(own.items())[:_HOTTEST]
        found[file.stem] = ", ".join(f"{name} {share:.0%}" for name, share in first)
    return found


if __name__ == "__main__":
    profile_file, module_name = sys.argv[1:3]
    sys.argv[1:] = []
    run(Path(profile_file), module_name)
