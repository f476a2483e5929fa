"""`GET /api/realtime/events` over a real server and a real client."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from engine.rules.events import Owner
from tests.api.conftest import Serve
from tests.api.harness import DEADLINE_S, Api, Client
from tests.feed.conftest import eventually, parse
from tests.realtime.conftest import Tell, told

Frame = tuple[str, int, dict[str, object]]


@asynccontextmanager
async def stream(client: Client, query: str = "", **headers: str) -> AsyncIterator[aiohttp.ClientResponse]:
    timeout = aiohttp.ClientTimeout(total=DEADLINE_S)
    sent = {"Authorization": f"Bearer {client.key}", **headers}
    async with client.session.get(f"{client.url}/api/realtime/events?{query}", headers=sent, timeout=timeout) as answer:
        yield answer


async def read_until(answer: aiohttp.ClientResponse, seq: int) -> list[Frame]:
    data = b""
    while not (found := parse(data)) or found[-1][1] < seq:
        data += await answer.content.readany()
    return found


async def replayed(client: Client, query: str, upto: int) -> list[tuple[str, int]]:
    async with stream(client, f"lastEventId=0&{query}") as answer:
        assert answer.status == 200, await answer.text()
        return [(name, seq) for name, seq, _ in await read_until(answer, upto)]


async def owned(api: Api, client: Client) -> dict[str, Any]:
    """A team with Ann in it, and Bob; a client with Ann's key, and one with the team's."""
    team = (await client("POST", "/api/teams", {"name": "Support"})).json["id"]
    ann = (await client("POST", "/api/users", {"name": "Ann", "teamId": team})).json["id"]
    bob = (await client("POST", "/api/users", {"name": "Bob", "teamId": team})).json["id"]
    keys = [
        (await client("POST", "/api/keys", {"name": "k", "scopes": ["sms:read"], **owner})).json["key"]
        for owner in ({"userId": ann}, {"teamId": team})
    ]
    clients = [Client(client.session, client.url, key, client.account_id) for key in keys]
    return {"team": team, "ann": ann, "bob": bob, "ann_client": clients[0], "team_client": clients[1]}


async def test_replay_then_live_by_topic(api: Api, tell: Tell) -> None:
    client = await api.client()
    await tell(
        client.account_id, told("sms.sent"), told("voice.inbound"), told("campaign.call.busy"), told("sms.received")
    )
    async with stream(client, "topics=voice.incoming.*,%20messaging.**", **{"Last-Event-ID": "1"}) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        found = await read_until(answer, 4)
        assert [(name, seq) for name, seq, _ in found] == [("voice.incoming.start", 2), ("messaging.incoming.sms", 4)]
        await tell(client.account_id, told("voice.answered"), told("sms.opt_out"))
        assert [(name, seq) for name, seq, _ in await read_until(answer, 6)] == [("messaging.update.opt-out", 6)]


async def test_each_key_hears_of_its_own_numbers(api: Api, tell: Tell) -> None:
    client = await api.client()
    made = await owned(api, client)
    await tell(
        client.account_id,
        told("sms.received", Owner("line_1", made["ann"], made["team"])),
        told("sms.received", Owner("line_2", "", made["team"])),
        told("sms.received", Owner("line_3", made["bob"], made["team"])),
        told("sms.received"),
    )
    await tell(client.account_id, told("voice.inbound", Owner("line_1", made["ann"], made["team"])))

    async def heard(one: Client, query: str = "stream=user") -> list[int]:
        return [seq for _, seq in await replayed(one, query, 5)]

    assert await heard(made["ann_client"]) == [1, 2, 5]  # her own, and her team's
    assert await heard(made["team_client"]) == [1, 2, 3, 5]
    assert await heard(client) == await heard(client, "") == await heard(client, "stream=account") == [1, 2, 3, 4, 5]
    for restricted in (made["ann_client"], made["team_client"]):
        async with stream(restricted, "stream=account") as answer:
            error = (await answer.json())["error"]
            assert (answer.status, error["code"], error["fields"]) == (403, "forbidden", {"stream": "account"})


async def test_a_second_account_sees_nothing(api: Api, tell: Tell) -> None:
    owner, stranger = await api.client(), await api.client()
    await tell(owner.account_id, told("sms.received", Owner("line_1", "user_1", "team_1")), told("voice.inbound"))
    await tell(stranger.account_id, told("voice.initiated"))
    for query in ("stream=user", "stream=account", "topics=**"):
        assert await replayed(stranger, query, 1) == [("voice.outgoing.start", 1)]


WRONG = [
    ("topics=voice.incoming.start,voice.bogus.start", 400, "topics", "voice.bogus.start"),
    ("topics=voice.inc*", 400, "topics", "voice.inc*"),
    ("topics=%0d%0aX:1", 400, "topics", "topic"),
    (f"topics={'a.' * 2000}", 400, "topics", "malformed"),
    ("stream=everything", 400, "stream", "everything"),
    ("stream=", 400, "stream", "user or account"),
    ("stream=everything&topics=**", 400, "stream", "everything"),
]


async def test_what_is_wrong_is_named_before_the_stream(api: Api) -> None:
    client = await api.client()
    for query, status, field, word in WRONG:
        async with stream(client, query) as answer:
            error = (await answer.json())["error"]
            assert (answer.status, error["code"]) == (status, "validation_error"), query
            assert word in error["message"]
            assert field in error["fields"]


@pytest.mark.parametrize("key", ["", "tk_test_nobody", "x" * 10_000])
async def test_without_a_working_key_there_is_no_stream(api: Api, key: str) -> None:
    async with api.session.get(f"{api.url}/api/realtime/events?token={key}") as answer:
        assert answer.status == 401
        assert (await answer.json())["error"]["code"] == "unauthorized"


@pytest.mark.parametrize("path", ["/api/realtime/events", "/realtime/events"])
async def test_a_browser_connects_from_another_origin_with_its_key_in_the_query(
    api: Api, tell: Tell, path: str
) -> None:
    client = await api.client()
    await tell(client.account_id, told("sms.sent"))
    asked = {"Origin": "https://example.com", "Access-Control-Request-Method": "GET"}
    async with api.session.options(f"{api.url}{path}", headers=asked) as answer:
        assert answer.status == 204
        assert "Last-Event-ID" in answer.headers["Access-Control-Allow-Headers"]
    async with api.session.get(f"{api.url}{path}?token={client.key}&lastEventId=0") as answer:
        assert [seq for _, seq, _ in await read_until(answer, 1)] == [1]


@pytest.mark.parametrize("requested", ["999", "abc", "-1", "9" * 1000])
async def test_an_id_that_is_none_of_ours_resets(api: Api, tell: Tell, requested: str) -> None:
    client = await api.client()
    await tell(client.account_id, told("sms.sent"))
    async with stream(client, **{"Last-Event-ID": requested}) as answer:
        (frame,) = await read_until(answer, 1)
        assert frame == ("replay.reset", 1, {"requested": requested[:64], "newest": 1})


async def test_a_long_history_is_truncated_by_topic_and_says_so(serve: Serve, tell: Tell) -> None:
    api = await serve(replay_limit=3)
    client = await api.client()
    await tell(client.account_id, *[told("sms.sent" if n % 2 else "voice.amd") for n in range(10)])
    assert await replayed(client, "", 10) == [
        ("replay.truncated", 5),
        *(("messaging.outgoing.sms", n) for n in (6, 8, 10)),
    ]


async def test_a_client_that_goes_is_forgotten(api: Api) -> None:
    client = await api.client()
    subscriptions = api.held.hub._subscriptions
    async with stream(client):
        await eventually(lambda: len(subscriptions) == 1)
    await eventually(lambda: not subscriptions)


async def test_the_key_is_in_no_log_line(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    client = await api.client()
    for query in ("stream=user", "stream=wrong", "topics=wrong"):
        async with api.session.get(f"{api.url}/api/realtime/events?token={client.key}&{query}"):
            await asyncio.sleep(0)
    assert "tk_test" not in caplog.text
