"""One api for the blocking clients of this folder, and how many inputs each test tries."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg
import pytest
import structlog

from engine.clock import Clock, starting_at
from engine.embedded.servers import Servers
from tests.conftest import LEGAL_HOUR, _clone, _sqlalchemy_url
from tests.outside.live import Live, live

OPERATION_WAIT_S = 0.01  # no worker is there to wait for


@pytest.fixture(autouse=True, scope="session")
def plain_logs() -> Iterator[None]:
    """As in production, tracebacks without local variables: rich ones hold secrets, and take seconds to print."""
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, renderer]
    )
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def outside(servers: Servers, template: str) -> Iterator[Live]:
    """A live api on a database of its own, inside legal hours."""
    with served(servers, template, starting_at(LEGAL_HOUR, 1.0)) as running:
        yield running


@contextmanager
def served(servers: Servers, template: str, clock: Clock | None, **changes: object) -> Iterator[Live]:
    """No name but localhost's resolves meanwhile: generated addresses reach nobody."""
    name = _clone(servers, template)
    urls = {
        "DATABASE_URL": _sqlalchemy_url(servers, name),
        "REDIS_URL": servers.redis_url,
        "REDIS_QUEUE_URL": servers.redis_queue_url,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", partial(_only_local, socket.getaddrinfo))
        with live(urls, clock, operation_wait_s=OPERATION_WAIT_S, **changes) as running:
            yield running
    with psycopg.connect(servers.database_url, autocommit=True) as admin:
        admin.execute(f"drop database {name} with (force)")


def _only_local(look_up: Callable[..., Any], host: str | None, *args: Any, **more: Any) -> Any:
    if host in (None, "localhost", "127.0.0.1", "::1"):
        return look_up(host, *args, **more)
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
