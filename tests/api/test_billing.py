"""Usage over HTTP."""

from datetime import date

import pytest

from engine.rules.usage import Use
from engine.store import usage
from tests.api.harness import Api, Client


@pytest.fixture
async def used(api: Api, client: Client) -> Client:
    async with api.runtime.db.begin() as conn:
        for day, meter, quantity in (
            (date(2026, 2, 28), "sms.send", 100),
            (date(2026, 3, 1), "sms.send", 10),
            (date(2026, 3, 11), "sms.send", 1),
            (date(2026, 3, 11), "voice.outbound", 61),
        ):
            await usage.add(conn, {Use(client.account_id, day, meter): quantity}, 1)
    return client


async def read(client: Client, query: str = "") -> dict[str, int]:
    answer = await client("GET", f"/api/billing/usage{query}")
    assert answer.status == 200, answer.text
    return {row["meter"]: row["total"] for row in answer.json["usage"] if row["total"]}


async def test_this_month_is_shown_by_itself(used: Client) -> None:
    answer = (await used("GET", "/api/billing/usage")).json
    assert (answer["from"], answer["to"]) == ("2026-03-01", "2026-03-11")
    assert answer["usage"] == [
        {"meter": "sms.send", "displayName": "SMS segments sent", "total": 11},
        {"meter": "sms.receive", "displayName": "SMS segments received", "total": 0},
        {"meter": "voice.outbound", "displayName": "Outbound voice seconds", "total": 61},
        {"meter": "voice.inbound", "displayName": "Inbound voice seconds", "total": 0},
        {"meter": "voice.ai", "displayName": "AI voice seconds", "total": 0},
        {"meter": "did.monthly", "displayName": "Numbers, by calendar month", "total": 0},
    ]
    assert (await used("GET", "/billing/usage")).json == answer  # the bare alias


@pytest.mark.parametrize(
    ("query", "sent"),
    [
        ("?from=2026-02-28", 111),
        ("?from=2026-02-28&to=2026-02-28", 100),
        ("?to=2026-03-10", 10),
        ("?from=2026-03-01T00:00:00Z&to=2026-03-11T23:59:59Z", 11),
        ("?from=2020-01-01&to=2020-01-02", 0),
    ],
)
async def test_both_days_are_included(used: Client, query: str, sent: int) -> None:
    assert (await read(used, query)).get("sms.send", 0) == sent


@pytest.mark.parametrize(
    ("query", "field"),
    [("?from=march", "from"), ("?to=2026-13-01", "to"), ("?from=2026-03-12", "from"), ("?from=2020-01-01", "from")],
)
async def test_what_is_no_span_of_days_is_refused(used: Client, query: str, field: str) -> None:
    refused = await used("GET", f"/api/billing/usage{query}")
    assert (refused.status, list(refused.error["fields"])) == (400, [field])


async def test_any_key_of_the_account_may_read_it_and_no_other(used: Client, api: Api) -> None:
    narrow = await api.client(["sms:read"], account_id=used.account_id)
    assert await read(narrow) == {"sms.send": 11, "voice.outbound": 61}
    assert await read(await api.client()) == {}
