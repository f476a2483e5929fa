"""Consent records over HTTP and from the columns of an import."""

import pytest

from tests.api.harness import Api, Client

PHONE, ANOTHER = "+12125550147", "+12125550148"
ONE = {
    "phone": PHONE,
    "class": "express_written",
    "source": "form 12",
    "at": "2026-03-01T10:00:00Z",
    "proof": "https://a",
}


@pytest.mark.parametrize("path", ["/api/consents", "/consents"])
async def test_one_is_recorded_read_and_revoked(client: Client, path: str) -> None:
    made = await client("POST", path, ONE)
    assert (made.status, made.json["recorded"]) == (201, 1), made.text

    found = (await client("GET", f"{path}?phone=%2B12125550147")).json
    assert found["inForce"] == {"voice": "express_written", "sms": "express_written"}
    (record,) = found["consents"]
    assert record["id"] == made.json["ids"][0]
    assert record["givenAt"] == "2026-03-01T10:00:00.000Z"
    assert {name: record[name] for name in ("class", "channel", "source", "proof", "revokedAt")} == {
        "class": "express_written", "channel": "all", "source": "form 12", "proof": "https://a", "revokedAt": None,
    }  # fmt: skip

    gone = await client("DELETE", f"{path}/{PHONE}?channel=voice&reason=told+our+agent")
    assert (gone.status, gone.json) == (200, {"phone": PHONE, "channel": "voice", "revoked": 1})
    found = (await client("GET", f"{path}?phone=%2B12125550147")).json
    assert found["inForce"] == {"voice": "none", "sms": "express_written"}
    assert [each["revokedFor"] for each in found["consents"]] == [None, None, "told our agent"]
    again = await client("DELETE", f"{path}/{PHONE}?channel=voice")
    assert (again.status, again.json["revoked"]) == (200, 0)


async def test_many_are_recorded_and_listed_in_pages(client: Client) -> None:
    many = [{"phone": f"+1212555{n:04d}", "class": "express"} for n in range(150)]
    made = await client("POST", "/api/consents", {"consents": many})
    assert (made.status, made.json["recorded"], len(made.json["ids"])) == (201, 150, 150)
    first = (await client("GET", "/api/consents?limit=100")).json
    rest = (await client("GET", f"/api/consents?limit=100&cursor={first['nextCursor']}")).json
    assert [each["phone"] for each in first["consents"] + rest["consents"]] == [each["phone"] for each in many]
    assert rest["nextCursor"] is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "phone"),
        ({"phone": PHONE}, "phone"),
        (ONE | {"consents": [ONE]}, "phone"),
        (ONE | {"phone": "x"}, "phone"),
        (ONE | {"class": "written"}, "class"),
        (ONE | {"at": "yesterday"}, "at"),
        (ONE | {"at": "2026-03-12T18:00:00Z"}, "at"),  # tomorrow
        (ONE | {"channel": "fax"}, "channel"),
        ({"consents": [ONE, ONE | {"phone": "x"}]}, "consents[1].phone"),
        ({"consents": []}, "consents"),
    ],
)
async def test_bad_input_names_its_field_and_records_nothing(
    client: Client, body: dict[str, object], field: str
) -> None:
    refused = await client("POST", "/api/consents", body)
    assert refused.status == 400, refused.text
    assert field in refused.error["fields"], refused.text
    assert (await client("GET", "/api/consents")).json["consents"] == []


async def test_accounts_and_scopes_are_apart(api: Api, client: Client) -> None:
    await client("POST", "/api/consents", ONE)
    other = await api.client()
    assert (await other("GET", "/api/consents?phone=%2B12125550147")).json["consents"] == []
    assert (await other("GET", "/api/consents")).json["consents"] == []
    assert (await other("DELETE", f"/api/consents/{PHONE}")).json["revoked"] == 0
    assert (await client("GET", "/api/consents?phone=%2B12125550147")).json["inForce"]["voice"] == "express_written"
    reader = await api.client(["campaigns:read"], account_id=client.account_id)
    assert (await reader("GET", "/api/consents")).status == 200
    assert (await reader("POST", "/api/consents", ONE)).status == 403


async def upload(client: Client, campaign: str, csv: str) -> dict[str, object]:
    headers = {"Content-Type": "text/csv"}
    answer = await client("POST", f"/api/campaigns/{campaign}/prospects/import", data=csv.encode(), headers=headers)
    assert answer.status == 200, answer.text
    imported: dict[str, object] = answer.json
    return imported


FILE = """phone,name,consent,consent_at,consent_source,consent_proof
+12125550147,Ann,express_written,2026-03-01,form 12,"yes, ""call me""\tC:\\forms\\12"
+12125550148,Bob,,,,
+12125550149,Cy,maybe,,,
+12125550150,Di,none,,,
"""


async def test_an_import_records_what_its_columns_say(client: Client) -> None:
    done = await upload(client, await client.campaign(), FILE)
    assert (done["added"], done["invalid"], done["consents"]) == (3, 1, 1)
    assert done["errors"] == [
        {"line": 4, "reason": "consent 'maybe' is not one of none, express, express_written", "text": "+12125550149"}
    ]
    (record,) = (await client("GET", "/api/consents")).json["consents"]
    assert (record["phone"], record["class"], record["source"]) == (PHONE, "express_written", "form 12")
    assert record["proof"] == 'yes, "call me"\tC:\\forms\\12'
    assert record["givenAt"] == "2026-03-01T00:00:00.000Z"

    again = await upload(client, await client.campaign(), FILE)
    assert (again["added"], "consents" in again) == (3, False)  # nothing is recorded twice


async def test_an_old_list_brings_no_withdrawn_consent_back(client: Client) -> None:
    undated = f"phone,consent\n{PHONE},express\n{ANOTHER},express\n"
    assert (await upload(client, await client.campaign(), undated))["consents"] == 2
    await client("DELETE", f"/api/consents/{PHONE}")
    for file in (FILE, undated):
        assert "consents" not in await upload(client, await client.campaign(), file)
    assert (await client("GET", "/api/consents?phone=%2B12125550147")).json["inForce"]["voice"] == "none"


@pytest.mark.parametrize("is_revoked", [True, False])
async def test_a_withdrawal_before_any_record_holds_too(client: Client, is_revoked: bool) -> None:
    if is_revoked:
        answer = await client("DELETE", f"/api/consents/{PHONE}")
        assert (answer.status, answer.json["revoked"]) == (200, 0)
    else:
        await client("POST", "/api/consents", {"phone": PHONE, "class": "none"})
    assert (await client("POST", "/api/consents", ONE)).status == 201
    assert "consents" not in await upload(client, await client.campaign(), FILE)
    found = (await client("GET", "/api/consents?phone=%2B12125550147")).json
    assert found["inForce"] == {"voice": "none", "sms": "none"}


@pytest.mark.parametrize("query", ["?limit=0", "?limit=1001", "?phone=%2B12125550147&limit=1001", "?phone=2125550147"])
async def test_a_list_names_what_is_wrong_with_its_question(client: Client, query: str) -> None:
    answer = await client("GET", f"/api/consents{query}")
    assert answer.status == 400
