"""What it looks like when a server is away, restarting or failing over, and what the log says of it."""

from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from structlog.typing import FilteringBoundLogger

from engine.errors import Unavailable

POSTGRES_AWAY = (OperationalError, InterfaceError, PoolTimeout)
AWAY = (*POSTGRES_AWAY, RedisError, Unavailable, OSError)
_MOST_CHARACTERS = 300


def words(error: BaseException) -> str:
    """What the server or its driver said, in one line: without the statement, whose parameters are people's numbers."""
    said = error.orig if isinstance(error, DBAPIError) else error
    return " ".join(f"{said}".split())[:_MOST_CHARACTERS] or type(error).__name__


def log_failure(log: FilteringBoundLogger, event: str, error: Exception, **facts: object) -> None:
    """Where `error` is handled. An outage takes one line, however many fail for it in a second; anything else is ours
    to mend, and comes with its stack."""
    if isinstance(error, AWAY):
        log.error(event, error=words(error), **facts)
    else:
        log.error(event, exc_info=error, **facts)
