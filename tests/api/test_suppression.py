"""The suppression list over HTTP, and what it and the other lists do to one-off contacts."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest
from sqlalchemy import text

from engine.store import suppressions
from engine.store.inbound import OPTED_OUT
from tests.api.harness import Api, Client
from tests.api.test_cli import carillon

PHONE, ANOTHER, FROM = "+12125550147", "+12125550148", "+12135550100"


async def run(api: Api, statement: str, **params: object) -> list[tuple[object, ...]]:
    async with api.runtime.db.begin() as conn:
        result = await conn.execute(text(statement), params)
        return [tuple(row) for row in result] if result.returns_rows else []


async def opted_out(api: Api, client: Client, source: str) -> None:
    async with api.runtime.db.begin() as conn:
        await suppressions.add(conn, client.account_id, [PHONE], OPTED_OUT, source, api.runtime.clock)


@pytest.mark.parametrize("path", ["/api/suppression", "/suppression"])
async def test_one_number_is_suppressed_read_and_allowed_again(client: Client, api: Api, path: str) -> None:
    body = {"phone": PHONE, "reason": "asked by e-mail", "source": "crm", "channel": "sms"}
    made = await client("POST", path, body)
    assert made.status == 201, made.text
    assert made.json.pop("createdAt")
    assert made.json == {"added": 1, "suppressed": True, **body}
    assert (await client("POST", path, body)).json["added"] == 0

    found = await client("GET", f"{path}?phone=%2B12125550147")
    assert (found.status, found.json["suppressed"], found.json["channel"]) == (200, True, "sms")
    assert (await client("GET", f"{path}?phone=%2B12125550148")).json == {"phone": ANOTHER, "suppressed": False}

    gone = await client("DELETE", f"{path}/{PHONE}")
    assert (gone.status, gone.json) == (200, {"phone": PHONE, "suppressed": False})
    assert (await client("DELETE", f"{path}/{PHONE}")).status == 404
    audited = await run(api, "select action, subject from audit where action like 'suppression.%' order by id")
    assert audited == [("suppression.add", PHONE)] * 2 + [("suppression.remove", PHONE)]


async def test_ten_thousand_at_once_and_the_list_in_pages(client: Client) -> None:
    phones = [f"+1212{n:07d}" for n in range(5_550_000, 5_560_000)]
    answer = await client("POST", "/api/suppression", {"phones": phones})
    assert (answer.status, answer.json) == (201, {"added": 10_000})
    again = await client("POST", "/api/suppression", {"phones": phones[:150]})
    assert again.json == {"added": 0}

    first = await client("GET", "/api/suppression?limit=1000")
    assert [each["phone"] for each in first.json["suppressions"]] == phones[:1000]
    cursor = first.json["nextCursor"].replace("+", "%2B")
    second = await client("GET", f"/api/suppression?limit=2&cursor={cursor}")
    assert [each["phone"] for each in second.json["suppressions"]] == phones[1000:1002]
    last = await client("GET", "/api/suppression?cursor=%2B12125559998")
    assert (len(last.json["suppressions"]), last.json["nextCursor"]) == (1, None)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "phone"),
        ({"phone": PHONE, "phones": [PHONE]}, "phone"),
        ({"phone": "212-555-0147"}, "phone"),
        ({"phones": [PHONE, "x", 7]}, "phones[1]"),
        ({"phones": []}, "phones"),
        ({"phones": [PHONE] * 10_001}, "phones"),
        ({"phone": PHONE, "channel": "fax"}, "channel"),
        ({"phone": PHONE, "source": "sms_keyword"}, "source"),
        ({"phone": PHONE, "resaon": "typo"}, "resaon"),
    ],
)
async def test_bad_input_names_its_field_and_suppresses_nobody(
    client: Client, body: dict[str, object], field: str
) -> None:
    refused = await client("POST", "/api/suppression", body)
    assert refused.status == 400
    assert field in refused.error["fields"]
    assert (await client("GET", "/api/suppression")).json["suppressions"] == []


@pytest.mark.parametrize(
    "query", ["?phone=2125550147", "?cursor=x", "?limit=0", "?limit=1001", "?phone=%2B12125550147&limit=1001"]
)
async def test_a_bad_query_is_refused(client: Client, query: str) -> None:
    assert (await client("GET", f"/api/suppression{query}")).status == 400


@pytest.mark.parametrize("source", sorted(suppressions.OF_THE_PERSON))
async def test_a_persons_own_opt_out_is_lifted_only_with_a_reason(api: Api, client: Client, source: str) -> None:
    await opted_out(api, client, source)
    refused = await client("DELETE", f"/api/suppression/{PHONE}")
    assert (refused.status, set(refused.error["fields"])) == (400, {"reason"})
    assert (await client("DELETE", f"/api/suppression/{PHONE}?reason=%20")).status == 400
    assert (await client("GET", "/api/suppression?phone=%2B12125550147")).json["suppressed"]
    assert (await client("DELETE", f"/api/suppression/{PHONE}?reason=signed+up+again")).status == 200
    ((detail,),) = await run(api, "select detail from audit where action = 'suppression.remove'")
    assert detail == {"reason": "signed up again", "source": source, "channel": "all", "was": OPTED_OUT}


async def test_accounts_and_scopes_are_apart(api: Api, client: Client) -> None:
    await client("POST", "/api/suppression", {"phone": PHONE})
    other = await api.client()
    assert (await other("GET", "/api/suppression?phone=%2B12125550147")).json["suppressed"] is False
    assert (await other("GET", "/api/suppression")).json["suppressions"] == []
    assert (await other("DELETE", f"/api/suppression/{PHONE}")).status == 404
    reader = await api.client(["campaigns:read"], account_id=client.account_id)
    assert (await reader("GET", "/api/suppression")).status == 200
    for method, path in (("POST", "/api/suppression"), ("DELETE", f"/api/suppression/{PHONE}")):
        body = {"phone": ANOTHER} if method == "POST" else None
        assert (await reader(method, path, body)).status == 403


async def test_a_second_channel_makes_it_all_and_a_keyword_becomes_firm(api: Api, client: Client) -> None:
    await client("POST", "/api/suppression", {"phone": PHONE, "channel": "sms", "source": "crm"})
    widened = await client("POST", "/api/suppression", {"phone": PHONE, "channel": "voice", "source": "agent"})
    assert (widened.json["added"], widened.json["channel"], widened.json["source"]) == (1, "all", "crm")
    narrower = await client("POST", "/api/suppression", {"phone": PHONE, "channel": "sms"})
    assert (narrower.json["added"], narrower.json["channel"]) == (0, "all")


async def test_a_file_is_imported_by_the_command(api: Api, client: Client, tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text(
        "phone,reason,channel\n(212) 555-0147,asked,\n212-555-0148,,sms\n12,,\n+12125550149,,fax\n+12125550147,again,\n"
    )
    environment = {"CARILLON_URL": api.url, "CARILLON_KEY": client.key}
    code, out, err = await carillon("suppression", "import", str(file), "--source", "old crm", **environment)
    assert (code, "2 added, 0 known, 2 invalid" in out) == (1, True), out + err
    assert "line 4" in out
    listed = (await client("GET", "/api/suppression")).json["suppressions"]
    found = [(each["phone"], each["reason"], each["source"], each["channel"]) for each in listed]
    assert found == [(PHONE, "again", "old crm", "all"), (ANOTHER, "", "old crm", "sms")]

    code, out, err = await carillon("suppression", "import", str(file), **environment | {"CARILLON_KEY": "tk_test_x"})
    assert code == 1
    assert "unknown, revoked or expired" in err
    code, out, err = await carillon("suppression", "import", str(file), **environment | {"CARILLON_KEY": ""})
    assert (code, "set CARILLON_KEY" in err) == (1, True)


# ── one-off contacts ─────────────────────────────────────────────────────────────────────────────────────────────────

CALL = {"from": FROM, "to": PHONE}
TEXT = CALL | {"message": "Your table is ready. Reply STOP to opt out."}


@pytest.fixture
async def sender(api: Api) -> Client:
    return await api.client(numbers=[FROM])


async def require(api: Api, client: Client, **compliance: object) -> None:
    settings = orjson.dumps({"compliance": compliance}).decode()
    statement = "update accounts set settings = cast(:s as jsonb) where id = :id"
    await run(api, statement, s=settings, id=client.account_id)


async def contacted(api: Api, client: Client, times: int) -> None:
    statement = "insert into person_contacts select :id, :n, :at, false from generate_series(1, :times)"
    values = {"id": client.account_id, "n": int(PHONE[1:]), "at": api.runtime.clock.now(), "times": times}
    await run(api, statement, **values)


@pytest.mark.parametrize(("path", "body"), [("/api/voice", CALL), ("/api/sms", TEXT)])
async def test_a_one_off_contact_over_the_cap_says_when_it_is_allowed(
    api: Api, sender: Client, path: str, body: Mapping[str, object]
) -> None:
    await contacted(api, sender, 3)
    refused = await sender("POST", path, body)
    assert refused.status == 400, refused.text
    assert refused.error["fields"]["reason"] == "attempt_cap"
    assert refused.error["fields"]["next_allowed_at"].startswith("2026-03-12T18:00")
    assert (await sender("POST", path, body | {"purpose": "informational"})).status == 201


@pytest.mark.parametrize(("path", "body"), [("/api/voice", CALL), ("/api/sms", TEXT)])
async def test_a_one_off_contact_needs_what_the_account_requires(
    api: Api, sender: Client, path: str, body: Mapping[str, object]
) -> None:
    await require(api, sender, require_consent=True)
    refused = await sender("POST", path, body)
    assert (refused.status, refused.error["fields"]["reason"]) == (400, "no_consent")
    assert (await sender("POST", "/api/consents", {"phone": PHONE, "class": "express"})).status == 201
    assert (await sender("POST", path, body)).status == 400
    assert (await sender("POST", path, body | {"purpose": "informational"})).status == 201
    await sender("POST", "/api/consents", {"phone": PHONE, "class": "express_written"})
    assert (await sender("POST", path, body)).status == 201

    await require(api, sender, require_registry=True)
    refused = await sender("POST", path, body)
    assert (refused.status, refused.error["fields"]["reason"]) == (400, "registry_missing")


async def test_a_reply_to_somebody_who_wrote_is_exempt(api: Api, sender: Client) -> None:
    await contacted(api, sender, 3)
    await require(api, sender, require_consent=True, require_registry=True)
    await run(
        api,
        "insert into inbound_messages (id, account_id, did_id, from_number, to_number, body, segments, carrier,"
        " carrier_id, received_at) values (1, :id, 1, :phone, :to, 'Hello?', 1, 'x', 'x', :at)",
        id=sender.account_id, phone=PHONE, to=FROM, at=api.runtime.clock.now(),
    )  # fmt: skip
    assert (await sender("POST", "/api/sms", TEXT)).status == 201


async def test_a_text_to_a_suppressed_number_is_accepted_whatever_else_bars_it(api: Api, sender: Client) -> None:
    await contacted(api, sender, 3)
    await sender("POST", "/api/suppression", {"phone": PHONE})
    assert (await sender("POST", "/api/sms", TEXT)).status == 201


@pytest.mark.parametrize("action", ["start", "resume"])
async def test_a_campaign_that_must_ask_a_registry_does_not_start_without_a_copy(
    api: Api, client: Client, action: str
) -> None:
    await require(api, client, require_registry=True)
    marketing, informational = await client.campaign(), await client.campaign(purpose="informational")
    if action == "resume":
        await run(api, "update campaigns set status = 'paused'")
    refused = await client("POST", f"/api/campaigns/{marketing}/{action}")
    assert (refused.status, set(refused.error["fields"])) == (400, {"registry"})
    assert "carillon dnc load FILE --registry national" in refused.error["message"]
    assert (await client("POST", f"/api/campaigns/{informational}/{action}")).status == 200


async def test_a_campaigns_cap_is_kept_and_shown(client: Client) -> None:
    campaign = await client.campaign(frequencyCap={"max": 1, "per": "2d"})
    assert (await client("GET", f"/api/campaigns/{campaign}")).json["frequencyCap"] == {"max": 1, "per": "2d"}


async def test_many_clients_suppress_the_same_numbers_at_once(client: Client) -> None:
    phones = [f"+1212{n:07d}" for n in range(5_550_000, 5_550_120)]
    bodies = [{"phones": phones}, {"phones": phones[::-1]}, *({"phone": phone} for phone in phones[:6])]
    answers = await asyncio.gather(*(client("POST", "/api/suppression", body) for body in bodies))
    assert {answer.status for answer in answers} == {201}
    assert sum(answer.json["added"] for answer in answers) == len(phones)


async def test_a_list_does_not_hide_that_the_person_opted_out(api: Api, client: Client) -> None:
    await opted_out(api, client, suppressions.SMS_KEYWORD)
    await client("POST", "/api/suppression", {"phone": PHONE, "source": "api"})
    assert (await client("DELETE", f"/api/suppression/{PHONE}")).status == 400
    assert (await client("DELETE", f"/api/suppression/{PHONE}?reason=signed+up+again")).status == 200
