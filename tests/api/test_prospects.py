"""Imports and lists: the large ends of the prospects' API."""

import aiohttp

from tests.api.harness import Api, Client

CSV = (
    "Name,Phone,City\n"
    "Ann,(415) 555-0123,Oakland\n"
    "Bob,+1 212 555 0124,New York\n"
    "Ann again,415-555-0123,Oakland\n"
    "Cy,555-0125,\n"
    "Dee,call me,\n"
)


async def test_a_csv_is_imported_with_a_report(client: Client) -> None:
    campaign_id = await client.campaign()
    path = f"/api/campaigns/{campaign_id}/prospects"
    answer = await client("POST", f"{path}/import?region=us", data=CSV.encode(), headers={"Content-Type": "text/csv"})
    assert answer.status == 200, answer.text
    counts = {name: answer.json[name] for name in ("added", "duplicates", "invalid")}
    assert counts == {"added": 2, "duplicates": 1, "invalid": 2}
    assert [(row["line"], bool(row["reason"])) for row in answer.json["errors"]] == [(5, True), (6, True)]
    phones = [row["phone"] for row in (await client("GET", path)).json["prospects"]]
    assert phones == ["+14155550123", "+12125550124"]
    stats = (await client("GET", f"/api/campaigns/{campaign_id}/stats")).json
    assert (stats["total"], stats["queued"]) == (2, 2)


async def test_a_multipart_file_is_imported_as_curl_sends_it(client: Client) -> None:
    campaign_id = await client.campaign()
    form = aiohttp.FormData()
    form.add_field("note", "not the file")
    form.add_field("file", CSV.encode() * 2_000, filename="crm.csv", content_type="text/csv")
    answer = await client("POST", f"/api/campaigns/{campaign_id}/prospects/import", data=form)
    assert answer.status == 200, answer.text
    assert answer.json["added"] == 2
    assert len(answer.json["errors"]) == 1_000


async def test_curls_default_content_type_is_taken_for_a_file(client: Client) -> None:
    campaign_id = await client.campaign()
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await client(
        "POST", f"/api/campaigns/{campaign_id}/prospects/import", data=b"+14155550123\n+14155550124\n", headers=kind
    )
    assert answer.json["added"] == 2


async def test_a_file_that_is_no_list_is_refused_whole(client: Client) -> None:
    campaign_id = await client.campaign()
    path = f"/api/campaigns/{campaign_id}/prospects/import"
    answer = await client("POST", path, data=b"name,mobile\nAnn,4155550123\n")
    assert (answer.status, answer.error["code"]) == (400, "validation_error")


async def test_large_lists_are_streamed_whole_or_paged_by_state(api: Api, client: Client) -> None:
    campaign_id = await client.campaign()
    path = f"/api/campaigns/{campaign_id}/prospects"
    phones = [f"+1415{n:07d}" for n in range(2_000_000, 2_004_001)]  # two chunks and one row
    await client("POST", path, {"phones": phones})
    whole = (await client("GET", path)).json
    assert [row["phone"] for row in whole["prospects"]] == phones
    assert set(whole) == {"prospects"}

    seen: list[str] = []
    query = {"limit": "1000", "status": "queued"}
    while query:
        page = (await client("GET", path, params=query)).json
        seen += [row["phone"] for row in page["prospects"]]
        query = query | {"cursor": page["nextCursor"]} if page["nextCursor"] else {}
    assert seen == phones
    assert (await client("GET", path, params={"status": "completed"})).json == {"prospects": []}
    assert (await client("GET", path, params={"status": "asleep"})).error["fields"].keys() == {"status"}


async def test_a_cancelled_campaigns_prospects_read_cancelled_at_once(client: Client) -> None:
    campaign_id = await client.campaign()
    path = f"/api/campaigns/{campaign_id}/prospects"
    await client("POST", path, {"phones": ["+14155550100", "+14155550101"]})
    await client("POST", f"/api/campaigns/{campaign_id}/cancel")
    assert {row["status"] for row in (await client("GET", path)).json["prospects"]} == {"cancelled"}
    assert len((await client("GET", path, params={"status": "cancelled"})).json["prospects"]) == 2
