"""`carillon key create` and `carillon campaign import`, as an operator runs them."""

import asyncio
import os
import sys
from pathlib import Path

from engine.clock import Clock
from engine.embedded.servers import Servers
from engine.ids import encode
from tests.api.conftest import Serve
from tests.api.harness import DEADLINE_S, Api, Client


async def carillon(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    command = (sys.executable, "-m", "api_min.cli.main", *arguments)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, env=os.environ | environment, stdout=pipe, stderr=pipe)
    async with asyncio.timeout(DEADLINE_S):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_a_first_key_is_made_without_another(serve: Serve, servers: Servers, database_url: str) -> None:
    api = await serve(Clock())
    environment = servers.environment() | {"DATABASE_URL": database_url}
    code, key, err = await carillon("key", "create", "--name", "crm", "--account", "Acme", "--live", **environment)
    assert (code, key.startswith("tk_live_")) == (0, True), err
    client = Client(api.session, api.url, key.strip())
    assert (await client("GET", "/api/keys")).json["keys"][0]["scopes"] == ["*"]

    account = encode("acct", (await api.held.keys.identify(client.key)).account_id)
    arguments = ("--name", "b", "--account", account, "--scope", "dids:read", "--scope", "voice:read", "--test")
    code, key, err = await carillon("key", "create", *arguments, **environment)
    assert (code, key.startswith("tk_test_")) == (0, True), err
    assert len((await client("GET", "/api/keys")).json["keys"]) == 2

    for wrong in (("--account", "acct_0000000000001"), ("--account", account, "--scope", "root")):
        code, key, err = await carillon("key", "create", "--name", "x", *wrong, **environment)
        assert (code, key) == (1, "")
        assert "Traceback" not in err


async def test_a_file_is_imported_and_reported(api: Api, client: Client, tmp_path: Path) -> None:
    campaign_id = await client.campaign()
    file = tmp_path / "crm.csv"
    file.write_text("name,phone\nAnn,(415) 555-0123\nBob,[red]\n" + "Cy,212-555-0124\n" * 50_000)
    environment = {"CARILLON_URL": api.url, "CARILLON_KEY": client.key}
    code, out, err = await carillon("campaign", "import", str(file), "--campaign", campaign_id, **environment)
    assert code == 0, err
    assert "2 added, 49,999 duplicates, 1 invalid" in out
    assert "[red]" in out

    await client("POST", f"/api/campaigns/{campaign_id}/start")
    code, out, err = await carillon("campaign", "import", str(file), "--campaign", campaign_id, **environment)
    assert (code, "dialing" in err, client.key in out + err) == (1, True, False)
    nowhere = environment | {"CARILLON_URL": "http://127.0.0.1:1"}
    code, out, err = await carillon("campaign", "import", str(file), "--campaign", campaign_id, **nowhere)
    assert (code, "did not answer" in err, "Traceback" in err) == (1, True, False)
