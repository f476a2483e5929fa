"""Starting PostgreSQL and Redis on free ports of 127.0.0.1, or using those that the environment names."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from engine.embedded import postgres_server, redis_server
from engine.embedded.accounts import Account, reachable_folder, server_account
from engine.embedded.guardian import Order, delete_entries
from engine.embedded.lock import LOCK, lock_folder
from engine.embedded.processes import POLL_S, RECORD, Process, read_record, stop_recorded
from engine.embedded.programs import PostgresPrograms, copy_wheel_programs, find_postgres, find_redis
from engine.errors import Unavailable

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0  # recovery after a `kill -9` in the middle of an import takes seconds
_PORT_ATTEMPTS = 5
_COPIES = "programs"
_GUARDIAN_LOG = "guardian.log"
# What a statement of a thousand rows frees the next one wants: glibc would give it back to the kernel, and each of its
# pages would be zeroed again (7 of 80 µs of PostgreSQL's time for a contact).
_MALLOC = {"MALLOC_TRIM_THRESHOLD_": "16777216", "MALLOC_MMAP_THRESHOLD_": "16777216"}
_PORT_TAKEN = "ddress already in use"  # PostgreSQL and Redis both print the system's own words


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the servers are, and the folder of their data and logs."""

    database_url: str
    redis_url: str  # buckets and streams
    redis_queue_url: str  # the same server; this database is Dramatiq's alone
    folder: Path

    def environment(self) -> dict[str, str]:
        """The variables that `engine.settings` reads."""
        return {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "REDIS_QUEUE_URL": self.redis_queue_url,
        }


class RunningServers:
    """Servers that stop at the end of the `with` block, at `stop()`, or when this process is gone."""

    def __init__(self, servers: Servers, guardian: subprocess.Popen[bytes] | None, lock: int | None) -> None:
        self.servers = servers
        self._guardian = guardian
        self._lock = lock
        self._turn = threading.Lock()
        self._processes = read_record(servers.folder) if guardian else []

    def dead(self) -> list[str]:
        """Names of the embedded servers that ended by themselves."""
        return [process.name for process in self._processes if not process.is_alive]

    def end(self, name: str, signal_number: signal.Signals) -> None:
        """Ends one embedded server, `postgres` or `redis`, and returns when it is gone. Raises KeyError without it."""
        process = self._process(name)
        os.kill(process.pid, signal_number)
        while process.is_alive:
            time.sleep(POLL_S)

    def start_again(self, name: str) -> None:
        """Starts a server that has ended, on its old port and data, and returns when it answers. Raises Unavailable."""
        with self._turn:  # the guardian takes one order at a time
            self._start_again(name)

    def _start_again(self, name: str) -> None:
        ended = self._process(name)
        assert self._guardian is not None
        assert self._guardian.stdin is not None
        self._guardian.stdin.write(name.encode() + b"\n")
        self._guardian.stdin.flush()
        while (process := next(each for each in read_record(self.servers.folder) if each.name == name)) == ended:
            time.sleep(POLL_S)
        url = self.servers.database_url if name == postgres_server.NAME else self.servers.redis_url
        _wait_until_ready(self.servers.folder, process, urlsplit(url).port or 0)
        self._processes = read_record(self.servers.folder)

    def _process(self, name: str) -> Process:
        return {process.name: process for process in self._processes}[name]

    def stop(self) -> None:
        """Returns when they have stopped, and their data is deleted unless kept. Calling it again does nothing."""
        if self._guardian is not None:
            _dismiss(self._guardian)
            stop_recorded(self.servers.folder)  # what is left if someone killed the guardian
        if self._lock is not None:
            os.close(self._lock)
        self._guardian, self._lock, self._processes = None, None, []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_servers(folder: Path, *, keep: bool) -> RunningServers:
    """Starts what `DATABASE_URL` and `REDIS_URL` do not name: about a second, half of it on a folder used before.

    `folder` gets data and logs. As root, one that PostgreSQL's account cannot enter is replaced by one below the
    system's temporary folder: `servers.folder` says where they are. `keep=False` deletes the data at the end, and the
    folder if it was created here. Blocking: from a coroutine, call it through `asyncio.to_thread`.

    Raises Misconfigured (folder in use, no programs, another version's data) and Unavailable (a server does not start).
    """
    database_url, redis_url = os.environ.get("DATABASE_URL"), os.environ.get("REDIS_URL")
    if database_url and redis_url:
        folder.mkdir(parents=True, exist_ok=True)
        return RunningServers(_servers(folder, database_url, redis_url), None, None)
    for _ in range(_PORT_ATTEMPTS):
        with suppress(_PortTakenError):
            return _start(folder.absolute(), keep, database_url, redis_url)
    raise Unavailable(f"no free port for the embedded servers after {_PORT_ATTEMPTS} attempts")


class _PortTakenError(Exception):
    """Another program took the port between our choice and the server's bind."""


def _start(asked: Path, keep: bool, database_url: str | None, redis_url: str | None) -> RunningServers:
    existed = asked.exists()
    account = server_account(asked / postgres_server.NAME)
    folder = reachable_folder(asked, account, keep=keep)
    account = server_account(folder / postgres_server.NAME)
    delete = [] if keep else _leftovers(is_ours=folder != asked or not existed)
    lock = lock_folder(folder)
    try:
        stop_recorded(folder)
        ports = {postgres_server.NAME: _free_port(), redis_server.NAME: _free_port()}
        wanted = [*([] if database_url else [postgres_server.NAME]), *([] if redis_url else [redis_server.NAME])]
        commands = {name: _command_line(name, folder, account, ports[name]) for name in wanted}
        guardian = _start_guardian(folder, account, commands, delete, lock)
        try:
            for process in read_record(folder):
                _wait_until_ready(folder, process, ports[process.name])
        except BaseException:
            _dismiss(guardian)
            raise
    except BaseException:
        delete_entries(folder, delete)
        os.close(lock)
        raise
    return RunningServers(
        _servers(
            folder,
            database_url or postgres_server.url(HOST, ports[postgres_server.NAME]),
            redis_url or redis_server.url(HOST, ports[redis_server.NAME], redis_server.DATABASE),
        ),
        guardian,
        lock,
    )


def _servers(folder: Path, database_url: str, redis_url: str) -> Servers:
    return Servers(database_url, redis_url, os.environ.get("REDIS_QUEUE_URL") or _queue_url(redis_url), folder)


def _queue_url(redis_url: str) -> str:
    """The same server's database 0, or 1 when `redis_url` itself means 0."""
    parts = urlsplit(redis_url)
    used = parts.path.strip("/") or "0"
    return parts._replace(path="/1" if used == "0" else "/0").geturl()


def _leftovers(*, is_ours: bool) -> list[str]:
    """What to delete: the whole folder if we created it, else only what we put there."""
    if is_ours:
        return ["."]
    names = (postgres_server.NAME, redis_server.NAME)
    return [*names, *(f"{name}.log" for name in names), _COPIES, _GUARDIAN_LOG, RECORD, LOCK]


def _command_line(name: str, folder: Path, account: Account | None, port: int) -> list[str]:
    if name == redis_server.NAME:
        work = folder / redis_server.NAME
        work.mkdir(exist_ok=True)
        if account:
            account.own(work)
        return redis_server.command_line(_runnable(find_redis(), folder, account), HOST, port)
    found = find_postgres()
    programs = PostgresPrograms(*(_runnable(program, folder, account) for program in (found.postgres, found.initdb)))
    postgres_server.prepare_data(folder, programs, account)
    return postgres_server.command_line(folder, programs, HOST, port)


def _runnable(program: Path, folder: Path, account: Account | None) -> Path:
    """`program`, or a copy of it when it lies where the servers' account cannot go, such as root's home."""
    if account is None or account.can_enter(program):
        return program
    return copy_wheel_programs(program, folder / _COPIES)


def _start_guardian(
    folder: Path, account: Account | None, commands: dict[str, list[str]], delete: list[str], lock: int
) -> subprocess.Popen[bytes]:
    order = Order(str(folder), commands, account.uid if account else None, account.gid if account else None, delete)
    source = str(Path(__file__).parents[2])
    with (folder / _GUARDIAN_LOG).open("wb") as log:
        guardian = subprocess.Popen(
            [sys.executable, "-m", "engine.embedded.guardian"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": source, "LC_ALL": postgres_server.LOCALE} | _MALLOC,
            start_new_session=True,
            pass_fds=[lock],
        )
    assert guardian.stdin is not None
    assert guardian.stdout is not None
    try:
        guardian.stdin.write(json.dumps(asdict(order)).encode() + b"\n")
        guardian.stdin.flush()
        started = guardian.stdout.readline()
    except BaseException:
        _dismiss(guardian)
        raise
    guardian.stdout.close()
    if not started:
        _dismiss(guardian)
        raise Unavailable(f"the embedded servers did not start: {_tail(folder / _GUARDIAN_LOG)}")
    return guardian


def _dismiss(guardian: subprocess.Popen[bytes]) -> None:
    """Tells the guardian that we are going and waits until it has stopped the servers."""
    if guardian.stdin is not None:
        with suppress(BrokenPipeError):
            guardian.stdin.close()
    guardian.wait()


def _wait_until_ready(folder: Path, process: Process, port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _is_ready(folder, process, port):
        log = _tail(folder / f"{process.name}.log")
        if not process.is_alive and _PORT_TAKEN in log:
            raise _PortTakenError
        if not process.is_alive or time.monotonic() > deadline:
            raise Unavailable(f"the embedded {process.name} did not start: {log}")
        time.sleep(POLL_S)


def _is_ready(folder: Path, process: Process, port: int) -> bool:
    if process.name == redis_server.NAME:
        return redis_server.is_ready(process.pid, HOST, port)
    return postgres_server.is_ready(folder, HOST, port)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _tail(log: Path, size: int = 600) -> str:
    with suppress(FileNotFoundError):
        return " ".join(log.read_text(errors="replace")[-size:].split())
    return "no log"
