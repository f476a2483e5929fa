"""The connection to PostgreSQL: one engine per process, with the session settings that the promises need."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg.errors import IdleInTransactionSessionTimeout, ReadOnlySqlTransaction
from sqlalchemy import Engine, event, text
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import InternalError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from engine.errors import Misconfigured, Unavailable
from engine.store.connection import DriverEngine
from engine.store.hosts import ask_last_first, sqlalchemy_url

# A client that stops inside a transaction would block a pause for as long as it likes (DESIGN 2a).
IDLE_IN_TRANSACTION_MS = 500
STATEMENT_TIMEOUT_MS = 30_000

# A worker's two batches of calls and two of texts may hold 1,000 phone locks each; 64 × 100 connections, PostgreSQL's
# default, is too few.
MIN_LOCKS = 40_000

# A lost link or machine says nothing, and left to itself TCP believes in it for a quarter of an hour. A server whose
# kernel is silent for so long is away; a slow statement is not silence, since the kernel answers for it.
SILENCE_S = 5
CONNECT_S = 3  # for each of the servers in the URL; one that is silent is asked again a little later
_WATCH_SERVER = {
    "keepalives": 1,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": SILENCE_S * 1000,
}
# The same the other way round: or the sessions of a lost client would fill the server for two hours.
_WATCH_CLIENT = (
    " -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3 -c tcp_user_timeout=20000"
)

_USER = re.compile(r'(?:user|role) "[^"]*"')  # as PostgreSQL names it when it turns somebody away

# The server ended the session of a client that stood still in a transaction; or it is a standby, or has become one.
_DISGUISED_OUTAGES = (IdleInTransactionSessionTimeout, ReadOnlySqlTransaction)

# For sessions that only look rows up by key: the planner must not be talked into scanning a table by statistics that
# were taken when a volatile state column looked different (a fixed 11–14 ms per batch when it was). One plan serves all
# parameters then; left to choose, PostgreSQL planned the larger statements anew each time, over 16 partitions: 2–5 ms
# per statement, a quarter of all its work under a small load.
_KEYED = " -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c plan_cache_mode=force_generic_plan"
# Of psycopg: prepared at the first use. Planned each time, over 16 partitions, a statement costs more than it does.
_PREPARED = {"prepare_threshold": 0}
KEYED = "plans_by_key"  # the execution option of such engines


def connect(
    url: str,
    *,
    pool_size: int = 5,
    statement_timeout_ms: int = STATEMENT_TIMEOUT_MS,
    idle_in_transaction_ms: int = IDLE_IN_TRANSACTION_MS,
    keyed: bool = False,
) -> AsyncEngine:
    """An engine for `postgresql://…`, of one server or of several (`engine.store.hosts`); `keyed` for sessions
    whose statements are few and by key. Close it with `await engine.dispose()`."""
    options = (
        f"-c idle_in_transaction_session_timeout={idle_in_transaction_ms}"
        f" -c statement_timeout={statement_timeout_ms} -c timezone=UTC -c jit=off"
        f"{_KEYED if keyed else ''}{_WATCH_CLIENT}"
    )
    pooled = create_async_engine(
        sqlalchemy_url(url),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=False,
        pool_use_lifo=True,  # in turn, a connection would see each statement too seldom to keep its plan
        connect_args={
            "options": options,
            "connect_timeout": CONNECT_S,
            **_WATCH_SERVER,
            **(_PREPARED if keyed else {}),
        },
        skip_autocommit_rollback=True,
        execution_options={KEYED: keyed},
    )
    engine = DriverEngine(pooled.sync_engine)
    ask_last_first(engine.sync_engine)
    _tell_outages(engine.sync_engine)
    return engine


def autocommit(engine: AsyncEngine) -> AsyncEngine:
    """The same connections for statements that each stand for themselves, above all for those that only read.

    A transaction that nobody commits ends in a rollback, and after one the driver drops every statement that it has
    prepared on the connection: each is planned anew then, some five times, which takes longer than to execute it.
    """
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def _tell_outages(engine: Engine) -> None:
    """An outage is an OperationalError that ends the connection, also where psycopg has another class for it."""

    @event.listens_for(engine, "handle_error")
    def tell(context: ExceptionContext) -> None:
        cause, failed = context.original_exception, context.sqlalchemy_exception
        if isinstance(cause, _DISGUISED_OUTAGES) and isinstance(failed, InternalError):
            context.is_disconnect = True
            raise OperationalError(failed.statement, failed.params, cause, connection_invalidated=True)


@contextmanager
def reaching() -> Iterator[None]:
    """For what is done first with a database. Raises Unavailable, with the remedy and no word of the credentials, when
    no connection is made."""
    try:
        yield
    except OperationalError as error:
        if error.statement is not None:
            raise
        reason = _USER.sub("the user in DATABASE_URL", str(error.orig))
        raise Unavailable(f"PostgreSQL cannot be reached: start it, or set DATABASE_URL right ({reason})") from error


async def check_server(engine: AsyncEngine) -> None:
    """Refuses a server that would break a promise. Raises Misconfigured with the remedy."""
    async with engine.connect() as conn:
        row = (
            await conn.execute(
                text(
                    "select current_setting('max_locks_per_transaction')::int"
                    " * (current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int),"
                    " current_setting('fsync'), current_setting('synchronous_commit')"
                )
            )
        ).one()
    if row[0] < MIN_LOCKS:
        raise Misconfigured(
            f"PostgreSQL can hold {row[0]} locks and the workers need {MIN_LOCKS}:"
            " raise max_locks_per_transaction (512 is plenty) and restart it"
        )
    if row[1] != "on" or row[2] in {"off", "local"}:
        raise Misconfigured("PostgreSQL must run with fsync = on and synchronous_commit = on: an intent must survive")
