"""Several database servers in one URL: a primary and the standbys that may take its place.

`postgresql://user:password@one:5432,two:5432/carillon` is libpq's own form. Each new connection goes to the server that
can be written; a standby refuses and the next is asked.
"""

from typing import Any
from urllib.parse import quote, urlsplit

from sqlalchemy import Engine, event

_DRIVER = "postgresql+psycopg"
_WRITABLE = "read-write"
_PORT = "5432"


def sqlalchemy_url(url: str) -> str:
    """The same URL with psycopg 3 as its driver; several hosts as SQLAlchemy spells them.

    Several hosts without `target_session_attrs` get `read-write`: without it the first that answers would be used, a
    standby too.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in {"postgres", "postgresql", _DRIVER}:
        return url
    parts = urlsplit(f"{_DRIVER}://{rest}")
    user, at, servers = parts.netloc.rpartition("@")
    if "," not in servers:
        return f"{_DRIVER}://{rest}"
    hosts, ports = zip(*map(_host_and_port, servers.split(",")), strict=True)
    query = [f"host={quote(','.join(hosts), safe=',:')}", f"port={','.join(ports)}"]
    if "target_session_attrs=" not in parts.query:
        query.append(f"target_session_attrs={_WRITABLE}")
    if parts.query:
        query.append(parts.query)
    return parts._replace(netloc=f"{user}{at}", query="&".join(query)).geturl()


def ask_last_first(engine: Engine) -> None:
    """New connections ask the server first that served the last one.

    A lost machine does not refuse, it is silent: every connection would wait for it before it asks the next.
    """
    if "," not in str(engine.url.query.get("host", "")):
        return
    last: list[tuple[str, str]] = []

    @event.listens_for(engine, "do_connect")
    def order(_dialect: object, _record: object, _args: object, params: dict[str, Any]) -> None:
        servers = list(zip(params["host"].split(","), params["port"].split(","), strict=True))
        servers.sort(key=lambda server: server not in last)
        params["host"], params["port"] = (",".join(each) for each in zip(*servers, strict=True))

    @event.listens_for(engine, "connect")
    def note(connection: Any, _record: object) -> None:
        info = connection.driver_connection.info
        last[:] = [(info.host, str(info.port))]


def _host_and_port(server: str) -> tuple[str, str]:
    """Of `host`, `host:port`, `[::1]` or `[::1]:port`."""
    host, bracket, port = server.rpartition("]") if server.startswith("[") else server.rpartition(":")
    if bracket == "]":
        return host.removeprefix("["), port.removeprefix(":") or _PORT
    return (host, port or _PORT) if bracket else (port, _PORT)
