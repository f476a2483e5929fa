"""One-off calls and the account's own numbers."""

from datetime import UTC, datetime

import pytest

from api_min.wake import LIST
from engine.clock import starting_at
from engine.store import accounts
from tests.api.conftest import Serve
from tests.api.harness import Api

DID, TEXTS_ONLY = "+19495551000", "+17145551000"
CALLEE = "+14155550123"
NIGHT_IN_LOS_ANGELES = datetime(2026, 3, 11, 5, 0, tzinfo=UTC)  # 22:00 the day before


async def test_a_call_is_queued_and_read_back(api: Api) -> None:
    client = await api.client(numbers=[DID])
    made = await client("POST", "/api/voice", {"from": DID, "to": CALLEE, "maxDuration": 60, "metadata": {"crm": 7}})
    assert (made.status, made.json["status"]) == (201, "queued")
    assert made.json["id"].startswith("call_")
    read = await client("GET", f"/api/voice/{made.json['id']}")
    assert {name: read.json[name] for name in made.json} == made.json
    assert (read.json["metadata"], read.json["maxDuration"]) == ({"crm": 7}, 60)
    assert await api.runtime.redis.llen(LIST) == 1
    assert (await client("GET", "/api/campaigns")).json == {"campaigns": []}  # what holds it stays hidden


async def test_an_ai_call_needs_the_accounts_agent(api: Api) -> None:
    client = await api.client(numbers=[DID])
    body = {"from": DID, "to": CALLEE, "systemPrompt": "You are brief.", "temperature": 0.3, "firstSpeaker": "agent"}
    refused = await client("POST", "/api/voice", body)
    assert (refused.status, list(refused.error["fields"])) == (400, ["systemPrompt"])
    async with api.runtime.db.begin() as conn:
        await accounts.set_agent(conn, client.account_id, {"kind": "ws_media", "url": "ws://127.0.0.1:1/agent"})
    assert (await client("POST", "/api/voice", body)).status == 201


async def test_outside_legal_hours_the_next_opening_is_named(serve: Serve) -> None:
    api = await serve(starting_at(NIGHT_IN_LOS_ANGELES, speed=1.0))
    client = await api.client(numbers=[DID])
    refused = await client("POST", "/api/voice", {"from": DID, "to": CALLEE})
    assert (refused.status, refused.error["code"]) == (400, "validation_error")
    assert (
        refused.error["fields"]["next_open_at"] == "2026-03-11T16:00:00.000Z"
    )  # 9:00: California has hours of its own
    assert await api.runtime.redis.llen(LIST) == 0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"from": DID}, "to"),
        ({"to": CALLEE}, "from"),
        ({"from": DID, "to": "4155550123"}, "to"),
        ({"from": "x", "to": CALLEE}, "from"),
        ({"from": "+12125550199", "to": CALLEE}, "from"),  # nobody's
        ({"from": TEXTS_ONLY, "to": CALLEE}, "from"),
        ({"from": DID, "to": "+442079460018"}, "to"),  # no zone data: unknown is never allowed
        ({"from": DID, "to": CALLEE, "temperature": 3}, "temperature"),
        ({"from": DID, "to": CALLEE, "tools": "all"}, "tools"),
        ({"from": DID, "to": CALLEE, "maxDuration": 1}, "maxDuration"),
    ],
)
async def test_a_wrong_call_is_refused(api: Api, body: dict[str, object], field: str) -> None:
    client = await api.client(numbers=[DID])
    await client("POST", "/api/dids", {"number": TEXTS_ONLY, "capabilities": ["sms"]})
    answer = await client("POST", "/api/voice", body)
    assert answer.status == 400, answer.text
    assert field in answer.error["fields"]


async def test_numbers_are_registered_once(api: Api) -> None:
    client, other = await api.client(), await api.client()
    made = await client("POST", "/api/dids", {"number": DID, "capabilities": ["voice"], "label": "front desk"})
    assert made.status == 201
    shown = {"number": DID, "capabilities": ["voice"], "state": "active", "label": "front desk"}
    assert {name: made.json[name] for name in shown} == shown
    assert (await client("GET", "/dids")).json == {"dids": [made.json]}
    for owner in (client, other):
        taken = await owner("POST", "/api/dids", {"number": DID})
        assert (taken.status, taken.error["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"number": "949"},
        {"number": 5},
        {"number": DID, "capabilities": ["fax"]},
        {"number": DID, "capabilities": []},
    ],
)
async def test_a_wrong_number_is_refused(api: Api, body: object) -> None:
    answer = await (await api.client())("POST", "/api/dids", body)
    assert (answer.status, answer.error["code"]) == (400, "validation_error")
