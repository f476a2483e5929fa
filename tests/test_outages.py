"""What the log says of an outage, and of what is none."""

from collections.abc import Callable

import psycopg
import pytest
import structlog
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from structlog.testing import capture_logs

from engine.errors import Unavailable
from engine.outages import log_failure, words

STATEMENT, PARAMETERS = "select :phone", {"phone": "+12125550100"}
GONE = OperationalError(STATEMENT, PARAMETERS, psycopg.OperationalError("the connection\n  has gone"))


def logged(error: Exception) -> list[dict[str, object]]:
    with capture_logs() as lines:
        try:
            raise error
        except Exception as caught:
            log_failure(structlog.get_logger(), "batch.failed", caught, size=3)
    return [dict(line) for line in lines]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (GONE, "the connection has gone"),
        (RedisConnectionError("Error 111 connecting"), "Error 111 connecting"),
        (Unavailable("the carrier is away"), "the carrier is away"),
        (ConnectionResetError(), "ConnectionResetError"),
        (PoolTimeout("QueuePool limit of size 5"), "QueuePool limit of size 5"),
        (OSError("x" * 1000), "x" * 300),
    ],
)
def test_an_outage_takes_one_line_without_stack_or_statement(error: Exception, said: str) -> None:
    assert logged(error) == [{"event": "batch.failed", "log_level": "error", "error": said, "size": 3}]


@pytest.mark.parametrize(
    "make",
    [
        lambda: KeyError("campaign"),
        lambda: IntegrityError(STATEMENT, PARAMETERS, psycopg.errors.UniqueViolation("duplicate key")),
    ],
)
def test_what_is_no_outage_comes_with_its_stack(make: Callable[[], Exception]) -> None:
    error = make()
    assert logged(error) == [{"event": "batch.failed", "log_level": "error", "exc_info": error, "size": 3}]


def test_a_statement_and_its_parameters_are_not_told() -> None:
    assert "+12125550100" not in words(GONE)
    assert "select" not in words(GONE)
