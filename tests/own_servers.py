"""Servers of a test's own: PostgreSQL on any address and with any settings, its standby, and Redis.

Each has a guardian, so none outlives the test run, by `kill -9` too.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import psycopg

from engine.embedded import postgres_server, redis_server
from engine.embedded.accounts import Account, reachable_folder, server_account
from engine.embedded.guardian import Order
from engine.embedded.processes import read_record
from engine.embedded.programs import PostgresPrograms, copy_wheel_programs, find_postgres, find_redis
from engine.processes.stack import choose_port

LOOPBACK = "127.0.0.1"
START_S = 60.0
_POLL_S = 0.05
_SOURCE = str(Path(__file__).parents[1])


class Home:
    """A folder that the servers' account can enter, with the programs that it can run."""

    def __init__(self, folder: Path) -> None:
        self.account = server_account(folder)
        self.folder = reachable_folder(folder, self.account, keep=False)
        found = find_postgres()
        self.basebackup = found.postgres.with_name("pg_basebackup")
        self.programs = PostgresPrograms(self._runnable(found.postgres), self._runnable(found.initdb))
        self.redis_program = self._runnable(find_redis())

    def room(self, name: str) -> Path:
        """A folder for one server."""
        room = self.folder / name
        room.mkdir()
        self.own(room)
        return room

    def own(self, path: Path) -> None:
        for each in (path, *path.rglob("*")):
            if self.account:
                self.account.own(each)

    def _runnable(self, program: Path) -> Path:
        if self.account is None or self.account.can_enter(program):
            return program
        return copy_wheel_programs(program, self.folder / "programs")


@contextmanager
def home(folder: Path) -> Iterator[Home]:
    made = Home(folder)
    try:
        yield made
    finally:
        shutil.rmtree(made.folder, ignore_errors=True)


class Guarded:
    """One server under a guardian: it works in `room/name` and logs to `room/name.log`."""

    def __init__(self, name: str, room: Path, account: Account | None, command: list[str]) -> None:
        self.name, self.room, self.command = name, room, command
        self._account = account
        self._guardian: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        owner = self._account
        order = Order(str(self.room), {self.name: self.command}, owner and owner.uid, owner and owner.gid, [])
        guardian = self._guardian = subprocess.Popen(
            [sys.executable, "-m", "engine.embedded.guardian"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=self.room,
            env=os.environ | {"PYTHONPATH": _SOURCE, "LC_ALL": postgres_server.LOCALE},
            start_new_session=True,
        )
        assert guardian.stdin is not None
        assert guardian.stdout is not None
        guardian.stdin.write(json.dumps(asdict(order)).encode() + b"\n")
        guardian.stdin.flush()
        assert guardian.stdout.readline(), "the guardian could not start it"

    @property
    def pid(self) -> int:
        return read_record(self.room)[0].pid

    def log(self) -> str:
        return (self.room / f"{self.name}.log").read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL to the server and to all that it forked, as a machine without power would."""
        pids = [self.pid, *_children(self.pid)]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.stop()

    def stop(self) -> None:
        if self._guardian is not None:
            self._guardian.communicate()
            self._guardian = None


class Postgres(Guarded):
    """A PostgreSQL server that trusts everyone. `start` returns when it answers."""

    def __init__(self, home: Home, room: Path, host: str, settings: Mapping[str, str]) -> None:
        self.host, self.port = host, choose_port(0)
        command = postgres_server.command_line(room, home.programs, "*", self.port)
        command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        super().__init__(postgres_server.NAME, room, home.account, command)

    @property
    def url(self) -> str:
        return postgres_server.url(self.host, self.port)

    def start(self) -> None:
        super().start()
        deadline = time.monotonic() + START_S
        while not postgres_server.is_ready(self.room, self.host, self.port):
            assert time.monotonic() < deadline, self.log()[-2000:]
            time.sleep(_POLL_S)

    def ask(self, question: str) -> str:
        """The first value of the answer."""
        with psycopg.connect(self.url, autocommit=True, connect_timeout=10) as connection:
            row = connection.execute(question.encode()).fetchone()
        assert row is not None
        return str(row[0])

    def tell(self, *commands: str) -> None:
        with psycopg.connect(self.url, autocommit=True, connect_timeout=10) as connection:
            for command in commands:
                connection.execute(command.encode())


def new_postgres(home: Home, name: str, host: str = LOOPBACK, **settings: str) -> Postgres:
    """An initialised server, not started."""
    room = home.room(name)
    postgres_server.prepare_data(room, home.programs, home.account)
    with (room / postgres_server.NAME / "pg_hba.conf").open("a") as rules:
        rules.write("host all all samenet trust\n")
    return Postgres(home, room, host, settings)


def new_standby(home: Home, name: str, primary: Postgres) -> Postgres:
    """A copy of the running `primary` that will follow it under `name`; not started."""
    room = home.room(name)
    data = room / postgres_server.NAME
    source = f"host={primary.host} port={primary.port} user=postgres"
    subprocess.run(
        [home.basebackup, "-d", source, "-D", data, "-R", "--checkpoint=fast", "--no-sync"],
        check=True,
        capture_output=True,
    )
    home.own(data)
    return Postgres(home, room, primary.host, {"primary_conninfo": f"{source} application_name={name}"})


class Redis(Guarded):
    """A Redis server that everyone may use. `start` returns when it answers."""

    def __init__(self, home: Home, name: str, host: str = LOOPBACK) -> None:
        room, self.host, self.port = home.room(name), host, choose_port(0)
        (room / redis_server.NAME).mkdir()
        home.own(room)
        command = redis_server.command_line(home.redis_program, host, self.port)
        super().__init__(redis_server.NAME, room, home.account, [*command, "--protected-mode", "no"])

    def url(self, database: int) -> str:
        return redis_server.url(self.host, self.port, database)

    def start(self) -> None:
        super().start()
        deadline = time.monotonic() + START_S
        while not redis_server.is_ready(self.pid, self.host, self.port):
            assert time.monotonic() < deadline, self.log()[-2000:]
            time.sleep(_POLL_S)


def _children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(each) for each in found.stdout.split()]
