"""What surrounds the routes: documentation, health, correlation, metrics, failures, logs, the process itself."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import Process
from pathlib import Path

import aiohttp
import psycopg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine import log as logs
from engine.clock import real_now
from engine.embedded.lifeline import READY_FD
from engine.embedded.servers import Servers
from engine.store import accounts, keys
from tests.api.harness import DEADLINE_S, Api, Client


async def test_the_documentation_loads(client: Client) -> None:
    spec = (await client("GET", "/openapi.json")).json
    assert spec["openapi"].startswith("3.")
    assert all(path.startswith("/api/") for path in spec["paths"])  # aliases and callbacks are not shown
    create = spec["paths"]["/api/campaigns"]["post"]
    assert "CampaignIn" in json.dumps(create["requestBody"])
    assert "callerIds" in spec["components"]["schemas"]["CampaignIn"]["properties"]
    assert "humanConnected" in spec["components"]["schemas"]["StatsOut"]["properties"]
    assert {"400", "401", "403", "408", "409", "413", "429", "503"} <= create["responses"].keys()
    assert "422" not in create["responses"]
    assert "swagger" in (await client("GET", "/docs")).text.lower()


async def test_health_needs_no_key(client: Client) -> None:
    for path in ("/healthz", "/readyz"):
        answer = await client("GET", path, headers={"Authorization": None})
        assert (answer.status, answer.json["ok"]) == (200, True)
    assert (await client("GET", "/metrics")).status == 404  # private


async def test_a_request_id_comes_back_or_is_made(client: Client) -> None:
    given = await client("GET", "/healthz", headers={"X-Request-Id": "crm-42"})
    assert given.headers["X-Request-Id"] == "crm-42"
    for wild in ("two words", "x" * 65, "a;b"):
        made = await client("GET", "/healthz", headers={"X-Request-Id": wild})
        assert made.headers["X-Request-Id"].startswith("req_")
    assert (await client("GET", "/api/nothing")).headers["X-Request-Id"].startswith("req_")


async def test_a_fault_of_ours_shows_no_stack(api: Api, client: Client, db: AsyncEngine) -> None:
    async with db.begin() as conn:
        await conn.execute(text("alter table dids rename to elsewhere"))
    try:
        answer = await client("GET", "/api/dids")
    finally:
        async with db.begin() as conn:
            await conn.execute(text("alter table elsewhere rename to dids"))
    assert (answer.status, answer.error["code"]) == (500, "internal_error")
    assert "elsewhere" not in answer.text
    assert "psycopg" not in answer.text
    assert answer.headers["X-Request-Id"] in answer.error["message"]


async def test_a_database_that_is_away_is_a_503(api: Api, client: Client, servers: Servers) -> None:
    name = make_url(api.runtime.settings.sqlalchemy_url).database
    assert (await client("GET", "/api/dids")).status == 200
    async with await psycopg.AsyncConnection.connect(servers.database_url, autocommit=True) as admin:
        await admin.execute(f"alter database {name} allow_connections false".encode())
        try:
            await admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])
            refused = await client("GET", "/api/dids")
            unready = await client("GET", "/readyz")
        finally:
            await admin.execute(f"alter database {name} allow_connections true".encode())
    assert (refused.status, refused.error["code"]) == (503, "unavailable")
    assert refused.headers["Retry-After"] == "1"
    assert (unready.status, unready.json) == (503, {"ok": False, "database": False})
    assert (await client("GET", "/api/dids")).status == 200


def test_secrets_are_redacted() -> None:
    line = json.dumps(
        {
            "event": "x",
            "url": "postgresql://carillon:hunter2@db/c",
            "query": "/api/events?token=tk_test_abcDEF-_12&channels=sms",
            "headers": {"authorization": "Bearer tk_live_verysecret", "other": "Basic dXNlcjpwdw=="},
            "signing_secret": 'hush " hush',
        }
    )
    clean = logs.redact(line)
    for secret in ("hunter2", "abcDEF", "verysecret", "hush", "dXNlcjpwdw"):
        assert secret not in clean
    assert "channels=sms" in clean
    assert json.loads(clean)["event"] == "x"


async def test_the_process_serves_hides_secrets_and_ends(
    servers: Servers, database_url: str, db: AsyncEngine, tmp_path: Path
) -> None:
    async with db.begin() as conn:
        account = await accounts.create(conn, "tenant", real_now())
        _, secret = await keys.create_key(conn, account.id, "test", ["*"], 1000, None, False)
    log_path = tmp_path / "api.log"
    reader, writer = os.pipe()
    environment = {
        **os.environ,
        **servers.environment(),
        "DATABASE_URL": database_url,
        "CARILLON_PORT": "0",
        "CARILLON_LOG_LEVEL": "debug",
        READY_FD: str(writer),
    }
    command = (sys.executable, "-m", "api_min.serve")
    with log_path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, env=environment, pass_fds=[writer], stderr=log)
    os.close(writer)
    try:
        with os.fdopen(reader) as ready:
            facts = json.loads(await asyncio.to_thread(ready.readline))
        scraped = await _use_and_stop(process, facts, secret)
        async with asyncio.timeout(DEADLINE_S):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert 'carillon_http_requests_total{method="GET",route="/campaigns",status="200"} 1.0' in scraped
    written = log_path.read_text()
    assert secret not in written
    assert servers.database_url not in written
    assert [json.loads(line)["event"] for line in written.splitlines()][-1] == "api.stopped"


async def _use_and_stop(process: Process, facts: dict[str, int], secret: str) -> str:
    """The metrics after one request; then SIGTERM, under an open stream."""
    url = f"http://127.0.0.1:{facts['port']}"
    async with aiohttp.ClientSession() as session, asyncio.timeout(DEADLINE_S):
        assert (await Client(session, url, secret)("GET", "/api/campaigns")).status == 200
        async with session.get(f"{url}/api/events?token={secret}") as stream:
            assert stream.status == 200
            async with session.get(f"http://127.0.0.1:{facts['metrics_port']}/metrics") as metrics:
                scraped = await metrics.text()
            async with session.get(f"http://127.0.0.1:{facts['metrics_port']}/healthz") as health:
                assert await health.json() == {"ok": True, "checks": {"listening": True}}
            process.terminate()
            with pytest.raises(aiohttp.ClientPayloadError):  # cut, not left hanging: the client resumes elsewhere
                await stream.content.read()
    return scraped
