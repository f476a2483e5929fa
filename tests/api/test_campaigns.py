"""Reference 004, step by step, and the rules of its states."""

import pytest
from sqlalchemy import text

from api_min.wake import LIST
from engine.clock import Clock
from engine.ids import decode
from engine.rules.campaign import CampaignStatus
from engine.store import accounts, audit, campaigns
from tests.api.conftest import Serve
from tests.api.harness import Api, Client

VOICE = {
    "name": "Q1 SoCal Outreach",
    "channel": "voice",
    "mode": {
        "ai": True,
        "voicemailAudioUrl": "https://example.com/vm.mp3",
        "calls_per_second": 10,
        "max_retries": 2,
        "retry_delay": "4h",
    },
    "callerIds": ["+19495551000", "+17145551000"],
    "callerIdStrategy": {"selection": "health_score", "local_presence": True},
    "schedule": {"timezone": "America/Los_Angeles", "startHour": 9, "endHour": 19, "days": [1, 2, 3, 4, 5]},
}
SMS = {
    "name": "March Follow-Up Texts",
    "channel": "sms",
    "mode": {"message": "Hi, a follow-up. Reply YES."},
    "callerIds": ["+19495551000", "+17145551000"],
    "schedule": {"timezone": "America/Los_Angeles"},
}
AGENT = {"kind": "ws_media", "url": "ws://127.0.0.1:1/agent"}
PHONES = ["+17145551001", "+16195551002", "+18185551003"]
STATS = {
    *("total", "queued", "dialing", "completed", "failed", "cancelled", "noAnswer"),
    *("busy", "voicemail", "humanConnected", "sending", "sent", "delivered", "progress"),
}


@pytest.fixture
async def ready(api: Api) -> Client:
    """A client whose account has an agent, so that `ai` campaigns may start."""
    client = await api.client()
    async with api.runtime.db.begin() as conn:
        await accounts.set_agent(conn, client.account_id, AGENT)
    return client


async def test_the_sequence_of_the_reference(ready: Client) -> None:
    created = await ready("POST", "/api/campaigns", VOICE)
    assert created.status == 201
    campaign_id = created.json["id"]
    shown = {"id": campaign_id, "name": "Q1 SoCal Outreach", "status": "created", "channel": "voice"}
    assert created.json == shown

    added = await ready("POST", f"/api/campaigns/{campaign_id}/prospects", {"phones": PHONES})
    assert (added.status, added.json) == (200, {"added": 3})

    listed = await ready("GET", f"/api/campaigns/{campaign_id}/prospects")
    assert set(listed.json) == {"prospects"}
    assert [set(row) for row in listed.json["prospects"]] == [{"id", "campaignId", "phone", "status"}] * 3
    assert [row["phone"] for row in listed.json["prospects"]] == PHONES
    assert {(row["campaignId"], row["status"]) for row in listed.json["prospects"]} == {(campaign_id, "queued")}

    for action, status in (("start", "dialing"), ("pause", "paused"), ("resume", "dialing"), ("cancel", "cancelled")):
        moved = await ready("POST", f"/api/campaigns/{campaign_id}/{action}")
        assert (moved.status, moved.json) == (200, shown | {"status": status})

    stats = (await ready("GET", f"/api/campaigns/{campaign_id}/stats")).json
    assert set(stats) >= STATS
    assert (stats["total"], stats["queued"], stats["cancelled"], stats["progress"]) == (3, 0, 3, 100)

    one = await ready("GET", f"/api/campaigns/{campaign_id}")
    assert one.json["stats"] == stats
    assert {name: one.json[name] for name in shown} == shown | {"status": "cancelled"}
    assert {name: one.json[name] for name in VOICE} == VOICE

    texts = await ready("POST", "/api/campaigns", SMS)
    both = await ready("GET", "/api/campaigns")
    assert both.json == {"campaigns": [shown | {"status": "cancelled"}, texts.json]}


async def test_a_purpose_is_kept_and_an_emergency_needs_leave(serve: Serve) -> None:
    api = await serve(Clock())
    client, live = await api.client(), await api.client(is_live=True)
    async with api.runtime.db.begin() as conn:
        await conn.execute(
            text("update accounts set settings = cast(:settings as jsonb) where id = :id"),
            {"id": live.account_id, "settings": '{"carrier": "simulated-command"}'},
        )
    for purpose in ("marketing", "informational", "emergency"):
        created = await client("POST", "/api/campaigns", {"name": "x", "purpose": purpose})
        assert (await client("GET", f"/api/campaigns/{created.json['id']}")).json["purpose"] == purpose
    assert (await client("POST", "/api/campaigns", {"name": "x", "purpose": "fun"})).status == 400

    refused = await live("POST", "/api/campaigns", {"name": "x", "purpose": "emergency"})
    assert (refused.status, set(refused.error["fields"])) == (400, {"purpose"})
    async with api.runtime.db.begin() as conn:
        await conn.execute(text("""update accounts set settings = settings || '{"emergency"\\: true}'"""))
    assert (await live("POST", "/api/campaigns", {"name": "x", "purpose": "emergency"})).status == 201


async def test_every_path_has_its_bare_alias(client: Client) -> None:
    created = await client("POST", "/campaigns", {"name": "bare"})
    campaign_id = created.json["id"]
    for path in ("/campaigns", f"/campaigns/{campaign_id}", f"/campaigns/{campaign_id}/stats", "/dids", "/keys"):
        bare, full = await client("GET", path), await client("GET", f"/api{path}")
        assert (bare.status, bare.json) == (200, full.json)


async def test_a_name_is_all_that_a_campaign_needs(client: Client) -> None:
    created = await client("POST", "/api/campaigns", {"name": "x"})
    assert (created.status, created.json["channel"]) == (201, "voice")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": 7}, "name"),
        ({"name": "x", "channel": "fax"}, "channel"),
        ({"name": "x", "callerIds": ["+1949555100a"]}, "callerIds[0]"),
        ({"name": "x", "schedule": {"timezone": "Mars/Olympus"}}, "schedule.timezone"),
        ({"name": "x", "schedule": {"startHour": 24}}, "schedule.startHour"),
        ({"name": "x", "schedule": {"startHour": 9, "endHour": 9}}, "schedule.endHour"),
        ({"name": "x", "schedule": {"days": [0]}}, "schedule.days"),
        ({"name": "x", "mode": {"retry_delay": "soon"}}, "mode.retry_delay"),
        ({"name": "x", "mode": {"calls_per_second": 0}}, "mode.calls_per_second"),
        ({"name": "x", "mode": {"calls_per_secnd": 5}}, "mode.calls_per_secnd"),
        ({"name": "x", "colour": "red"}, "colour"),
        ([], "body"),
        ("text", "body"),
    ],
)
async def test_a_wrong_campaign_is_refused_and_the_field_named(client: Client, body: object, field: str) -> None:
    answer = await client("POST", "/api/campaigns", body)
    assert (answer.status, answer.error["code"]) == (400, "validation_error")
    assert field in answer.error["fields"]
    assert (await client("GET", "/api/campaigns")).json == {"campaigns": []}


async def test_what_a_start_needs(client: Client) -> None:
    texts = await client.campaign(channel="sms")
    refused = await client("POST", f"/api/campaigns/{texts}/start")
    assert (refused.status, list(refused.error["fields"])) == (400, ["mode.message"])
    talk = await client.campaign(mode={"ai": True})
    refused = await client("POST", f"/api/campaigns/{talk}/start")
    assert (refused.status, list(refused.error["fields"])) == (400, ["mode.agent"])
    own_agent = await client.campaign(mode={"ai": True, "agent": AGENT})
    assert (await client("POST", f"/api/campaigns/{own_agent}/start")).status == 200


PATHS: dict[CampaignStatus, list[str]] = {
    CampaignStatus.CREATED: [],
    CampaignStatus.DIALING: ["start"],
    CampaignStatus.PAUSED: ["start", "pause"],
    CampaignStatus.CANCELLED: ["cancel"],
}
ALLOWED = {
    CampaignStatus.CREATED: {"start", "cancel"},
    CampaignStatus.DIALING: {"pause", "cancel"},
    CampaignStatus.PAUSED: {"resume", "cancel"},
    CampaignStatus.CANCELLED: set[str](),
}


@pytest.mark.parametrize("status", PATHS)
async def test_a_wrong_state_is_a_conflict_that_says_what_is_allowed(client: Client, status: CampaignStatus) -> None:
    for action in ("start", "pause", "resume", "cancel"):
        campaign_id = await client.campaign()
        for step in PATHS[status]:
            await client("POST", f"/api/campaigns/{campaign_id}/{step}")
        answer = await client("POST", f"/api/campaigns/{campaign_id}/{action}")
        if action in ALLOWED[status]:
            assert answer.status == 200
            continue
        assert (answer.status, answer.error["code"]) == (409, "conflict")
        assert answer.error["fields"]["status"] == status
        assert set(answer.error["fields"]["allowed"]) == ALLOWED[status]
        assert status in answer.error["message"]


async def test_prospects_are_taken_only_before_the_start_and_in_a_pause(api: Api, client: Client) -> None:
    campaign_id = await client.campaign()
    path = f"/api/campaigns/{campaign_id}/prospects"
    assert (await client("POST", path, {"phones": PHONES[:1]})).status == 200
    await client("POST", f"/api/campaigns/{campaign_id}/start")
    refused = await client("POST", path, {"phones": PHONES})
    assert (refused.status, refused.error["fields"]["status"]) == (409, "dialing")
    assert (await client("POST", f"{path}/import", data="phone\n+17145551001\n")).status == 409
    await client("POST", f"/api/campaigns/{campaign_id}/pause")
    assert (await client("POST", path, {"phones": PHONES})).json == {"added": 2}
    await client("POST", f"/api/campaigns/{campaign_id}/cancel")
    assert (await client("POST", path, {"phones": PHONES})).status == 409


async def test_lists_in_pages(client: Client) -> None:
    made = [await client.campaign(name=f"c{n}") for n in range(5)]
    seen: list[str] = []
    query = {"limit": "2"}
    while query:
        page = (await client("GET", "/api/campaigns", params=query)).json
        assert len(page["campaigns"]) <= 2
        seen += [row["id"] for row in page["campaigns"]]
        query = {"limit": "2", "cursor": page["nextCursor"]} if page["nextCursor"] else {}
    assert seen == sorted(made)
    for wrong in ("limit=0", "limit=1001", "limit=x", "cursor=camp_zz", "cursor=pros_0000000000001"):
        assert (await client("GET", f"/api/campaigns?{wrong}")).error["code"] == "validation_error"


async def test_start_and_resume_wake_the_coordinator(api: Api, client: Client) -> None:
    campaign_id = await client.campaign()
    for action in ("start", "pause", "resume"):
        await client("POST", f"/api/campaigns/{campaign_id}/{action}")
    hint = str(decode("camp", campaign_id)).encode()
    assert await api.runtime.redis.lrange(LIST, 0, -1) == [hint, hint]


async def test_test_keys_use_the_test_carrier_and_live_keys_the_accounts(serve: Serve) -> None:
    api = await serve(Clock())
    test = await api.client()
    live = await api.client(account_id=test.account_id, is_live=True)
    refused = await live("POST", "/api/campaigns", {"name": "real"})
    assert (refused.status, list(refused.error["fields"])) == (400, ["carrier"])
    campaign_id = decode("camp", await test.campaign())
    assert campaign_id is not None
    async with api.runtime.db.connect() as conn:
        campaign = await campaigns.get(conn, test.account_id, campaign_id)
    assert (campaign.carrier, campaign.is_live) == (api.runtime.settings.test_carrier, False)


async def test_actions_are_audited_with_the_key(api: Api, client: Client) -> None:
    campaign_id = await client.campaign()
    await client("POST", f"/api/campaigns/{campaign_id}/start")
    async with api.runtime.db.connect() as conn:
        entries = await audit.page(conn, client.account_id, 10)
    assert [(entry.action, entry.subject) for entry in entries] == [
        ("campaign.start", campaign_id),
        ("campaign.create", campaign_id),
    ]
    assert all(entry.actor.startswith("key_") for entry in entries)
