"""An api as it is served, in the test's own loop, and clients of its tenants."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from api_min.deps import Deps
from api_min.serve import Server, assembled
from engine.runtime import Runtime, running
from engine.settings import Settings
from engine.store import accounts, dids, keys
from engine.store.dids import NewDid

DEADLINE_S = 60  # far beyond any answer: only a hang reaches it, not a busy machine


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str
    json: Any

    @property
    def error(self) -> dict[str, Any]:
        """The error body, whose form is checked here, in every test that looks at one."""
        assert set(self.json) == {"error"}
        assert set(self.json["error"]) == {"code", "message", "fields"}
        assert "Traceback" not in self.text
        error: dict[str, Any] = self.json["error"]
        return error


@dataclass(slots=True)
class Client:
    """One account's client. `headers` override: a value of None leaves the header out."""

    session: aiohttp.ClientSession
    url: str
    key: str
    account_id: int = 0

    async def __call__(
        self,
        method: str,
        path: str,
        json: object = None,
        *,
        headers: Mapping[str, str | None] | None = None,
        **more: Any,
    ) -> Answer:
        sent: dict[str, str | None] = {"Authorization": f"Bearer {self.key}", **(headers or {})}
        if json is not None:
            more["json"] = json
        kept = {name: value for name, value in sent.items() if value is not None}
        async with asyncio.timeout(DEADLINE_S):
            async with self.session.request(method, f"{self.url}{path}", headers=kept, **more) as response:
                text = await response.text()
                is_json = response.content_type == "application/json" and text
                return Answer(response.status, response.headers, text, await response.json() if is_json else None)

    async def campaign(self, **body: object) -> str:
        """A new campaign's id."""
        answer = await self("POST", "/api/campaigns", {"name": "Spring", **body})
        assert answer.status == 201, answer.text
        return str(answer.json["id"])


@dataclass(slots=True)
class Api:
    """A serving api. `client` makes a client with a key of its own, in a new account unless one is given."""

    runtime: Runtime
    held: Deps
    url: str
    session: aiohttp.ClientSession
    server: Server

    async def client(
        self,
        scopes: Sequence[str] = ("*",),
        *,
        account_id: int | None = None,
        is_live: bool = False,
        rate_limit: int = 600_000,
        numbers: Sequence[str] = (),
    ) -> Client:
        now = self.runtime.clock.now()
        async with self.runtime.db.begin() as conn:
            if account_id is None:
                account_id = (await accounts.create(conn, "tenant", now)).id
            _, secret = await keys.create_key(conn, account_id, "test", scopes, rate_limit, None, is_live)
            await dids.add(conn, account_id, [NewDid(number) for number in numbers], now)
        return Client(self.session, self.url, secret, account_id)

    async def key_id(self, client: Client) -> int:
        return (await self.held.keys.identify(client.key)).key_id


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Api]:
    """The api of `api_min.serve` on a free port, without its process."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        async with running(settings) as runtime, assembled(runtime) as held, aiohttp.ClientSession() as session:
            server = Server(held)
            task = asyncio.create_task(server.serve([listener]))
            yield Api(runtime, held, f"http://127.0.0.1:{port}", session, server)
            await session.close()  # keep-alive connections would hold up the end
            server.should_exit = True
            await task
