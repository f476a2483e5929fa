"""What `carillon dev` decides by itself, and how it ends."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from engine.processes.stack import HOST, Network, choose_port, engine_environment
from engine.settings import Settings

ENDING = """
import signal, sys
from api_min.cli.dev import stopped_by_signals
with stopped_by_signals():
    try:
        print("running", flush=True)
        signal.pause()
    finally:
        print("stopping", flush=True)
        sys.stdin.readline()
        print("in order", flush=True)
"""


def test_the_preferred_port_is_taken_if_it_is_free() -> None:
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        taken = other.getsockname()[1]
        assert choose_port(taken) != taken
    assert choose_port(taken) == taken


def test_every_variable_is_a_setting(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    network = Network("http://127.0.0.1:1", "ws://127.0.0.1:2/media", tmp_path / "c", tmp_path / "a", "s3cret")
    environment = engine_environment(network, 8123)
    for name, value in {**environment, "DATABASE_URL": "postgresql://x/y", "REDIS_URL": "redis://x/1"}.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    for name, value in environment.items():
        read = getattr(settings, name.removeprefix("CARILLON_").lower())
        assert str(read.get_secret_value() if hasattr(read, "get_secret_value") else read) == value


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_in_order_and_a_second_one_changes_nothing(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ENDING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "running\n"
        os.kill(process.pid, number)
        assert process.stdout.readline() == "stopping\n"
        os.kill(process.pid, number)
        output, _ = process.communicate("\n", timeout=20)
    assert output == "in order\nstopped\n"
    assert process.returncode == 0
