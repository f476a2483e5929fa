"""The DID pool over HTTP: a real worker's half behind it, and the simulated network behind that."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlalchemy import text

from engine.carriers.network import app as network_app
from engine.carriers.network.config import Account, Config
from engine.dispatch.operate import Operating
from engine.jobs import Queue
from engine.rules.did_health import Kind, encode
from engine.store import did_health, operations
from tests.api.conftest import Serve
from tests.api.harness import Api, Client

NUMBERS = ["+19495550100", "+19495550101"]
SECRET = "simulated-secret"


class ByName(dict[str, Any]):
    def __init__(self, build: Any) -> None:
        super().__init__()
        self._build = build

    def __missing__(self, name: str) -> Any:
        return self._build(name)


@asynccontextmanager
async def working(api: Api) -> AsyncIterator[None]:
    """Carries out what is due, as a worker does; its hints are left in the queue."""
    runtime = api.runtime

    def finished(_queue: Queue, _ids: Sequence[str]) -> None:
        """Nothing to acknowledge: nothing came by the queue."""

    operating = Operating(
        runtime.db,
        ByName(runtime.carrier),
        ByName(runtime.reputation_provider),
        runtime.clock,
        runtime.settings,
        finished,
    )

    stopping = asyncio.Event()

    async def work() -> None:
        while not stopping.is_set():
            async with runtime.reader.connect() as conn:
                due = await operations.due(conn)
            for operation_id in due:
                await operating.carry_out(operation_id)
            await asyncio.sleep(0.01)

    task = asyncio.create_task(work())
    try:
        yield
    finally:
        stopping.set()  # and no cancellation: a connection about to be taken from the pool would be lost
        await task


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[network_app.Running]:
    config = Config(magic=True, accounts=(Account(secret=SECRET, signing_secret=SECRET),))
    async with network_app.running(config, tmp_path / "network.jsonl") as running:
        yield running


@pytest.fixture
async def api(serve: Serve, network: network_app.Running) -> AsyncIterator[Api]:
    api = await serve(simulated_url=network.base_url, ticket_s=0.1)
    async with working(api):
        yield api


async def test_numbers_are_searched_bought_and_given_back(api: Api) -> None:
    client = await api.client()
    found = await client("GET", "/api/dids/search?areaCode=949&quantity=2&contains=555")
    assert found.status == 200, found.text
    assert [each["number"] for each in found.json["available"]] == NUMBERS
    assert set(found.json["available"][0]) == {"number", "areaCode", "city", "state", "cost"}

    bought = await client("POST", "/dids/purchase", {"numbers": NUMBERS})
    assert bought.status == 201, bought.text
    assert [(did["number"], did["state"]) for did in bought.json["purchased"]] == [(n, "warming") for n in NUMBERS]
    assert bought.json["failed"] == []
    assert {did["number"] for did in (await client("GET", "/api/dids")).json["dids"]} == set(NUMBERS)

    gone = await client("DELETE", f"/api/dids/{NUMBERS[0]}")
    assert (gone.status, gone.json) == (200, {"number": NUMBERS[0], "state": "released"})
    assert (await client("DELETE", f"/api/dids/{NUMBERS[0]}")).status == 404
    assert [did["number"] for did in (await client("GET", "/api/dids")).json["dids"]] == NUMBERS[1:]
    again = await client("GET", "/api/dids/search?areaCode=949&quantity=1")
    assert again.json["available"][0]["number"] == NUMBERS[0]


async def test_what_is_not_sold_is_named(api: Api) -> None:
    client = await api.client()
    some = await client("POST", "/api/dids/purchase", {"numbers": [NUMBERS[0], "+19495559999"]})
    assert (some.status, [did["number"] for did in some.json["purchased"]]) == (201, NUMBERS[:1])
    assert some.json["failed"] == [{"number": "+19495559999", "reason": "The number is not available"}]
    none = await client("POST", "/api/dids/purchase", {"numbers": ["+19495559999"]})
    assert (none.status, set(none.error["fields"])) == (409, {"+19495559999"})
    mine = await client("POST", "/api/dids/purchase", {"numbers": NUMBERS})
    assert (mine.status, set(mine.error["fields"])) == (409, {NUMBERS[0]})


async def test_a_repeated_purchase_buys_once(api: Api, network: network_app.Running) -> None:
    client = await api.client()
    headers = {"Idempotency-Key": "spring-1"}
    answers = [await client("POST", "/api/dids/purchase", {"numbers": NUMBERS}, headers=headers) for _ in range(2)]
    assert [answer.status for answer in answers] == [201, 201]
    assert answers[0].json == answers[1].json
    lines, _ = network.exchange.journal.read(0)
    assert [line["number"] for line in lines if line["type"] == "number"] == NUMBERS


async def test_what_takes_longer_is_answered_by_its_url(serve: Serve, network: network_app.Running) -> None:
    api = await serve(simulated_url=network.base_url, operation_wait_s=0.01, ticket_s=0.1)
    client = await api.client()
    asked = await client("POST", "/api/dids/purchase", {"numbers": NUMBERS[:1]})
    assert asked.status == 202
    assert asked.headers["Location"] == asked.json["url"] == f"/api/operations/{asked.json['id']}"
    assert (asked.json["kind"], asked.json["status"]) == ("did.purchase", "pending")
    busy = await client("DELETE", f"/api/dids/{NUMBERS[0]}")
    assert busy.status == 409
    async with working(api):
        done = await until_over(client, asked.json["url"])
        assert (done["status"], done["result"]) == ("done", {"purchased": NUMBERS[:1], "failed": []})
        first = await client("DELETE", f"/api/dids/{NUMBERS[0]}")
        assert first.status == 202
        second = await client("DELETE", f"/api/dids/{NUMBERS[0]}")
        assert second.status in (202, 404)
        assert second.status == 404 or second.json["id"] == first.json["id"]  # asked for once
        released = await until_over(client, first.json["url"])
        assert released["result"] == {"number": NUMBERS[0], "state": "released"}
    assert (await client("GET", "/api/dids")).json == {"dids": []}


async def until_over(client: Client, url: str) -> Any:
    async with asyncio.timeout(60):
        while True:
            answer = await client("GET", url)
            if answer.json["status"] != "pending":
                return answer.json
            await asyncio.sleep(0.01)


async def test_a_number_registered_by_hand_is_forgotten_at_once(api: Api) -> None:
    client = await api.client(numbers=NUMBERS[:1])
    gone = await client("DELETE", f"/api/dids/{NUMBERS[0]}")
    assert (gone.status, gone.json["state"]) == (200, "released")
    assert (await client("POST", "/api/dids", {"number": NUMBERS[0]})).status == 201
    async with api.runtime.db.connect() as conn:
        rows = (await conn.execute(text("select action from audit order by id"))).scalars().all()
    assert [each for each in rows if each.startswith("did.")] == ["did.state_change", "did.release", "did.add"]


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("GET", "/api/dids/search?areaCode=12", None, "areaCode"),
        ("GET", "/api/dids/search?quantity=0", None, "quantity"),
        ("GET", "/api/dids/search?quantity=101", None, "quantity"),
        ("GET", "/api/dids/search?contains=5x5", None, "contains"),
        ("POST", "/api/dids/purchase", {"numbers": []}, "numbers"),
        ("POST", "/api/dids/purchase", {"numbers": ["949"]}, "numbers[0]"),
        ("POST", "/api/dids/purchase", {"numbers": [NUMBERS[0]] * 2}, "numbers[1]"),
        ("POST", "/api/dids/purchase", {"numbers": NUMBERS, "now": True}, "now"),
    ],
)
async def test_bad_input_is_named(serve: Serve, method: str, path: str, body: object, field: str) -> None:
    answer = await (await (await serve()).client())(method, path, body)
    assert (answer.status, answer.error["code"]) == (400, "validation_error")
    assert field in answer.error["fields"]


async def test_a_carrier_that_sells_none_is_named(serve: Serve) -> None:
    client = await (await serve(test_carrier="instant")).client()
    answer = await client("POST", "/api/dids/purchase", {"numbers": NUMBERS})
    assert answer.status == 400
    assert "instant sells no numbers" in answer.error["message"]


async def test_health_shows_the_factors_the_caps_and_what_is_used(api: Api) -> None:
    client = await api.client(numbers=NUMBERS[:1])
    fresh = (await client("GET", f"/api/dids/{NUMBERS[0]}/health")).json
    assert (fresh["score"], fresh["factors"], fresh["band"], fresh["calls"]) == (None, None, "healthy", 0)
    assert fresh["caps"] == {"perHour": 10, "perDay": 75, "gapS": 60}
    async with api.runtime.db.begin() as conn:
        (did_id,) = (await conn.execute(text("select id from dids"))).scalars().all()
        codes = [encode(Kind.PERSON, 60)] * 5 + [encode(Kind.NO_ANSWER, 0)] * 5 + [encode(Kind.DELIVERED, 0)] * 2
        await did_health.append(conn, [did_id] * len(codes), codes, api.runtime.clock.now())
        await did_health.fold(conn)
    shown = (await client("GET", f"/dids/{NUMBERS[0]}/health")).json
    factors = {"answerRate": 1, "averageDuration": 1, "humanEngagement": 1, "noAnswerTrend": 0, "spamClean": 1}
    assert (shown["factors"], shown["score"], shown["calls"]) == (factors, 0.85, 10)
    assert shown["texts"] == {"sent": 2, "delivered": 2, "filtered": 0, "optedOut": 0, "unknown": 0}
    assert (shown["state"], shown["reason"], shown["used"], shown["flags"]) == ("active", "", {"hour": 0, "day": 0}, 0)
    assert (await client("GET", "/api/dids/+12125550100/health")).status == 404


async def test_reputation_is_looked_up_once_and_then_read(api: Api, network: network_app.Running) -> None:
    client = await api.client(numbers=NUMBERS)
    async with (
        aiohttp.ClientSession(network.base_url) as session,
        session.post("/control/labels", json={NUMBERS[0]: "Scam Likely"}) as answer,
    ):
        assert answer.status == 200
    flagged = await client("GET", f"/api/reputation/{NUMBERS[0]}")
    assert flagged.status == 200, flagged.text
    assert (flagged.json["number"], flagged.json["flagged"]) == (NUMBERS[0], True)
    assert flagged.json["overallScore"] < 0.1
    verdict = {"flagged": True, "details": "Scam Likely", "checkedAt": flagged.json["checkedAt"]}
    assert len(flagged.json["providers"]) == 3
    for each in flagged.json["providers"]:
        assert set(each) == {"name", "flagged", "spamScore", "complaints", "details", "checkedAt"}
        assert {name: each[name] for name in ("flagged", "details")} == {
            name: verdict[name] for name in ("flagged", "details")
        }
    assert (await client("GET", f"/reputation/{NUMBERS[0]}")).json == flagged.json
    assert (await client("GET", "/api/reputation")).json == {"reputations": [flagged.json]}
    clean = await client("GET", f"/api/reputation/{NUMBERS[1]}")
    assert (clean.json["flagged"], clean.json["overallScore"] > 0.7) == (False, True)
    page = await client("GET", "/api/reputation?limit=1")
    assert len(page.json["reputations"]) == 1
    health = (await client("GET", f"/api/dids/{NUMBERS[0]}/health")).json
    assert (health["state"], health["reason"], health["flags"]) == ("cooling", "label", 1)


async def test_without_a_provider_nobody_is_asked(serve: Serve) -> None:
    client = await (await serve(reputation_provider="")).client(numbers=NUMBERS[:1])
    answer = await client("GET", f"/api/reputation/{NUMBERS[0]}")
    assert (answer.status, answer.error["code"]) == (404, "not_found")
    assert "no provider" in answer.error["message"]


async def test_a_carrier_that_is_away_is_503(serve: Serve) -> None:
    api = await serve(simulated_url="http://127.0.0.1:9", operation_wait_s=60.0)
    client = await api.client()

    async def age() -> None:
        """The operation is as old as it takes to be given up."""
        while True:
            async with api.runtime.db.begin() as conn:
                await conn.execute(text("update operations set queued_at = queued_at - interval '1 hour'"))
            await asyncio.sleep(0.01)

    ageing = asyncio.create_task(age())
    async with working(api):
        answer = await client("GET", "/api/dids/search")
    ageing.cancel()
    await asyncio.gather(ageing, return_exceptions=True)
    assert (answer.status, answer.error["code"]) == (503, "unavailable")
    assert answer.error["fields"]["operation"].startswith("op_")
