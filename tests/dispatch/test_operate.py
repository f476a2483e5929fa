"""Operations carried out against the real simulated network: once, whoever is killed between any two steps."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.carriers import catalog, reputation
from engine.carriers.http import HttpOptions
from engine.carriers.network import app as network_app
from engine.carriers.network.config import Config
from engine.carriers.port import Carrier, NumberSearch, Offers, Receipt
from engine.clock import Clock
from engine.dispatch.operate import Operating
from engine.jobs import Queue
from engine.rules.operation import GIVE_UP_S, Kind
from engine.settings import Settings
from engine.store import accounts, did_trade, dids, operations
from engine.store.dids import NewDid
from engine.store.operations import Operation

ACCOUNT = 7
NUMBERS = ["+19495550100", "+19495550101", "+19495550102"]


class Killed(BaseException):
    """As if the process had died here."""


class Fragile:
    """A carrier whose worker dies after its n-th sale, with the answer in hand."""

    def __init__(self, carrier: Carrier, sales: int) -> None:
        self._carrier, self._sales = carrier, sales

    async def search_numbers(self, wanted: NumberSearch) -> Offers:
        return await self._carrier.search_numbers(wanted)

    async def buy_number(self, number: str, ref: str) -> Receipt:
        receipt = await self._carrier.buy_number(number, ref)
        self._sales -= 1
        if self._sales == 0:
            raise Killed
        return receipt


@dataclass
class Desk:
    """An Operating over a network of its own."""

    db: AsyncEngine
    clock: Clock
    network: network_app.Running
    carrier: Carrier
    provider: reputation.ReputationProvider
    finished: list[tuple[str, ...]]

    def operating(self, carrier: object | None = None) -> Operating:
        settings = Settings.model_validate({"DATABASE_URL": "postgres://unused", "REDIS_URL": "redis://unused"})
        carriers: dict[str, Any] = {"simulated-command": carrier or self.carrier}
        done = lambda queue, ids: self.finished.append((queue, *ids))  # noqa: E731
        return Operating(self.db, carriers, {"simulated": self.provider}, self.clock, settings, done)

    async def ask(self, kind: Kind, request: dict[str, object], carrier: str = "simulated-command") -> Operation:
        async with self.db.begin() as conn:
            found = await operations.ask(conn, ACCOUNT, kind, carrier, request, self.clock.now(), actor="key_1")
        assert found is not None
        return found

    async def purchase(self, numbers: list[str]) -> Operation:
        async with self.db.begin() as conn:
            ids = await did_trade.reserve(conn, ACCOUNT, numbers, "simulated-command", self.clock.now())
        return await self.ask(Kind.PURCHASE, {"numbers": [[number, ids[number]] for number in numbers]})

    async def find(self, operation: Operation) -> Operation:
        async with self.db.connect() as conn:
            found = await operations.find(conn, ACCOUNT, operation.id)
        assert found is not None
        return found

    async def make_due(self, aged_s: float = 0.0) -> None:
        """As if the lease or the pause were over, and the operation so much older."""
        statement = """update operations set next_try_at = clock_timestamp(),
                              queued_at = queued_at - make_interval(secs => :aged_s) where next_try_at is not null"""
        async with self.db.begin() as conn:
            await conn.execute(text(statement), {"aged_s": aged_s})

    async def states(self) -> dict[str, str]:
        async with self.db.connect() as conn:
            rows = await conn.execute(text("select number, state from dids order by number, id"))
            return {row.number: row.state for row in rows}

    async def told(self) -> list[str]:
        async with self.db.connect() as conn:
            rows = (await conn.execute(text("select string_to_table(body, chr(10)) from outbox order by id"))).scalars()
        return [orjson.loads(line)["type"] for line in rows]

    def sales(self) -> list[str]:
        lines, _ = self.network.exchange.journal.read(0)
        return [
            line["number"]
            for line in lines
            if line["type"] == "number" and line["is_new"] and line["action"] == "bought"
        ]

    async def label(self, number: str, words: str | None) -> None:
        async with (
            aiohttp.ClientSession(self.network.base_url) as session,
            session.post("/control/labels", json={number: words}) as answer,
        ):
            assert answer.status == 200


@pytest.fixture
async def desk(db: AsyncEngine, clock: Clock, tmp_path: Path) -> AsyncIterator[Desk]:
    async with db.begin() as conn:
        await accounts.create(conn, "Acme", clock.now(), account_id=ACCOUNT)
    async with network_app.running(Config(magic=True), tmp_path / "network.jsonl") as network:
        settings = {"account_id": "sim", "secret": "sim-secret", "signing_secret": "sim-signing-secret"}
        settings["base_url"] = network.base_url
        carrier = catalog.build("simulated-command", settings, HttpOptions())
        provider = reputation.build("simulated", settings, HttpOptions())
        yield Desk(db, clock, network, carrier, provider, [])
        await carrier.close()
        await provider.close()


async def test_a_search_answers_what_is_on_offer(desk: Desk) -> None:
    asked = await desk.ask(Kind.SEARCH, {"area_code": "949", "contains": "", "quantity": 2})
    await desk.operating().carry_out(asked.id)
    found = await desk.find(asked)
    assert found.status == "done"
    assert found.result == {
        "available": [
            {"number": number, "areaCode": "949", "city": "Los Angeles", "state": "CA", "cost": 1.15}
            for number in NUMBERS[:2]
        ]
    }


async def test_bought_numbers_warm(desk: Desk) -> None:
    asked = await desk.purchase(NUMBERS)
    await desk.operating().carry_out(asked.id)
    found = await desk.find(asked)
    assert (found.status, found.result) == ("done", dict.fromkeys(NUMBERS, ""))
    assert await desk.states() == dict.fromkeys(NUMBERS, "warming")
    assert (await desk.told()).count("did.purchased") == 3
    assert desk.sales() == NUMBERS


@pytest.mark.parametrize("sales", [1, 2, 3])
async def test_a_worker_that_dies_has_bought_nothing_twice(desk: Desk, sales: int) -> None:
    asked = await desk.purchase(NUMBERS)
    with pytest.raises(Killed):
        await desk.operating(Fragile(desk.carrier, sales)).carry_out(asked.id)
    await desk.operating().carry_out(asked.id)
    assert (await desk.find(asked)).status == "pending"  # the dead worker's lease holds
    await desk.make_due()
    await desk.operating().carry_out(asked.id)
    assert (await desk.find(asked)).status == "done"
    assert sorted(desk.sales()) == NUMBERS
    assert (await desk.told()).count("did.purchased") == 3


@pytest.mark.parametrize("last_two", ["31", "32"])
async def test_a_doubtful_purchase_is_settled_by_the_same_ref(desk: Desk, last_two: str) -> None:
    number = f"+194955501{last_two}"
    asked = await desk.purchase([NUMBERS[0], number])
    await desk.operating().carry_out(asked.id)
    assert await desk.states() == {NUMBERS[0]: "warming", number: "quarantine"}
    assert (await desk.find(asked)).status == "pending"
    await desk.make_due()
    await desk.operating().carry_out(asked.id)
    assert await desk.states() == {NUMBERS[0]: "warming", number: "warming"}
    assert desk.sales() == [NUMBERS[0], number]


async def test_what_the_carrier_does_not_sell_is_let_go(desk: Desk) -> None:
    asked = await desk.purchase([NUMBERS[0], "+19495559999"])
    await desk.operating().carry_out(asked.id)
    found = await desk.find(asked)
    assert found.result == {NUMBERS[0]: "", "+19495559999": "The number is not available"}
    assert await desk.states() == {NUMBERS[0]: "warming", "+19495559999": "released"}


async def test_a_carrier_that_never_answers_is_given_up(desk: Desk) -> None:
    asked = await desk.purchase(["+19495550134"])
    await desk.operating().carry_out(asked.id)
    await desk.make_due(aged_s=GIVE_UP_S[Kind.PURCHASE])
    await desk.operating().carry_out(asked.id)
    found = await desk.find(asked)
    assert found.status == "failed"
    assert found.error is not None
    assert await desk.states() == {"+19495550134": "quarantine"}  # it may be ours: never used, and never forgotten


async def test_a_number_is_given_back(desk: Desk) -> None:
    bought = await desk.purchase(NUMBERS[:1])
    await desk.operating().carry_out(bought.id)
    did_id = bought.request["numbers"][0][1]
    for _ in range(2):
        asked = await desk.ask(Kind.RELEASE, {"number": NUMBERS[0], "did_id": did_id})
        await desk.operating().carry_out(asked.id)
        assert (await desk.find(asked)).result == {"number": NUMBERS[0], "state": "released"}
    assert await desk.states() == {NUMBERS[0]: "released"}
    assert (await desk.told()).count("did.released") == 1


async def checked(desk: Desk, did_id: int) -> Operation:
    asked = await desk.ask(Kind.REPUTATION, {"number": NUMBERS[0], "did_id": did_id}, "simulated")
    await desk.operating().carry_out(asked.id)
    return await desk.find(asked)


async def test_a_label_is_told_once_and_rests_the_number(desk: Desk) -> None:
    async with desk.db.begin() as conn:
        (did,) = await dids.add(conn, ACCOUNT, [NewDid(NUMBERS[0])], desk.clock.now())
    assert (await checked(desk, did.id)).result == {"number": NUMBERS[0], "flagged": False}
    assert await desk.told() == []
    await desk.label(NUMBERS[0], "Scam Likely")
    for _ in range(2):
        await checked(desk, did.id)
    assert await desk.told() == ["reputation.flagged", "did.state_changed"]
    assert await desk.states() == {NUMBERS[0]: "cooling"}
    async with desk.db.begin() as conn:
        rest = await conn.execute(
            text("update dids set state = 'quarantine', state_reason = 'still_labelled' returning flags")
        )
        assert rest.scalar_one() == 1
    await desk.label(NUMBERS[0], None)
    await checked(desk, did.id)
    assert await desk.states() == {NUMBERS[0]: "warming"}
    assert (await desk.told())[2:] == ["reputation.cleared", "did.state_changed"]


async def test_a_message_is_acknowledged_whatever_comes_of_it(desk: Desk) -> None:
    asked = await desk.ask(Kind.SEARCH, {"area_code": "949", "contains": "", "quantity": 1})
    broken = await desk.ask(Kind.SEARCH, {"colour": "red"})
    operating = desk.operating()
    for name, operation_id in (("a", asked.id), ("b", broken.id), ("c", 5)):
        operating.run(name, operation_id)
        await _turn()
    await operating.drain()
    assert sorted(desk.finished) == [(Queue.SETTLE, "a"), (Queue.SETTLE, "b"), (Queue.SETTLE, "c")]
    assert (await desk.find(asked)).status == "done"
    assert (await desk.find(broken)).status == "pending"


async def _turn() -> None:
    """Lets the loop run what another thread has asked for."""

    await asyncio.sleep(0)
