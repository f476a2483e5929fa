"""Messages over HTTP: what is accepted, what is refused and why, how they are read and listed."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from api_min.wake import LIST
from engine.carriers.simulated_command import SimulatedCommand
from engine.clock import starting_at
from engine.ids import encode, new_id
from engine.store import messages
from tests.api.conftest import Serve
from tests.api.harness import Api, Client

FROM, VOICE_ONLY, BURNED = "+14155559876", "+14155559877", "+14155559878"
TO = "+14155551234"
# the sample of reference 003
SAMPLE = {"from": FROM, "to": TO, "message": "Your appointment is confirmed for tomorrow at 2pm."}
NIGHT_IN_LOS_ANGELES = datetime(2026, 3, 11, 5, 0, tzinfo=UTC)  # 22:00 the day before
EVENING_IN_LOS_ANGELES = datetime(2026, 3, 12, 2, 30, tzinfo=UTC)  # 19:30: calls may go out, texts not


@pytest.fixture
async def client(api: Api) -> Client:
    return await ready(api)


async def ready(api: Api, *, is_live: bool = False) -> Client:
    client = await api.client(numbers=[FROM, VOICE_ONLY, BURNED], is_live=is_live)
    await run(api, f"update dids set capabilities = '{{voice}}' where number = '{VOICE_ONLY}'")
    await run(api, f"update dids set state = 'burned' where number = '{BURNED}'")
    return client


async def run(api: Api, statement: str, **params: object) -> None:
    async with api.runtime.db.begin() as conn:
        await conn.execute(text(statement), params)


async def send(client: Client, **changes: object) -> str:
    answer = await client("POST", "/api/sms", SAMPLE | changes)
    assert answer.status == 201, answer.text
    return str(answer.json["id"])


# ── sending ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_sample_of_the_reference_is_queued(client: Client, api: Api) -> None:
    made = await client("POST", "/api/sms", SAMPLE)
    assert made.status == 201
    assert made.json.pop("id").startswith("msg_")
    assert made.json == {
        "status": "queued",
        "segments": 1,
        "encoding": "GSM-7",
        "warnings": ["brand.unknown", "optout.missing"],
    }
    assert await api.runtime.redis.llen(LIST) == 1  # a coordinator was told
    assert (await client("GET", "/api/campaigns")).json == {"campaigns": []}  # what holds it stays hidden


async def test_a_message_is_read_back(client: Client) -> None:
    message_id = await send(client)
    read = (await client("GET", f"/api/sms/{message_id}")).json
    assert read.pop("createdAt").startswith("2026-03-11T18:00")
    assert read == {
        "id": message_id,
        "direction": "outbound",
        **SAMPLE,
        "status": "queued",
        "segments": 1,
        "encoding": "GSM-7",
        "mediaUrls": [],
        **dict.fromkeys(("errorCode", "reason", "sentAt", "deliveredAt", "failedAt"), None),
        **dict.fromkeys(("nextAttemptAt", "campaignId", "prospectId"), None),
        "nextAttemptAt": read["nextAttemptAt"],
    }


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"to": "4155551234"}, {"to"}),
        ({"from": "(415) 555-9876", "to": "x"}, {"from", "to"}),
        ({"message": ""}, {"message"}),
        ({"message": " \n "}, {"message"}),
        ({"message": "a" * 1_601}, {"message"}),
        ({"message": 7}, {"message"}),
        ({"message": "\U0001f600" * 1_600}, {"message", "segments"}),  # 49 parts
        ({"from": "+14155550000"}, {"from"}),
        ({"from": VOICE_ONLY}, {"from"}),
        ({"from": BURNED}, {"from"}),
        ({"to": "+18005551234"}, {"to"}),  # no time zone: toll-free
        ({"mediaUrls": ["http://example.com/a.jpg"]}, {"mediaUrls[0]"}),
        ({"mediaUrls": ["https://example.com/a.jpg", "https://", "https://a b/", "file:///etc/passwd"]},
         {"mediaUrls[1]", "mediaUrls[2]", "mediaUrls[3]"}),
        ({"mediaUrls": ["https://example.com/a.jpg"] * 11}, {"mediaUrls"}),
        ({"mediaUrl": "https://example.com/a.jpg"}, {"mediaUrl"}),
    ],
)  # fmt: skip
async def test_what_is_refused_names_its_fields(client: Client, changes: dict[str, object], fields: set[str]) -> None:
    refused = await client("POST", "/api/sms", SAMPLE | changes)
    assert (refused.status, refused.error["code"]) == (400, "validation_error"), refused.text
    assert refused.error["fields"].keys() == fields
    assert (await client("GET", "/api/sms")).json["messages"] == []


async def test_a_missing_field_is_named(client: Client) -> None:
    refused = await client("POST", "/api/sms", {"from": FROM})
    assert (refused.status, refused.error["fields"].keys()) == (400, {"to", "message"})


@pytest.mark.parametrize("length", [1, 1_600])
async def test_1_to_1600_characters_are_taken(client: Client, length: int) -> None:
    made = await client("POST", "/api/sms", SAMPLE | {"message": "a" * length})
    assert (made.status, made.json["segments"]) == (201, {1: 1, 1_600: 11}[length])


async def test_media_make_it_an_mms(client: Client) -> None:
    urls = [f"https://example.com/{n}.jpg" for n in range(10)]
    made = await client("POST", "/api/sms", SAMPLE | {"mediaUrls": urls})
    assert (made.status, made.json["segments"], made.json["encoding"]) == (201, 1, None)
    read = (await client("GET", f"/api/sms/{made.json['id']}")).json
    assert (read["mediaUrls"], read["segments"], read["encoding"]) == (urls, 1, None)
    assert len(urls) == SimulatedCommand.caps.most_media


async def test_a_text_that_carriers_refuse_is_a_422_that_names_the_rules(client: Client) -> None:
    refused = await client("POST", "/api/sms", SAMPLE | {"message": "Vapes and more at https://bit.ly/x"})
    assert (refused.status, refused.error["code"]) == (422, "content_rejected")
    assert refused.error["fields"]["rules"] == ["prohibited.tobacco", "link.shortener"]
    assert "bit.ly is a public link shortener" in refused.error["message"]
    assert (await client("GET", "/api/sms")).json["messages"] == []
    described = (await client("GET", "/openapi.json")).json["paths"]
    assert "422" in described["/api/sms"]["post"]["responses"]
    assert "422" not in described["/api/voice"]["post"]["responses"]


async def test_an_accounts_own_levels_hold(client: Client, api: Api) -> None:
    settings = '{"content": {"rules": {"link.shortener": "allow", "optout": "block"}}}'
    await run(api, "update accounts set settings = cast(:s as jsonb) where id = :id", s=settings, id=client.account_id)
    assert (await client("POST", "/api/sms", SAMPLE)).error["fields"]["rules"] == ["optout.missing"]
    await send(client, message="See https://bit.ly/x. Reply STOP to opt out")


@pytest.mark.parametrize("at", [NIGHT_IN_LOS_ANGELES, EVENING_IN_LOS_ANGELES])
async def test_outside_legal_hours_the_next_opening_is_named(serve: Serve, at: datetime) -> None:
    api = await serve(starting_at(at, speed=1.0))
    client = await ready(api)
    refused = await client("POST", "/api/sms", SAMPLE)
    assert (refused.status, refused.error["code"]) == (400, "validation_error")
    day = 11 if at is NIGHT_IN_LOS_ANGELES else 12
    assert refused.error["fields"]["next_open_at"] == f"2026-03-{day}T15:00:00.000Z"  # 8:00 in California
    assert await api.runtime.redis.llen(LIST) == 0


async def test_a_repeated_request_is_one_message(client: Client, api: Api) -> None:
    headers = {"Idempotency-Key": "order-7"}
    first = await client("POST", "/api/sms", SAMPLE, headers=headers)
    again = await client("POST", "/api/sms", SAMPLE, headers=headers)
    assert (again.json, again.headers["Idempotency-Replay"]) == (first.json, "true")
    # the api may die after its commit and before its answer is kept: the repeat finds the message
    await run(api, "delete from idempotency_keys")
    lost = await client("POST", "/api/sms", SAMPLE, headers=headers)
    assert lost.json["id"] == first.json["id"]
    assert len((await client("GET", "/api/sms")).json["messages"]) == 1


async def test_a_live_key_needs_a_carrier(api: Api) -> None:
    client = await ready(api, is_live=False)
    await run(api, "update api_keys set is_live = true where account_id = :id", id=client.account_id)
    refused = await client("POST", "/api/sms", SAMPLE)
    assert (refused.status, refused.error["fields"].keys()) == (400, {"carrier"})


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def receive(api: Api, client: Client, said: str, sender: str = TO, **more: object) -> str:
    number = new_id()
    params: dict[str, object] = {"campaign": None, "prospect": None} | more
    await run(
        api,
        "insert into inbound_messages (id, account_id, did_id, from_number, to_number, body, segments, carrier,"
        " carrier_id, campaign_id, prospect_id, received_at) values (:id, :account, 1, :sender, :to, :said, 1, 'x',"
        " cast(:id as text), :campaign, :prospect, :at)",
        id=number,
        account=client.account_id,
        sender=sender,
        to=FROM,
        said=said,
        at=api.runtime.clock.now(),
        **params,
    )
    return encode("msg", number)


async def listed(client: Client, query: str = "") -> list[str]:
    answer = await client("GET", f"/api/sms{query}")
    assert answer.status == 200, answer.text
    return [message["id"] for message in answer.json["messages"]]


async def test_what_went_out_and_came_in_is_one_list_newest_first(client: Client, api: Api) -> None:
    ids = []
    for n in range(3):
        ids += [await send(client, message=f"Hello {n}"), await receive(api, client, f"Hi {n}")]
    ids.reverse()
    assert await listed(client) == ids
    assert await listed(client, "?direction=inbound") == ids[::2]
    assert await listed(client, "?direction=outbound") == ids[1::2]
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await client("GET", f"/api/sms?limit=2{cursor}")).json
        seen += [message["id"] for message in page["messages"]]
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"
    assert seen == ids
    read = (await client("GET", f"/api/sms/{ids[0]}")).json
    assert (read["direction"], read["status"], read["from"], read["to"]) == ("inbound", "received", TO, FROM)


async def test_lists_are_filtered_by_either_number(client: Client, api: Api) -> None:
    async with api.runtime.db.begin() as conn:
        await conn.execute(text(f"update dids set state = 'active' where number = '{BURNED}'"))
    first, second = await send(client), await send(client, to="+14155551299", **{"from": BURNED})
    third = await receive(api, client, "Hi", sender="+14155551299")
    assert await listed(client, "?to=%2B14155551299") == [second]
    assert await listed(client, f"?from=%2B{BURNED[1:]}") == [second]
    assert await listed(client, "?from=%2B14155551299") == [third]
    assert await listed(client, f"?to=%2B{FROM[1:]}&direction=inbound") == [third]
    assert await listed(client, f"?from=%2B{FROM[1:]}&to=%2B{TO[1:]}") == [first]


async def test_a_campaigns_messages_and_the_replies_to_them(client: Client, api: Api) -> None:
    campaign_id = await client.campaign(channel="sms", mode={"message": "Hi {{name|there}}"})
    path = f"/api/campaigns/{campaign_id}"
    await client("POST", f"{path}/prospects", {"phones": ["+14155550101", "+14155550102"]})
    await send(client)
    people = [row["id"].removeprefix("pros_") for row in (await client("GET", f"{path}/prospects")).json["prospects"]]
    async with api.runtime.db.begin() as conn:
        number = (await conn.execute(text("select id from campaigns where not is_direct"))).scalar_one()
    reply_id = await receive(api, client, "Yes", campaign=number)
    query = f"?campaignId={campaign_id}"
    assert await listed(client, query) == [reply_id, f"msg_{people[1]}", f"msg_{people[0]}"]
    assert await listed(client, f"{query}&direction=inbound&from=%2B{TO[1:]}") == [reply_id]
    assert await listed(client, f"{query}&to=%2B14155550101") == [f"msg_{people[0]}"]
    (row,) = (await client("GET", f"/api/sms{query}&to=%2B14155550101")).json["messages"]
    assert (row["message"], row["status"], row["from"], row["campaignId"]) == ("Hi there", "queued", None, campaign_id)
    stranger = await api.client()
    assert (await stranger("GET", f"/api/sms{query}")).status == 404
    assert (await stranger("GET", f"/api/sms/{reply_id}")).status == 404


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("direction=sideways", "direction"),
        ("from=12", "from"),
        ("to=+14155551234", "to"),  # a plus that became a blank
        ("limit=0", "limit"),
        ("limit=x", "limit"),
        ("cursor=camp_0000000000001", "cursor"),
        ("campaignId=camp_0000000000001&from=%2B14155551234", "from"),
    ],
)
async def test_a_list_says_what_it_cannot_do(client: Client, query: str, field: str) -> None:
    refused = await client("GET", f"/api/sms?{query}")
    assert (refused.status, list(refused.error["fields"])) == (400, [field])


async def test_an_unknown_message_is_not_found(client: Client) -> None:
    for name in ("msg_0000000000001", "msg_x", "call_0000000000001", "a1b2c3d4-e5f6-7890-abcd-ef1234567890"):
        assert (await client("GET", f"/api/sms/{name}")).status == 404


async def test_no_list_scans_what_it_does_not_show(api: Api, client: Client) -> None:
    """Each filter has its index, so that a hundred million messages cost what a page of them costs."""
    await send(client)
    wanted = messages.Wanted(client.account_id, 100, before=new_id())
    for changes in ({}, {"to": TO}, {"from_number": FROM}):
        asked = messages.Wanted(**{name: getattr(wanted, name) for name in messages.Wanted.__slots__} | changes)
        for statement in (messages._outbound_page(asked), messages._inbound_page(asked)):
            async with api.runtime.db.begin() as conn:
                await conn.execute(text("set local enable_seqscan = off"))
                plan = await conn.execute(text(f"explain {statement.text}"), messages._params(asked))
                lines = "\n".join(str(row[0]) for row in plan)
            assert "Seq Scan on prospects" not in lines
            assert "Seq Scan on inbound_messages" not in lines


async def test_media_that_came_in_are_ours_to_serve(client: Client, api: Api) -> None:
    message_id = await receive(api, client, "Look")
    await run(api, """update inbound_messages set components = '[{"url"\\: "https\\://carrier/1"}, {"url"\\: "x"}]'""")
    read = (await client("GET", f"/api/sms/{message_id}")).json
    base = f"{api.runtime.settings.public_url}/api/sms/{message_id}/components"
    assert (read["mediaUrls"], read["encoding"]) == ([f"{base}/1", f"{base}/2"], None)
    assert "carrier" not in str(read)


async def test_a_message_that_an_opt_out_caught_in_the_queue_is_suppressed(client: Client, api: Api) -> None:
    message_id = await send(client)
    await run(api, "update prospects set state = 5, reason = 'opted_out', next_attempt_at = 'infinity'")
    read = (await client("GET", f"/api/sms/{message_id}")).json
    assert (read["status"], read["reason"]) == ("suppressed", "opted_out")
