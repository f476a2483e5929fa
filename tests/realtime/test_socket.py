"""The Teletracker WebSocket over a real server and a real client."""

import asyncio
import json
from random import Random

import aiohttp
import pytest

from api_min.realtime_socket import MAX_MESSAGE_BYTES, MOST_FAULTS
from engine.rules.events import Owner
from tests.api.conftest import Serve
from tests.api.harness import DEADLINE_S, Api, Client
from tests.realtime.conftest import Tell, told
from tests.realtime.talk import talking

ANN, BOB = Owner("line_1", "user_1", "team_1"), Owner("line_2", "user_2", "team_1")


@pytest.mark.parametrize("path", ["/api/realtime", "/realtime", "/"])
async def test_a_client_authenticates_starts_hears_and_stops(api: Api, tell: Tell, path: str) -> None:
    client = await api.client()
    async with talking(client, path) as talk:
        assert await talk.say("startusereventrequest") == {"type": "startusereventresponse", "success": True}
        await tell(client.account_id, told("voice.initiated", ANN, to="+14155550123"))
        assert await talk.hear() == {
            "type": "userevent",
            "id": 1,
            "category": "voice",
            "subCategory": "outgoing",
            "eventName": "start",
            "eventTimestamp": "2026-03-11T18:00:00.123Z",
            "trackingId": "call-1",
            "uniqueId": "leg-1",
            "lineId": "line_1",
            "userId": "user_1",
            "teamId": "team_1",
            "data": {"to": "+14155550123"},
        }
        assert await talk.say("stopusereventrequest") == {"type": "stopusereventresponse", "success": True}
        await tell(client.account_id, told("voice.answered"))
        restarted = await talk.say("startusereventrequest", lastEventId=1)
        assert restarted["success"]
        assert (await talk.hear())["eventName"] == "answer"  # once, though it happened while the stream was off
        assert (await talk.say("stopusereventrequest"))["type"] == "stopusereventresponse"


async def test_both_streams_may_be_on_and_each_has_its_own_topics_and_history(api: Api, tell: Tell) -> None:
    client = await api.client()
    await tell(client.account_id, told("voice.initiated"), told("sms.sent"), told("voice.answered"))
    async with talking(client) as talk:
        assert (await talk.say("startaccounteventrequest", topics=["messaging.**"], lastEventId="0"))["success"]
        assert [(await talk.hear())[key] for key in ("type",)] == ["accountevent"]
        assert (await talk.say("startusereventrequest", topics="voice.*.start, voice.*.end", lastEventId=0))["success"]
        assert (await talk.hear())["id"] == 1
        await tell(client.account_id, told("sms.received"), told("voice.completed"))
        heard = sorted([(event["type"], event["id"]) for event in [await talk.hear(), await talk.hear()]])
        assert heard == [("accountevent", 4), ("userevent", 5)]
        assert (await talk.say("stopaccounteventrequest"))["type"] == "stopaccounteventresponse"
        await tell(client.account_id, told("sms.sent"), told("voice.initiated"))
        assert (await talk.hear())["id"] == 7


async def test_a_key_of_a_user_hears_of_their_numbers_only_and_not_of_the_account(api: Api, tell: Tell) -> None:
    client = await api.client()
    user = (await client("POST", "/api/users", {"name": "Ann"})).json["id"]
    key = (await client("POST", "/api/keys", {"name": "k", "scopes": ["sms:read"], "userId": user})).json["key"]
    async with talking(Client(client.session, client.url, key)) as talk:
        refused = await talk.say("startaccounteventrequest")
        assert (refused["type"], refused["success"], refused["code"]) == (
            "startaccounteventresponse",
            False,
            "forbidden",
        )
        assert "without user and team" in refused["reason"]
        assert (await talk.say("startusereventrequest"))["success"]
        await tell(client.account_id, told("sms.sent"), told("sms.sent", ANN), told("sms.sent", Owner("line_9", user)))
        assert (await talk.hear())["id"] == 3


async def test_a_second_account_hears_nothing(api: Api, tell: Tell) -> None:
    owner, stranger = await api.client(), await api.client()
    await tell(owner.account_id, told("sms.received"), told("voice.inbound", ANN))
    async with talking(stranger) as talk:
        for kind in ("user", "account"):
            assert (await talk.say(f"start{kind}eventrequest", lastEventId=0))["success"]
        await tell(owner.account_id, told("voice.inbound"))
        await tell(stranger.account_id, told("voice.inbound", BOB, mine=True))
        assert [(await talk.hear())["data"] for _ in range(2)] == [{"mine": True}] * 2


async def test_gaps_are_told(serve: Serve, tell: Tell) -> None:
    api = await serve(replay_limit=2)
    client = await api.client()
    await tell(client.account_id, *[told("sms.sent") for _ in range(4)])
    async with talking(client) as talk:
        assert (await talk.say("startusereventrequest", lastEventId=0))["success"]
        heard = [await talk.hear() for _ in range(3)]
        assert [(event["eventName"], event["id"]) for event in heard] == [("truncated", 2), ("sms", 3), ("sms", 4)]
        assert (await talk.say("startaccounteventrequest", lastEventId="nonsense"))["success"]
        assert (await talk.hear())["eventName"] == "reset"


WRONG = [
    ("", "errorresponse", "validation_error", "not JSON"),
    ("{", "errorresponse", "validation_error", "not JSON"),
    ("[]", "errorresponse", "validation_error", "object with a type"),
    ("null", "errorresponse", "validation_error", "object with a type"),
    ('{"type": 7}', "errorresponse", "validation_error", "object with a type"),
    ('{"type": "jumprequest"}', "errorresponse", "validation_error", "unknown type 'jumprequest'"),
    (f'{{"type": "{"x" * 1000}"}}', "errorresponse", "validation_error", f"'{'x' * 64}'"),
    ("[" * 60_000, "errorresponse", "validation_error", "not JSON"),
    (
        '{"type":"startusereventrequest","topics":["voice.bogus"]}',
        "startusereventresponse",
        "validation_error",
        "bogus",
    ),
    (
        '{"type":"startusereventrequest","topics":"voice.b*"}',
        "startusereventresponse",
        "validation_error",
        "voice.b*",
    ),
    ('{"type":"startusereventrequest","topics":7}', "startusereventresponse", "validation_error", "topics"),
    ('{"type":"startusereventrequest","topics":[7]}', "startusereventresponse", "validation_error", "topics"),
    (
        '{"type":"startusereventrequest","lastEventId":[]}',
        "startusereventresponse",
        "validation_error",
        "lastEventId",
    ),
    (
        '{"type":"startusereventrequest","lastEventId":true}',
        "startusereventresponse",
        "validation_error",
        "lastEventId",
    ),
    ('{"type":"authrequest","token":"x"}', "authresponse", "conflict", "already"),
]


async def test_what_is_wrong_is_answered_and_the_conversation_goes_on(api: Api) -> None:
    client = await api.client()
    for message, answer, code, word in WRONG:
        async with talking(client) as talk:
            await talk.socket.send_str(message)
            refused = await talk.hear()
            assert (refused["type"], refused["success"], refused["code"]) == (answer, False, code), message
            assert word in refused["reason"]
            assert (await talk.say("startusereventrequest"))["success"]
            again = await talk.say("startusereventrequest")
            assert (again["success"], again["code"]) == (False, "conflict")


@pytest.mark.parametrize("token", ["tk_test_nobody", "", None, 7, "x" * 10_000])
async def test_without_a_working_key_nothing_starts_and_another_try_is_free(api: Api, token: object) -> None:
    client = await api.client()
    async with talking(client, admitted=False) as talk:
        refused = await talk.say("authrequest", token=token)
        assert (refused["type"], refused["success"]) == ("authresponse", False)
        assert refused["code"] in {"unauthorized", "validation_error"}
        for request in ("startusereventrequest", "stopusereventrequest", "startaccounteventrequest"):
            answer = await talk.say(request)
            assert (answer["success"], answer["code"]) == (False, "unauthorized")
        assert (await talk.say("authrequest", token=client.key))["success"]


async def test_whoever_is_refused_too_often_is_sent_away(api: Api) -> None:
    async with talking(await api.client(), admitted=False) as talk:
        for _ in range(MOST_FAULTS):
            assert not (await talk.say("authrequest", token="tk_test_nobody"))["success"]
        assert await talk.end() == 1008


async def test_starts_count_towards_the_keys_rate(api: Api) -> None:
    client = await api.client(rate_limit=3)
    async with talking(client) as talk:
        answers = []
        for _ in range(3):
            answers.append(await talk.say("startusereventrequest"))
            await talk.say("stopusereventrequest")
        assert [answer.get("code") for answer in answers] == [None, None, "rate_limited"]


async def test_a_revoked_key_starts_no_stream(api: Api) -> None:
    owner = await api.client()
    made = (await owner("POST", "/api/keys", {"name": "k", "scopes": ["sms:read"]})).json
    async with talking(Client(owner.session, owner.url, made["key"])) as talk:
        await owner("DELETE", f"/api/keys/{made['id']}")
        assert (await talk.say("startusereventrequest"))["code"] == "unauthorized"


def nonsense(random: Random, depth: int = 0) -> object:
    """JSON values that look more or less like requests."""
    words = ["type", "token", "topics", "lastEventId", "authrequest", "startusereventrequest", "stopusereventrequest"]
    leaves = [None, True, -1, 10**25, 1e300, "", "\0", "voice.**", "\ud7ff", "x" * 300, random.choice(words)]
    if depth > 2 or random.random() < 0.3:
        return random.choice(leaves)
    if random.random() < 0.2:
        return [nonsense(random, depth + 1) for _ in range(random.randrange(4))]
    return {random.choice(words): nonsense(random, depth + 1) for _ in range(random.randrange(1, 5))}


async def test_whatever_is_said_gets_one_answer_or_an_end_and_never_a_stack(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    random, client, ends = Random(7), await api.client(), 0
    for _ in range(15):
        async with talking(client) as talk:
            for n in range(30):
                await talk.socket.send_str(json.dumps(nonsense(random)))
                async with asyncio.timeout(DEADLINE_S):
                    message = await talk.socket.receive()
                if message.type is not aiohttp.WSMsgType.TEXT:
                    assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1008)
                    assert n >= MOST_FAULTS
                    ends += 1
                    break
                assert set(message.json()) >= {"type", "success"}
    assert ends
    assert "realtime.failed" not in capsys.readouterr().out
    async with talking(client) as talk:
        assert (await talk.say("startusereventrequest"))["success"]


async def test_binary_is_refused_with_its_code(api: Api) -> None:
    async with talking(await api.client()) as talk:
        await talk.socket.send_bytes(b"{}")
        assert await talk.end() == 1003


async def test_a_message_that_is_too_long_is_refused_with_its_code(api: Api) -> None:
    async with talking(await api.client(), admitted=False) as talk:
        await talk.socket.send_str("x" * MAX_MESSAGE_BYTES)
        assert (await talk.hear())["type"] == "errorresponse"
        await talk.socket.send_str("x" * 1_000_000)
        assert await talk.end() == 1009


async def test_a_plain_request_is_told_what_to_do(api: Api) -> None:
    client = await api.client()
    answer = await client("GET", "/api/realtime")
    assert (answer.status, answer.error["code"]) == (426, "upgrade_required")
    assert answer.headers["Upgrade"] == "websocket"
