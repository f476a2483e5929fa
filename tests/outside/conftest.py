"""One api for the blocking clients of this folder, and how many inputs each test tries."""

import socket
from collections.abc import Iterator

import psycopg
import pytest
import structlog

from engine.clock import starting_at
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
    """A live api on a database of its own. No name but localhost's resolves: generated addresses reach nobody."""
    name = _clone(servers, template)
    urls = {
        "DATABASE_URL": _sqlalchemy_url(servers, name),
        "REDIS_URL": servers.redis_url,
        "REDIS_QUEUE_URL": servers.redis_queue_url,
    }
    with pytest.MonkeyPatch.context() as patch, live(urls, starting_at(LEGAL_HOUR, 1.0), operation_wait_s=OPERATION_WAIT_S) as running:
        patch.setattr(socket, "getaddrinfo", _only_local(socket.getaddrinfo))
        yield running
    with psycopg.connect(servers.database_url, autocommit=True) as admin:
        admin.execute(f"drop database {name} with (force)")


def _only_local(look_up):  # type: ignore[no-untyped-def]
    def local(host, *args, **more):  # type: ignore[no-untyped-def]
        if host in (None, "localhost", "127.0.0.1", "::1"):
            return look_up(host, *args, **more)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    return local
