import asyncio
import socket
import time
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.store import database
from engine.store.hosts import sqlalchemy_url

DIALECT = "postgresql+psycopg"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", DIALECT])
@pytest.mark.parametrize("rest", ["u@h/d", "u:p%40@h:5433/d?sslmode=require", "/d?host=/run/postgresql"])
def test_one_server_only_gets_its_driver(scheme: str, rest: str) -> None:
    assert sqlalchemy_url(f"{scheme}://{rest}") == f"{DIALECT}://{rest}"


@pytest.mark.parametrize(
    ("url", "hosts", "ports"),
    [
        ("postgresql://u@one:1,two:2/d", "one,two", "1,2"),
        ("postgres://u@one,two:2/d", "one,two", "5432,2"),
        ("postgresql+psycopg://u@one:1,two/d", "one,two", "1,5432"),
        ("postgresql://u@[::1]:1,[fe80::2]/d", "::1,fe80::2", "1,5432"),
        ("postgresql://u@one,two,three/d?target_session_attrs=read-write", "one,two,three", "5432,5432,5432"),
    ],
)
def test_several_servers_are_asked_for_the_one_that_can_be_written(url: str, hosts: str, ports: str) -> None:
    written = make_url(sqlalchemy_url(url))
    _, params = written.get_dialect()().create_connect_args(written)
    assert params == {"user": "u", "dbname": "d", "host": hosts, "port": ports, "target_session_attrs": "read-write"}


def test_everything_else_of_the_url_stays() -> None:
    url = "postgresql://us%2Fer:p%40%3A%2C@one:1,two:2/d?sslmode=require&target_session_attrs=any"
    written = make_url(sqlalchemy_url(url))
    _, params = written.get_dialect()().create_connect_args(written)
    expected = conninfo_to_dict(url)
    assert {name: str(value) for name, value in params.items()} == expected


def test_a_url_that_was_written_before_stays() -> None:
    once = sqlalchemy_url("postgresql://u@one:1,two:2/d")
    assert sqlalchemy_url(once) == once
    assert sqlalchemy_url("sqlite://") == "sqlite://"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Of a server that takes connections and says nothing, as one whose machine hangs."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield int(server.getsockname()[1])


async def test_a_silent_server_is_waited_for_once(database_url: str, silent_port: int) -> None:
    url = make_url(database_url)
    engine = database.connect(
        f"postgresql://{url.username}@{url.host}:{silent_port},{url.host}:{url.port}/{url.database}", pool_size=3
    )
    try:
        begun = time.monotonic()
        await _ask(engine)
        assert time.monotonic() - begun >= 2.0  # the test's own premise
        begun = time.monotonic()
        async with engine.connect(), engine.connect(), engine.connect():  # two of them new
            assert time.monotonic() - begun < 2.0
    finally:
        await engine.dispose()


async def test_without_any_server_the_error_names_no_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    engine = database.connect(f"postgresql://u:s3cret@127.0.0.1:{port},127.0.0.1:{port}/d")
    try:
        with pytest.raises(Exception, match="refused") as raised:
            await _ask(engine)
        assert "s3cret" not in str(raised.value)
        assert isinstance(raised.value.__cause__, psycopg.OperationalError)
    finally:
        await engine.dispose()


async def _ask(engine: AsyncEngine) -> None:
    async with asyncio.timeout(30.0), engine.connect() as conn:
        await conn.execute(text("select 1"))
