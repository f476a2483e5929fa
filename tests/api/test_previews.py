"""Templates over HTTP: refused at create, held at import, previewed, judged at start."""

import pytest
from sqlalchemy import text

from tests.api.harness import Answer, Api, Client

MESSAGE = "Hi {{first_name}}, your {{item|order}} is ready. Reply STOP to opt out"


async def texts(client: Client, message: str = MESSAGE) -> str:
    return await client.campaign(channel="sms", mode={"message": message})


async def upload(client: Client, campaign: str, rows: str) -> Answer:
    headers = {"Content-Type": "text/csv"}
    answer = await client("POST", f"/api/campaigns/{campaign}/prospects/import", data=rows.encode(), headers=headers)
    assert answer.status == 200, answer.text
    return answer


async def test_an_unreadable_template_is_refused_at_create(client: Client) -> None:
    body = {"name": "x", "channel": "sms", "mode": {"message": "Hi {{first_name"}}
    refused = await client("POST", "/api/campaigns", body)
    assert (refused.status, refused.error["fields"].keys()) == (400, {"mode.message"})
    assert "{{first_name|there}}" in refused.error["message"]


async def test_who_lacks_a_value_is_held_at_import_and_released_by_a_file_that_has_it(client: Client) -> None:
    campaign = await texts(client)
    report = await upload(client, campaign, "phone,First Name\n4155550101,Ann\n4155550102,\n4155550103, \n")
    assert {name: report.json[name] for name in ("added", "held", "released", "duplicates")} == {
        "added": 3,
        "held": 2,
        "released": 0,
        "duplicates": 0,
    }
    assert report.json["lacking"] == [
        {"line": 3, "reason": "missing_value: first_name", "text": "+14155550102"},
        {"line": 4, "reason": "missing_value: first_name", "text": "+14155550103"},
    ]
    path = f"/api/campaigns/{campaign}/prospects"
    rows = (await client("GET", path)).json["prospects"]
    assert [(row["status"], row.get("reason")) for row in rows] == [
        ("queued", None),
        ("queued", "missing_value: first_name"),
        ("queued", "missing_value: first_name"),
    ]
    again = await upload(client, campaign, "phone,first_name\n4155550102,Bob\n4155550101,Zoe\n4155550104,Eve\n")
    assert {name: again.json[name] for name in ("added", "held", "released", "duplicates")} == {
        "added": 1,
        "held": 0,
        "released": 1,
        "duplicates": 1,
    }
    rows = (await client("GET", path)).json["prospects"]
    assert [row.get("reason") for row in rows] == [None, None, "missing_value: first_name", None]
    samples = (await client("POST", f"/api/campaigns/{campaign}/preview", {})).json["samples"]
    assert [sample["message"] and sample["message"].partition(",")[0] for sample in samples] == [
        "Hi Ann",
        "Hi Bob",
        None,
        "Hi Eve",
    ]


async def test_an_import_without_a_template_reports_as_before(client: Client) -> None:
    report = await upload(client, await texts(client, "Hello"), "phone,name\n4155550101,Ann\n")
    assert report.json == {"added": 1, "duplicates": 0, "invalid": 0, "errors": []}


async def test_bare_numbers_are_refused_where_the_text_needs_data(client: Client) -> None:
    phones = {"phones": ["+14155550101"]}
    refused = await client("POST", f"/api/campaigns/{await texts(client)}/prospects", phones)
    assert (refused.status, refused.error["fields"].keys()) == (400, {"phones"})
    assert "first_name" in refused.error["message"]
    with_default = await texts(client, "Hi {{first_name|there}}")
    assert (await client("POST", f"/api/campaigns/{with_default}/prospects", phones)).json == {"added": 1}


async def test_a_preview_of_given_rows(client: Client) -> None:
    campaign = await texts(client)
    rows = [{"First Name": "Ann", "item": "book"}, {"first_name": "Łukasz"}, {"item": "x"}]
    answer = (await client("POST", f"/api/campaigns/{campaign}/preview", {"data": rows})).json
    assert answer["fields"] == ["first_name", "item"]
    assert answer["scan"]["verdict"] == "warn"
    assert answer["scan"]["rulesVersion"] == "2026-11-20"
    first, second, third = answer["samples"]
    assert (first["message"], first["segments"], first["encoding"]) == (
        "Hi Ann, your book is ready. Reply STOP to opt out",
        1,
        "GSM-7",
    )
    assert (second["encoding"], second["missing"]) == ("UCS-2", [])
    assert (third["message"], third["missing"], third["scan"]) == (None, ["first_name"], None)
    assert [finding["rule"] for finding in first["scan"]["findings"]] == ["brand.unknown"]


async def test_a_preview_of_calls_is_refused(client: Client) -> None:
    for campaign in (await client.campaign(), await client.campaign(channel="sms")):
        refused = await client("POST", f"/api/campaigns/{campaign}/preview", {})
        assert (refused.status, refused.error["fields"].keys()) == (400, {"mode.message"})


@pytest.mark.parametrize(
    ("message", "rules"),
    [
        ("Vapes at bit.ly/x", ["prohibited.tobacco", "link.shortener"]),
        ("See {{url|https://bit.ly/x}}", ["link.shortener"]),  # a default is judged as it would be sent
        ("Hi {name}", ["placeholder.unfilled"]),
    ],
)
async def test_a_campaign_starts_only_with_a_text_that_passes(client: Client, message: str, rules: list[str]) -> None:
    campaign = await texts(client, message)
    refused = await client("POST", f"/api/campaigns/{campaign}/start")
    assert (refused.status, refused.error["code"]) == (422, "content_rejected")
    assert refused.error["fields"]["rules"] == rules
    assert "mode.message" in refused.error["fields"]
    assert (await client("GET", f"/api/campaigns/{campaign}")).json["status"] == "created"


async def test_the_sample_campaign_of_the_reference_starts(client: Client) -> None:
    message = "Hi, this is Trunx following up on your inquiry. Reply YES to schedule a call."
    campaign = await texts(client, message)
    assert (await client("POST", f"/api/campaigns/{campaign}/start")).json["status"] == "dialing"


async def test_a_live_campaign_says_who_sends_it_and_how_to_opt_out(client: Client, api: Api) -> None:
    campaign = await texts(client, "Hello")
    async with api.runtime.db.begin() as conn:
        await conn.execute(text("update campaigns set is_live = true"))
        await conn.execute(text("""update accounts set settings = '{"content"\\: {"brands"\\: ["Acme"]}}'"""))
    refused = await client("POST", f"/api/campaigns/{campaign}/start")
    assert refused.error["fields"]["rules"] == ["brand.missing", "optout.missing"]
