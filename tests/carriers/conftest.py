"""A stage for one carrier: the real simulated network on a free port, and a receiver that plays the engine's api."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from engine.carriers import catalog
from engine.carriers.http import HttpOptions
from engine.carriers.network import app as network_app
from engine.carriers.network.config import Config
from engine.carriers.port import (
    CallbackRequest,
    CallRef,
    Carrier,
    CarrierEvent,
    Command,
    EventKind,
    Inbound,
    PlaceCall,
    Receipt,
    SendMessage,
    Shape,
    Ticket,
)
from engine.clock import boottime

SETTINGS = {"account_id": "sim", "secret": "sim-secret", "signing_secret": "sim-signing-secret"}
SENDER = "+12125550100"
DEADLINE_S = 10.0

_refs = itertools.count(1)


@pytest.fixture
def early_timers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every wait is over 20 ms too soon. Timers of uvloop count whole milliseconds, and may be so by one."""
    sleep = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda seconds, result=None: sleep(max(0.0, seconds - 0.02), result))


def fresh_ticket(seconds: float = 2.0, slot_in_s: float | None = None) -> Ticket:
    now = boottime()
    if slot_in_s is None:
        return Ticket(now + seconds)
    return Ticket(now + seconds, now + slot_in_s, now + slot_in_s + 0.015)


def number(last_two: str) -> str:
    """A fictional number whose last two digits choose the outcome (`magic`)."""
    return f"+141555501{last_two}"


Plan = Callable[[CarrierEvent | Inbound], Command | None]


@dataclass
class Stage:
    """`plan` is the engine's decision per event: posted as a command, or rendered into the callback's answer."""

    carrier: Carrier
    network: network_app.Running
    plan: Plan = lambda _event: None
    callback_url: str = ""
    events: list[CarrierEvent] = field(default_factory=list)
    inbound: list[Inbound] = field(default_factory=list)
    requests: list[CallbackRequest] = field(default_factory=list)
    answer_status: int = 200
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def call(self, last_two: str = "00", **changes: Any) -> PlaceCall:
        defaults: dict[str, Any] = {
            "ref": f"att-{next(_refs)}",
            "to": number(last_two),
            "from_": SENDER,
            "ring_timeout_s": 25,
            "max_duration_s": 600,
            "amd": True,
            "callback_url": self.callback_url,
        }
        return PlaceCall(**{**defaults, **changes})

    def message(self, last_two: str = "20") -> SendMessage:
        return SendMessage(f"att-{next(_refs)}", number(last_two), SENDER, "Grüße & hello", self.callback_url)

    async def create(self, request: PlaceCall | SendMessage) -> Receipt:
        if isinstance(request, PlaceCall):
            return await self.carrier.place_call(request, fresh_ticket())
        return await self.carrier.send_message(request, fresh_ticket())

    async def comes_in(self, **changes: object) -> str:
        """A person texts (or, with `channel`, calls) us: the control API is told; answers the carrier's id."""
        body = {
            "shape": self.carrier.name.removeprefix("simulated-"),
            "url": self.callback_url,
            "from": number("77"),
            "to": SENDER,
        }
        async with (
            aiohttp.ClientSession(self.network.base_url) as session,
            session.post("/control/inbound", json=body | changes) as answer,
        ):
            assert answer.status == 200, await answer.text()
            return str((await answer.json())["id"])

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S), self.changed:
            await self.changed.wait_for(is_so)

    async def until_ended(self, ref: str) -> list[CarrierEvent]:
        """The history of one call, in the order in which it happened."""
        await self.until(lambda: any(e.kind is EventKind.CALL_ENDED for e in self.of(ref)))
        return self.of(ref)

    def of(self, ref: str) -> list[CarrierEvent]:
        return sorted((e for e in self.events if e.ref == ref), key=lambda e: e.occurred_at)

    def log(self, kind: str) -> list[Any]:
        lines, _ = self.network.exchange.journal.read(0)
        return [line for line in lines if line["type"] == kind]

    async def until_logged(self, kind: str, count: int = 1) -> list[Any]:
        """Asks the network's control API until its log holds that many lines of a kind."""
        found: list[Any] = []
        since = 0
        async with asyncio.timeout(DEADLINE_S), aiohttp.ClientSession(self.network.base_url) as session:
            while len(found) < count:
                async with session.get("/control/log", params={"since": since}) as answer:
                    page = await answer.json()
                found += [line for line in page["lines"] if line["type"] == kind]
                since = page["next"]
        return found

    async def receive(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        url = f"http://{request.host}{request.raw_path}"  # as signed; request.url would rewrite escapes
        callback = CallbackRequest(request.method, url, headers, await request.read())
        async with self.changed:
            self.requests.append(callback)
            self.changed.notify_all()
        if self.answer_status != 200:
            return web.Response(status=self.answer_status)
        (event,) = self.carrier.read(callback, time.time())
        plan = self.plan(event)
        if plan is not None and self.carrier.caps.shape is Shape.COMMAND and isinstance(event, CarrierEvent):
            await self.carrier.command(CallRef(event.ref, event.carrier_id), plan)
        async with self.changed:
            if isinstance(event, CarrierEvent):
                self.events.append(event)
            else:
                self.inbound.append(event)
            self.changed.notify_all()
        reply = self.carrier.reply(callback, plan)
        return web.Response(status=reply.status, body=reply.body, headers={"Content-Type": reply.content_type})


def stage_config(**changes: Any) -> Config:
    """Magic numbers, and a call of a minute in well under a second; but people wait for a second until the engine does
    something, however busy the machine is."""
    fast = {
        "setup_s": (0.2, 0.4),
        "ring_s": (1, 2),
        "talk_s": (15, 20),
        "machine_greeting_s": (4, 5),
        "sms_delivery_s": (1, 2),
        "record_s": (60, 60),
        "patience_s": (50, 60),
        "screening_s": (50, 60),
    }
    defaults: dict[str, Any] = {
        "magic": True,
        "speed": 50,
        "latency": fast,
        "callback_retries_s": (0.05, 0.05, 0.05, 0.1, 0.1),
        "agent_timeout_s": 1.0,
    }
    return Config.model_validate({**defaults, **changes})


@asynccontextmanager
async def serve(routes: list[web.RouteDef]) -> AsyncIterator[str]:
    """A loopback HTTP server; yields its base URL."""
    served = web.Application()
    served.add_routes(routes)
    runner = web.AppRunner(served, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def open_stage(
    carrier_name: str, log_path: Path, config: Config, options: HttpOptions | None = None
) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(network_app.running(config, log_path))
        settings = {**SETTINGS, "base_url": network.base_url}
        carrier = catalog.build(carrier_name, settings, options or HttpOptions())
        stack.push_async_callback(carrier.close)
        stage = Stage(carrier, network)
        base_url = await stack.enter_async_context(serve([web.post("/callbacks/sim", stage.receive)]))
        stage.callback_url = f"{base_url}/callbacks/sim"
        yield stage


@pytest.fixture(params=["simulated-command", "simulated-document"])
def carrier_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def stage(carrier_name: str, tmp_path: Path) -> AsyncIterator[Stage]:
    async with open_stage(carrier_name, tmp_path / "network.jsonl", stage_config()) as opened:
        yield opened
