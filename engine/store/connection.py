"""SQLAlchemy's connections, whose statements in words the driver executes itself.

What SQLAlchemy does around a statement (a greenlet, its own cursor, an execution context, a result) is written for
more than we ask of it, and takes twice as long as the driver: a batch of a dozen statements costs that a dozen
times. Pool, transactions and the handling of errors stay SQLAlchemy's; so does every statement that is not `text()`.
"""

from asyncio import CancelledError
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NoReturn, cast

import psycopg
from psycopg import AsyncConnection as Driver
from psycopg.pq import ExecStatus
from sqlalchemy import Connection as SyncConnection
from sqlalchemy import CursorResult, Dialect, TextClause, text
from sqlalchemy.engine import IteratorResult
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine


class DriverEngine(AsyncEngine):
    """An engine whose connections are `DriverConnection`s."""

    def connect(self) -> AsyncConnection:
        return DriverConnection(self)

    def execution_options(self, **options: Any) -> AsyncEngine:
        return DriverEngine(self.sync_engine.execution_options(**options))


class DriverConnection(AsyncConnection):
    async def execute(self, statement: Any, parameters: Any = None, **options: Any) -> CursorResult[Any]:
        """As SQLAlchemy's. Results of `text()` are read whole: they have rows and `rowcount`, but no cursor."""
        sync = self.sync_connection
        is_plain = type(statement) is TextClause and (parameters is None or isinstance(parameters, Mapping))
        if not is_plain or options or sync is None or sync.invalidated:
            return cast(CursorResult[Any], await super().execute(statement, parameters, **options))
        if not sync.in_transaction():
            sync.begin()
        driver = cast(Driver[Any], sync.connection.driver_connection)
        try:
            cursor = driver.cursor()
            await cursor.execute(_translated(statement.text, sync.dialect), parameters or {})
            return cast(CursorResult[Any], await _read(cursor))  # all of it that we use
        except (Exception, CancelledError) as error:
            await self.run_sync(_raise_as_its_own, error, statement.text, parameters)
            raise


class _Result(IteratorResult[Any]):
    rowcount = -1
    returns_rows = True


async def _read(cursor: psycopg.AsyncCursor[Any]) -> _Result:
    found = cursor.pgresult
    if found is None or found.status != ExecStatus.TUPLES_OK:
        result = _Result(_columns(()), iter(()))
        result.returns_rows = False
    else:
        names = tuple([cast(bytes, found.fname(place)) for place in range(found.nfields)])
        result = _Result(_columns(names), iter(await cursor.fetchall()))
    result.rowcount = cursor.rowcount
    return result


@lru_cache(maxsize=1024)
def _translated(words: str, dialect: Dialect) -> str:
    """With the driver's placeholders."""
    return str(text(words).compile(dialect=dialect))


@lru_cache(maxsize=1024)
def _columns(names: tuple[bytes, ...]) -> SimpleResultMetaData:
    return SimpleResultMetaData([name.decode() for name in names])


def _raise_as_its_own(conn: SyncConnection, error: BaseException, words: str, parameters: Any) -> NoReturn:
    """As if SQLAlchemy had executed it: wrapped, and with the connection (and its pool's) given up where it is lost or
    the task was cancelled in the middle."""
    try:
        raise error
    except BaseException:
        conn._handle_dbapi_exception(error, words, parameters, None, None)  # there is no public way
