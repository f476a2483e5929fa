"""What a supervised process owes its supervisor."""

import os
import signal
import subprocess
import sys

import pytest

from engine.embedded import lifeline


def test_without_a_supervisor_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(lifeline.LIFELINE_FD, raising=False)
    monkeypatch.delenv(lifeline.READY_FD, raising=False)
    lifeline.watch_parent()
    lifeline.report_ready(port=1)


def test_readiness_is_one_line_of_json_and_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    monkeypatch.setenv(lifeline.READY_FD, str(writer))
    lifeline.report_ready(port=8000)
    lifeline.report_ready(port=9000)
    with os.fdopen(reader) as pipe:
        assert pipe.read() == '{"port": 8000}\n'


@pytest.mark.parametrize(
    ("before", "ended_by"),
    [("", signal.SIGTERM), ("signal.signal(signal.SIGTERM, signal.SIG_IGN); lifeline.GRACE_S = 0.05", signal.SIGKILL)],
)
def test_the_end_of_the_supervisor_ends_the_process(before: str, ended_by: signal.Signals) -> None:
    reader, writer = os.pipe()
    program = f"import signal; from engine.embedded import lifeline; {before}\nlifeline.watch_parent(); signal.pause()"
    with subprocess.Popen(
        [sys.executable, "-c", program], env=os.environ | {lifeline.LIFELINE_FD: str(reader)}, pass_fds=[reader]
    ) as process:
        os.close(reader)
        os.close(writer)
        process.wait(20)
    assert process.returncode in (-ended_by, -signal.SIGKILL) if before else process.returncode == -ended_by
