"""Real servers for every test that wants them: one PostgreSQL and one Redis per run, a fresh database per test.

`DATABASE_URL` and `REDIS_URL` are used when they are set. Each test then gets a database of its own beside the named
one, but Redis is flushed: point them at servers that hold nothing else.

`make test` runs three pytest workers side by side, each with servers of its own; on given servers there is only one,
for the Redis of one would be flushed under the other. A file's tests stay together, and so do those of a folder whose
files share processes. The first worker begins with the files that start many processes: they wait more than they work,
so two cores have room for two workers beside it, and two such files at once would crowd each other out. The longest
come first, and whoever is done with its own kind helps with the other.

Many tests hold real processes to real time. Where a shared machine's host leaves it a fraction of a core, some of them
fail and say nothing of the code; so what fails is tried again (the summary names it), but only where the machine is
found to be that slow right after the failure. On a machine that is not, one failure is one failure.
"""

import gc
import itertools
import os
import time
from asyncio import AbstractEventLoop
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextvars import Context
from datetime import UTC, datetime

import psycopg
import pytest
import uvloop
from redis.asyncio import Redis
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from engine.clock import Clock, starting_at
from engine.embedded.servers import Servers, start_servers
from engine.simulation.runner import EMPTY
from engine.store import migrate
from engine.store.database import connect

# A Wednesday, 11:00 in Los Angeles and 14:00 in New York: inside every contact window of the mainland.
LEGAL_HOUR = datetime(2026, 3, 11, 18, 0, tzinfo=UTC)

# Seven thousand tests are a million objects that stay: a seventh of each worker's collection was a search for garbage.
gc.set_threshold(50_000, 20, 100)

# On a busy machine a test's own process may stand still for longer than a production limit allows.
os.environ.setdefault("CARILLON_IDLE_IN_TRANSACTION_MS", "20000")

_numbers = itertools.count(1)

_TRIES_MORE = 2
_WORK = 50_000  # multiplications: 2.5 ms on a core of its own
_SLOW_S = 0.008

_MANY_PROCESSES = ("acceptance", "chaos", "network", "bench", "limits", "embedded", "clients")
# What comes last decides how long one worker waits for another: folders by the time that a file of theirs may take.
_LONGEST_FIRST = ("acceptance/shared", *_MANY_PROCESSES, "simulation", "outside")
_ONE_STACK = ("acceptance/shared",)
_WORKERS = 3
_WITH_MANY = 1


def pytest_xdist_auto_num_workers() -> int:
    """What `-n auto` means: see above."""
    return 0 if {"DATABASE_URL", "REDIS_URL"} & os.environ.keys() else _WORKERS


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], AbstractEventLoop]]:
    """The loop that every process of ours runs on."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    return _ByFile(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.usepdb:  # whoever debugs wants the first failure
        return
    again = pytest.mark.flaky(reruns=_TRIES_MORE, condition=_is_slow)
    for item in items:
        item.add_marker(again)


def _is_slow() -> bool:
    """Whether a core does so little just now that time measured on it means nothing: the best of three, so that being
    preempted once is not slowness."""
    return min(_work() for _ in range(3)) > _SLOW_S


def _work() -> float:
    begun, total = time.perf_counter(), 0
    for number in range(_WORK):
        total += number * number
    return time.perf_counter() - begun


class _ByFile(LoadScopeScheduling):
    """xdist's own `--dist loadfile`, but each worker has a kind of file that it prefers."""

    def _split_scope(self, nodeid: str) -> str:
        folder = _folder(nodeid)
        return f"tests/{folder}/" if folder in _ONE_STACK else nodeid.partition("::")[0]

    def _assign_work_unit(self, node: WorkerController) -> None:
        likes_many = node in self.nodes[:_WITH_MANY]
        scope = min(self.workqueue, key=lambda each: (_starts_many(each) != likes_many, _rank(each)))
        self.workqueue.move_to_end(scope, last=False)
        super()._assign_work_unit(node)


def _starts_many(scope: str) -> bool:
    return _folder(scope).partition("/")[0] in _MANY_PROCESSES


def _rank(scope: str) -> int:
    """Small for what is to begin early."""
    folder = _folder(scope)
    names = [name for name in (folder, folder.partition("/")[0]) if name in _LONGEST_FIRST]
    return _LONGEST_FIRST.index(names[0]) if names else len(_LONGEST_FIRST)


def _folder(scope: str) -> str:
    """Below `tests`, of a test's id or of what its file or folder is called."""
    return scope.partition("::")[0].partition("/")[2].rpartition("/")[0]


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with start_servers(tmp_path_factory.mktemp("servers"), keep=False) as running:
        yield running.servers


@pytest.fixture(scope="session")
def template(servers: Servers) -> Iterator[str]:
    """The name of a migrated, empty database that the tests' own databases are copies of."""
    name = f"carillon_template_{os.getpid()}"
    with psycopg.connect(servers.database_url, autocommit=True) as admin:
        admin.execute(f"create database {name}")
        # Whichever test comes first may be under a time of its own, but the log's partitions are those of today.
        Context().run(migrate.upgrade, _sqlalchemy_url(servers, name))
        yield name
        admin.execute(f"drop database {name} with (force)")


class Database:
    """A migrated database and one connection, which stays open between tests: a new one's server process would first
    have to learn the tables, which costs seven times what emptying them does."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._admin = self._connect()

    def empty(self) -> None:
        """Cuts off whoever else is still connected, deletes every row and starts every sequence again."""
        try:
            self._empty()
        except psycopg.OperationalError:  # a test cut off everybody
            self._admin = self._connect()
            self._empty()

    def close(self) -> None:
        self._admin.close()

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(self.url.replace("+psycopg", ""), autocommit=True)

    def _empty(self) -> None:
        self._admin.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        self._admin.execute(EMPTY)


@pytest.fixture(scope="session")
def spare_databases(servers: Servers) -> Iterator[list[Database]]:
    """Emptied databases, ready for the next test: a clone costs 150 to 250 ms."""
    spare: list[Database] = []
    yield spare
    with psycopg.connect(servers.database_url, autocommit=True) as admin:
        for database in spare:
            database.close()
            admin.execute(f"drop database {make_url(database.url).database} with (force)")


@pytest.fixture
def database_url(servers: Servers, template: str, spare_databases: list[Database]) -> Iterator[str]:
    """A SQLAlchemy URL of a migrated, empty database that no other test uses meanwhile.

    A test that changes the schema takes `own_database_url` instead.
    """
    database = (
        spare_databases.pop() if spare_databases else Database(_sqlalchemy_url(servers, _clone(servers, template)))
    )
    yield database.url
    database.empty()
    spare_databases.append(database)


@pytest.fixture
def own_database_url(servers: Servers, template: str) -> Iterator[str]:
    """A SQLAlchemy URL of a migrated, empty database that is thrown away after the test."""
    name = _clone(servers, template)
    yield _sqlalchemy_url(servers, name)
    with psycopg.connect(servers.database_url, autocommit=True) as admin:
        admin.execute(f"drop database {name} with (force)")


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on an empty, migrated database. Its idle transactions live longer than production's half second: on a
    busy machine a test's one event loop may well stand still for so long."""
    engine = connect(database_url, pool_size=10, idle_in_transaction_ms=20_000)
    yield engine
    await engine.dispose()


@pytest.fixture
async def redis(servers: Servers) -> AsyncIterator[Redis]:
    """Buckets and streams; empty."""
    async for client in _flushed(servers.redis_url):
        yield client


@pytest.fixture
async def queue_redis(servers: Servers) -> AsyncIterator[Redis]:
    """Dramatiq's own database; empty."""
    async for client in _flushed(servers.redis_queue_url):
        yield client


@pytest.fixture
def clock() -> Clock:
    """Engine time inside legal hours, at real speed."""
    return starting_at(LEGAL_HOUR, speed=1.0)


async def _flushed(url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(url)
    await client.flushdb()
    yield client
    await client.aclose()


def _clone(servers: Servers, template: str) -> str:
    name = f"carillon_test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(servers.database_url, autocommit=True) as admin:
        # file_copy checkpoints but writes no WAL: with the drop some 0.15 s, against 0.25 s for wal_log
        admin.execute(f"create database {name} template {template} strategy file_copy")
    return name


def _sqlalchemy_url(servers: Servers, database: str) -> str:
    url = make_url(servers.database_url).set(drivername="postgresql+psycopg", database=database)
    return url.render_as_string(hide_password=False)
