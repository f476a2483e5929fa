"""What must be refused, with words that help, nothing lost and no stack shown."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.api.conftest import Serve
from tests.api.harness import DEADLINE_S, Client

JSON = {"Content-Type": "application/json"}
MEGABYTE = b"x" * 1_000_000


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b'{"name": NaN}',
        b'{"name": "x",}',
        b"\xff\xfe",
        b'{"name": "\xff"}',
        b'{"name": "\\ud800"}',
        b'{"name": "x\\u0000y"}',
        b"[" * 100_000,
        b'{"name": ' + b"9" * 5_000 + b"}",
        b'{"name": 1e999}',
    ],
)
async def test_malformed_json(client: Client, body: bytes) -> None:
    for path in ("/api/campaigns", "/api/keys", "/api/voice", "/api/dids"):
        answer = await client("POST", path, data=body, headers=JSON)
        assert (answer.status, answer.error["code"]) == (400, "validation_error")


async def test_an_escaped_backslash_is_no_nul(client: Client) -> None:
    answer = await client("POST", "/api/campaigns", data=rb'{"name": "C:\\u0000"}', headers=JSON)
    assert (answer.status, answer.json["name"]) == (201, "C:\\u0000")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml"])
async def test_a_wrong_content_type_is_named(client: Client, kind: str) -> None:
    answer = await client("POST", "/api/campaigns", data=b'{"name":"x"}', headers={"Content-Type": kind})
    assert answer.status == 400
    assert kind in answer.error["message"]


@pytest.mark.parametrize("phones", [None, "x", {}, [], 7])
async def test_phones_of_a_wrong_type(client: Client, phones: object) -> None:
    campaign_id = await client.campaign()
    answer = await client("POST", f"/api/campaigns/{campaign_id}/prospects", {"phones": phones})
    assert (answer.status, list(answer.error["fields"])) == (400, ["phones"])


async def test_one_bad_number_refuses_all_and_each_is_named(client: Client) -> None:
    campaign_id = await client.campaign()
    path = f"/api/campaigns/{campaign_id}/prospects"
    phones = ["+14155550100", "4155550101", "+14155550102", "+1415555010a", 5, None, "+14155550106 ", "+٤١٥٥٥٥٠١٠٧"]
    answer = await client("POST", path, {"phones": phones})
    assert answer.status == 400
    assert list(answer.error["fields"]) == [f"phones[{n}]" for n in (1, 3, 4, 5, 6, 7)]
    assert "4155550101" in answer.error["fields"]["phones[1]"]
    assert (await client("GET", path)).json == {"prospects": []}


async def test_of_many_bad_numbers_the_first_hundred_are_named_and_all_are_counted(client: Client) -> None:
    campaign_id = await client.campaign()
    answer = await client("POST", f"/api/campaigns/{campaign_id}/prospects", {"phones": ["x"] * 9_000})
    assert answer.error["message"].startswith("9000 of 9000 phones")
    assert list(answer.error["fields"]) == [f"phones[{n}]" for n in range(100)]


async def test_at_most_ten_thousand_phones(client: Client) -> None:
    campaign_id = await client.campaign()
    path = f"/api/campaigns/{campaign_id}/prospects"
    phones = [f"+1415{n:07d}" for n in range(2_000_000, 2_010_001)]
    refused = await client("POST", path, {"phones": phones})
    assert (refused.status, list(refused.error["fields"])) == (400, ["phones"])
    assert (await client("POST", path, {"phones": phones[:-1]})).json == {"added": 10_000}
    assert (await client("POST", path, {"phones": phones[-2:] * 2})).json == {"added": 1}
    listed = (await client("GET", path)).json["prospects"]
    assert [row["phone"] for row in listed] == phones


async def test_unknown_fields_are_refused_and_named(client: Client) -> None:
    campaign_id = await client.campaign()
    for path, body, field in (
        (f"/api/campaigns/{campaign_id}/prospects", {"phones": ["+14155550100"], "phone": 1}, "phone"),
        ("/api/keys", {"name": "x", "scopes": ["*"], "rate_limit": 5}, "rate_limit"),
        ("/api/dids", {"number": "+14155550100", "cost": 1}, "cost"),
        ("/api/voice", {"from": "+14155550100", "to": "+14155550101", "system_prompt": "x"}, "system_prompt"),
    ):
        answer = await client("POST", path, body)
        assert (answer.status, list(answer.error["fields"])) == (400, [field])


async def test_a_body_over_the_limit_is_not_read(serve: Serve) -> None:
    client = await (await serve(max_body_bytes=10_000)).client()
    announced = await client("POST", "/api/campaigns", data=b"{" + b" " * 20_000, headers=JSON)
    assert (announced.status, announced.error["code"]) == (413, "too_large")

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b" " * 8_000

    chunked = await client("POST", "/api/campaigns", data=endless(), headers=JSON)
    assert chunked.status == 413


async def test_unknown_paths_ids_and_methods(client: Client) -> None:
    for path in ("/api/nothing", "/", "/api/campaigns/", "/api/v1/sms"):
        answer = await client("GET", path)
        assert (answer.status, answer.error["code"]) == (404, "not_found")
    for campaign_id in (
        "camp_abc123",
        "camp_0000000000001",
        "key_0000000000001",
        "%00",
        "camp_" + "z" * 13,
        "x" * 5_000,
    ):
        answer = await client("GET", f"/api/campaigns/{campaign_id}/stats")
        assert (answer.status, answer.error["code"]) == (404, "not_found")
    wrong = await client("DELETE", "/api/campaigns")
    assert (wrong.status, wrong.error["code"]) == (405, "method_not_allowed")
    assert wrong.headers["Allow"]


@pytest.mark.slow
async def test_a_line_of_a_hundred_megabytes_costs_its_own_row(client: Client) -> None:
    campaign_id = await client.campaign()

    async def file() -> AsyncIterator[bytes]:
        yield b"phone,note\n+14155550100,first\n+14155550101,"
        for _ in range(100):
            yield MEGABYTE
        yield b"\n+14155550102,last\n"

    answer = await client("POST", f"/api/campaigns/{campaign_id}/prospects/import", data=file())
    assert answer.status == 200, answer.text
    assert (answer.json["added"], answer.json["invalid"]) == (2, 1)
    assert answer.json["errors"][0]["line"] == 3


async def test_a_cut_upload_imports_nothing(client: Client) -> None:
    campaign_id = await client.campaign()
    path = f"/api/campaigns/{campaign_id}/prospects"
    host, _, port = client.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST {path}/import HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.key}\r\n"
        "Content-Type: text/csv\r\nContent-Length: 1000\r\n\r\nphone\n+14155550100\n".encode()
    )
    writer.write_eof()
    async with asyncio.timeout(DEADLINE_S):
        await reader.read()  # until the server has given up, too
    writer.close()
    await writer.wait_closed()
    assert (await client("GET", path)).json == {"prospects": []}
    assert (await client("POST", path, {"phones": ["+14155550100"]})).json == {"added": 1}


@pytest.mark.parametrize(
    ("body", "boundary"),
    [(b"", "x"), (b"--x\r\n", "x"), (b"nonsense", "x"), (b"nonsense", ""), (b"x", "y" * 500)],
)
async def test_a_broken_form_imports_nothing(client: Client, body: bytes, boundary: str) -> None:
    campaign_id = await client.campaign()
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    answer = await client("POST", f"/api/campaigns/{campaign_id}/prospects/import", data=body, headers=kind)
    assert (answer.status, answer.error["code"]) == (400, "validation_error")


@pytest.mark.parametrize("region", ["XX", "", "USA", "U%00"])
async def test_an_unknown_region(client: Client, region: str) -> None:
    campaign_id = await client.campaign()
    answer = await client("POST", f"/api/campaigns/{campaign_id}/prospects/import?region={region}", data=b"phone\n")
    assert (answer.status, list(answer.error["fields"])) == (400, ["region"])
