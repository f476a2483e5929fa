"""Every place where a secret enters, and every place where it could come out: logs of a real process, answers, rows."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import psycopg
import pytest
import requests
from pydantic import SecretStr

from engine.embedded.lifeline import READY_FD
from engine.embedded.servers import Servers
from engine.settings import Settings
from tests.conftest import _clone, _sqlalchemy_url
from tests.outside.live import Live
from tests.outside.test_document import OPERATIONS, STREAMS
from tests.outside.things import DID

WAIT_S = 60.0
STOPPED = "api.stopped"


class Process(NamedTuple):
    """An api in a process of its own, at the most talkative level there is."""

    port: int
    key: str
    log: Path
    handle: subprocess.Popen[bytes]
    database_url: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def end(self) -> str:
        """What it has written, to the end."""
        self.handle.send_signal(signal.SIGTERM)
        self.handle.wait(WAIT_S)
        return self.log.read_text("utf-8")


@pytest.fixture
def process(servers: Servers, template: str, tmp_path: Path, outside: Live) -> Iterator[Process]:
    name = _clone(servers, template)
    url = _sqlalchemy_url(servers, name)
    key = "tk_test_" + "SeCrEt" * 7
    with psycopg.connect(url.replace("+psycopg", "")) as conn:
        conn.execute("insert into accounts (id, name, created_at) values (1, 'tenant', now())")
        conn.execute(
            "insert into api_keys (id, account_id, hash, prefix, name, scopes, rate_limit, is_live, created_at)"
            " values (1, 1, sha256(%s), 'tk_test_SeCr', 'x', '{*}', 100000, false, now())",
            [key.encode()],
        )
    reader, writer = os.pipe()
    environment = {
        **os.environ,
        **servers.environment(),
        "DATABASE_URL": url,
        "CARILLON_PORT": "0",
        "CARILLON_LOG_LEVEL": "debug",
        "CARILLON_SECRET": "own-hush-hush-secret",
        "CARILLON_SIMULATED_SECRET": "carrier-hush-hush-secret",
        READY_FD: str(writer),
    }
    log = tmp_path / "api.log"
    with log.open("wb") as target:
        handle = subprocess.Popen(
            [sys.executable, "-m", "api_min.serve"], env=environment, pass_fds=[writer], stderr=target, stdout=target
        )
    os.close(writer)
    try:
        with os.fdopen(reader) as ready:
            port = json.loads(ready.readline())["port"]
        yield Process(port, key, log, handle, url)
    finally:
        if handle.poll() is None:
            handle.kill()
            handle.wait()
    with psycopg.connect(servers.database_url, autocommit=True) as admin:
        admin.execute(f"drop database {name} with (force)")


def raw(port: int, sent: bytes) -> bytes:
    """The beginning of an answer; then the client has gone."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)) as connection:
        connection.sendall(sent)
        return connection.recv(65_536)


def test_a_key_in_a_query_is_in_no_line_of_a_real_process(process: Process) -> None:
    """On streams, where it belongs; on every other path, where it is a mistake; and in requests that are broken."""
    key, encoded = process.key, quote(process.key, safe="").replace("S", "%53")
    spellings = [f"token={key}", f"token={encoded}", f"%74oken={key}", f"TOKEN={key}", f"a=1&token={key}&token={key}"]
    for path, _, _ in OPERATIONS:
        for query in spellings if path in STREAMS else spellings[:1]:
            with requests.get(f"{process.url}{path}?{query}", stream=True, timeout=WAIT_S) as answer:
                assert answer.status_code < 500
                assert path in STREAMS or key not in answer.text
    for path in ("/api/events", "/api/v1/sms/stream", "/api/realtime/events"):
        for more in ("channels=x", "topics=x*", "stream=x", "lastEventId=x"):
            with requests.get(f"{process.url}{path}?token={key}&{more}", stream=True, timeout=WAIT_S):
                pass
    upgrade = (
        "Upgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
    )
    for head in (
        f"GET /api/realtime?token={key} HTTP/1.1\r\nHost: x\r\n{upgrade}\r\n\r\n",
        f"GET /?token={key} HTTP/1.1\r\nHost: x\r\n{upgrade}\r\n\r\n",
        f"GET /api/events?token={key} HTTP/9.9\r\n\r\n",
        f"BREW /api/events?token={key} HTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET /api/events?token={key} HTTP/1.1\r\nHost: x\r\nBad Header: x\r\n\r\n",
        f"GET /api/events?token={key}&x={'9' * 70_000} HTTP/1.1\r\nHost: x\r\n\r\n",
        f"POST /carriers/simulated-command/callbacks?token={key} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        f"Authorization: Bearer {key}\r\n\r\n",
    ):
        raw(process.port, head.encode())
    written = process.end()
    assert STOPPED in written
    assert "SeCrEt" not in written
    assert "%53eCrEt" not in written


def test_a_failure_of_ours_logs_its_trace_and_no_secret(process: Process) -> None:
    """A table is away: the statement, its parameters and the request are all in the exception."""
    with psycopg.connect(process.database_url.replace("+psycopg", ""), autocommit=True) as conn:
        conn.execute("alter table webhooks rename to elsewhere")
    headers = {"Authorization": f"Bearer {process.key}"}
    body = {"url": "https://example.com/hooks?token=inTheAddress", "events": ["*"]}
    answer = requests.post(f"{process.url}/api/webhooks", json=body, headers=headers, timeout=WAIT_S)
    assert answer.status_code == 500
    assert "Traceback" not in answer.text
    assert "elsewhere" not in answer.text
    written = process.end()
    assert "request.failed" in written
    for secret in ("SeCrEt", "whsec_" + "A", "inTheAddress", "hush-hush"):
        assert secret not in written, secret
    assert not [line for line in written.splitlines() if "whsec_" in line and "whsec_[redacted]" not in line]


def test_secrets_are_kept_as_hashes_or_where_they_must_sign(outside: Live) -> None:
    """After everything that makes one, replays included, each table is searched for it."""
    client = outside.client(numbers=[DID])
    keyed = {"Idempotency-Key": "once"}
    secrets = {
        "key": outside.ask(client, "POST", "/api/keys", {"name": "x", "scopes": ["*"]}, headers=keyed).json["key"],
        "own": client.key,
    }
    made = outside.ask(
        client,
        "POST",
        "/api/webhooks",
        {"url": "https://example.com/", "events": ["*"]},
        headers=keyed | {"Idempotency-Key": "twice"},
    )
    secrets["webhook"] = made.json["secret"]
    changed = outside.ask(
        client,
        "PATCH",
        f"/api/webhooks/{made.json['id']}",
        {"rotateSecret": True},
        headers={"Idempotency-Key": "thrice"},
    )
    secrets["rotated"] = changed.json["secret"]
    for method, path, body, name in (
        ("POST", "/api/keys", {"name": "x", "scopes": ["*"]}, "once"),
        ("POST", "/api/webhooks", {"url": "https://example.com/", "events": ["*"]}, "twice"),
    ):
        again = outside.ask(client, method, path, body, headers={"Idempotency-Key": name})
        assert again.headers["Idempotency-Replay"] == "true"
        assert not [each for each in secrets.values() if each in again.text]
    for path in ("/api/keys", "/api/webhooks", f"/api/webhooks/{made.json['id']}"):
        shown = outside.ask(client, "GET", path).text
        assert not [each for each in secrets.values() if each in shown]
    found = rows_with(outside, list(secrets.values()))
    assert found == {"webhooks"}


def rows_with(outside: Live, secrets: list[str]) -> set[str]:
    """The tables that hold one of them, in whatever column."""
    found = set()
    with psycopg.connect(outside.api.runtime.settings.sqlalchemy_url.replace("+psycopg", "")) as conn:
        tables = conn.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
        for (table,) in tables:
            for secret in secrets:
                either = "position(%s in t::text) > 0 or position(%s in t::text) > 0"  # as text, or as bytes
                query = f"select exists (select from {table} t where {either})"
                if conn.execute(query, [secret, secret.encode().hex()]).fetchone() == (True,):  # type: ignore[arg-type]
                    found.add(table)
    return found


def test_every_secret_setting_is_hidden_wherever_settings_are_shown() -> None:
    telling = ("secret", "password", "token", "_url")
    fields = {name for name in Settings.model_fields if any(word in name for word in telling)}
    fields -= {"public_url", "simulated_url"}  # addresses, without a password
    assert fields >= {"database_url", "redis_url", "redis_queue_url", "secret", "simulated_secret"}
    values: dict[str, Any] = {name: f"hushhush-{name}" for name in fields}
    settings = Settings.model_validate(values | {"DATABASE_URL": "hushhush-d", "REDIS_URL": "hushhush-r"})
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert "hushhush" not in shown
    assert all(isinstance(getattr(settings, name), SecretStr) for name in fields)
