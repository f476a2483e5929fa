"""Databases to measure on: each round gets a copy of a template that was filled once, so that all begin alike."""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psycopg
from redis import Redis
from sqlalchemy import make_url

from engine.embedded.servers import Servers
from engine.store import migrate

_EMPTY = "empty"
Fill = Callable[[str], None]
"""Fills the migrated database at a URL."""


class Databases:
    """Templates by name. All of it is dropped at the end of the `with` block."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._prefix = f"carillon_bench_{os.getpid()}_"
        self._numbers = itertools.count(1)
        self._templates: dict[str, str] = {}
        self._admin = psycopg.connect(servers.database_url, autocommit=True)

    def __enter__(self) -> "Databases":
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(psycopg.Error):
            for database in self._templates.values():
                self._drop(database)
        self._admin.close()

    @contextmanager
    def fresh(self, template: str = _EMPTY, fill: Fill | None = None) -> Iterator[str]:
        """The URL of a copy of `template`, which `fill` made at its first use; every Redis database is empty.

        The copy is made by files, which begins with a checkpoint: no round pays for what the one before has written.
        """
        database = self._copy(self._template(template, fill))
        try:
            for url in (self._servers.redis_url, self._servers.redis_queue_url):
                with Redis.from_url(url) as redis:
                    redis.flushdb()
            yield self._url(database)
        finally:
            self._drop(database)

    def _template(self, name: str, fill: Fill | None) -> str:
        if name in self._templates:
            return self._templates[name]
        if fill is None:
            database = self._name()
            self._admin.execute(f"create database {database}")
            migrate.upgrade(self._url(database))
        else:
            database = self._copy(self._template(_EMPTY, None))
            fill(self._url(database))
            with psycopg.connect(self._url(database), autocommit=True) as connection:
                connection.execute("vacuum analyze")
        self._templates[name] = database
        return database

    def _copy(self, template: str) -> str:
        database = self._name()
        self._admin.execute(f"create database {database} template {template} strategy file_copy")
        return database

    def _drop(self, database: str) -> None:
        self._admin.execute(f"drop database {database} with (force)")

    def _name(self) -> str:
        return f"{self._prefix}{next(self._numbers)}"

    def _url(self, database: str) -> str:
        return make_url(self._servers.database_url).set(database=database).render_as_string(hide_password=False)
