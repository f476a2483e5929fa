"""One key, one effect."""

import asyncio

import pytest

from engine.store import idempotency
from tests.api.harness import DEADLINE_S, Answer, Api, Client
from tests.feed.conftest import eventually


def with_key(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


async def test_a_repeat_replays_the_first_answer(client: Client) -> None:
    first = await client("POST", "/api/campaigns", {"name": "once"}, headers=with_key("k1"))
    again = await client("POST", "/campaigns", {"name": "once"}, headers=with_key("k1"))
    assert "Idempotency-Replay" not in first.headers
    assert again.headers["Idempotency-Replay"] == "true"
    assert (again.status, again.json) == (first.status, first.json)
    assert len((await client("GET", "/api/campaigns")).json["campaigns"]) == 1


async def test_another_request_with_the_key_is_a_conflict(client: Client) -> None:
    campaign_id = (await client("POST", "/api/campaigns", {"name": "once"}, headers=with_key("k1"))).json["id"]
    for path, body in (("/api/campaigns", {"name": "twice"}), (f"/api/campaigns/{campaign_id}/start", None)):
        answer = await client("POST", path, body, headers=with_key("k1"))
        assert (answer.status, answer.error["code"]) == (409, "idempotency_conflict")
        assert answer.error["fields"] == {"conflicts_with": "POST /api/campaigns"}
    assert (await client("GET", f"/api/campaigns/{campaign_id}")).json["status"] == "created"


async def test_a_key_belongs_to_one_api_key(api: Api, client: Client) -> None:
    other = await api.client(account_id=client.account_id)
    await client("POST", "/api/campaigns", {"name": "mine"}, headers=with_key("k1"))
    answer = await other("POST", "/api/campaigns", {"name": "theirs"}, headers=with_key("k1"))
    assert (answer.status, answer.json["name"]) == (201, "theirs")


async def test_simultaneous_repeats_have_one_effect(client: Client) -> None:
    answers = await asyncio.gather(
        *(client("POST", "/api/campaigns", {"name": "once"}, headers=with_key("k1")) for _ in range(10))
    )
    assert {answer.status for answer in answers} <= {201, 409}
    assert {answer.error["code"] for answer in answers if answer.status == 409} <= {"idempotency_conflict"}
    assert len((await client("GET", "/api/campaigns")).json["campaigns"]) == 1


async def test_refusals_are_replayed_and_lacking_scopes_are_not(api: Api, client: Client) -> None:
    path = f"/api/campaigns/{await client.campaign()}/pause"
    first = await client("POST", path, headers=with_key("k1"))
    again = await client("POST", path, headers=with_key("k1"))
    assert (first.status, again.status, again.headers["Idempotency-Replay"]) == (409, 409, "true")
    assert again.error == first.error
    for body in ({"name": ""}, {}):
        assert (await client("POST", "/api/keys", body, headers=with_key("k2"))).status in {400, 409}
    reader = await api.client(["campaigns:read"])
    for _ in range(2):
        answer = await reader("POST", "/api/campaigns", {"name": "x"}, headers=with_key("k3"))
        assert (answer.status, "Idempotency-Replay" in answer.headers) == (403, False)


async def test_every_write_takes_a_key(api: Api) -> None:
    client = await api.client(numbers=["+19495551000"])
    campaign_id = await client.campaign()
    key_id = (await client("POST", "/api/keys", {"name": "x", "scopes": ["*"]})).json["id"]
    writes: list[tuple[str, str, object]] = [
        ("POST", f"/api/campaigns/{campaign_id}/prospects", {"phones": ["+14155550100"]}),
        ("POST", f"/api/campaigns/{campaign_id}/start", None),
        ("POST", f"/api/campaigns/{campaign_id}/pause", None),
        ("POST", f"/api/campaigns/{campaign_id}/resume", None),
        ("POST", f"/api/campaigns/{campaign_id}/cancel", None),
        ("POST", "/api/dids", {"number": "+14155550199"}),
        ("POST", "/api/voice", {"from": "+19495551000", "to": "+14155550123"}),
        ("DELETE", f"/api/keys/{key_id}", None),
    ]
    for number, (method, path, body) in enumerate(writes):
        first = await client(method, path, body, headers=with_key(f"w{number}"))
        again = await client(method, path, body, headers=with_key(f"w{number}"))
        assert first.status in {200, 201, 204}, first.text
        assert (again.status, again.text, again.headers["Idempotency-Replay"]) == (first.status, first.text, "true")


async def test_an_import_is_replayed_too(client: Client) -> None:
    path = f"/api/campaigns/{await client.campaign()}/prospects/import"
    first = await client("POST", path, data=b"phone\n+14155550100\n", headers=with_key("k1"))
    again = await client("POST", path, data=b"phone\n+14155550100\n", headers=with_key("k1"))
    assert (first.json["added"], again.json, again.headers["Idempotency-Replay"]) == (1, first.json, "true")


CSV = b"phone\n+14155550100\n"
FORM = b'--x\r\nContent-Disposition: form-data; name="file"; filename="p.csv"\r\n\r\n' + CSV


async def send_part(client: Client, path: str, kind: str, part: bytes, length: int) -> None:
    """Part of an upload; returns when the server has given it up."""
    host, _, port = client.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.key}\r\nIdempotency-Key: k1\r\n"
    writer.write(f"{head}Connection: close\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n".encode() + part)
    writer.write_eof()
    async with asyncio.timeout(DEADLINE_S):
        await reader.read()
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    ("kind", "part", "length"),
    [("text/csv", CSV, 1_000), ("multipart/form-data; boundary=x", FORM, len(FORM))],
    ids=["connection", "form"],
)
async def test_an_upload_that_was_cut_off_may_be_sent_again(
    client: Client, kind: str, part: bytes, length: int
) -> None:
    path = f"/api/campaigns/{await client.campaign()}/prospects/import"
    answers: list[Answer] = []

    async def is_free() -> bool:
        answers.append(await client("POST", path, data=CSV, headers=with_key("k1")))
        return answers[-1].status != 409

    await send_part(client, path, kind, part, length)
    await eventually(is_free)  # the connection is closed, and the key about to be given up
    answer = answers[-1]
    assert (answer.status, "Idempotency-Replay" in answer.headers) == (200, False), answer.text
    assert answer.json["added"] == 1


async def test_a_new_api_key_is_nowhere_kept(api: Api, client: Client) -> None:
    body = {"name": "x", "scopes": ["*"]}
    first = await client("POST", "/api/keys", body, headers=with_key("k1"))
    again = await client("POST", "/api/keys", body, headers=with_key("k1"))
    assert again.json == {name: value for name, value in first.json.items() if name != "key"}
    assert first.json["key"] not in again.text


async def test_a_request_under_way_holds_its_key(api: Api, client: Client) -> None:
    key_id = await api.key_id(client)
    headers = with_key("k1") | {"Content-Type": "application/json"}
    await idempotency.begin(api.runtime.db, key_id, "k1", "POST /api/campaigns", b'{"name": "slow"}')
    answer = await client("POST", "/api/campaigns", data=b'{"name": "slow"}', headers=headers)
    assert (answer.status, answer.error["code"]) == (409, "idempotency_conflict")


async def test_a_key_of_wrong_form(client: Client) -> None:
    for key in ("", "x" * 256, "two words", "naïve"):
        answer = await client("POST", "/api/campaigns", {"name": "x"}, headers=with_key(key))
        assert (answer.status, list(answer.error["fields"])) == (400, ["Idempotency-Key"])
