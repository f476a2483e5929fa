"""One thing of every kind that a path of the API can name, made as clients make them."""

from collections.abc import Mapping

from tests.api.harness import Api, Client

DID = "+19495551000"
SECOND_DID = "+19495551001"


async def make_things(api: Api, key: str) -> Mapping[str, str]:
    """Path parameter → what exists of it in the account of the key, which may do everything and owns `DID`."""
    client = Client(api.session, api.url, key)
    made: dict[str, str] = {"number": DID, "n": "1", "log_id": "log_0000000000001"}
    made["campaign_id"] = await client.campaign(
        channel="sms", mode={"message": "Hello {{first_name|there}}"}, callerIds=[DID]
    )
    for parameter, path, body in (
        ("call_id", "/api/voice", {"from": DID, "to": "+14155550123"}),
        ("message_id", "/api/sms", {"from": DID, "to": "+14155550123", "message": "Your order is ready."}),
        ("webhook_id", "/api/webhooks", {"url": "https://example.com/", "events": ["*"]}),
        ("key_id", "/api/keys", {"name": "other", "scopes": ["campaigns:read"]}),
        ("team_id", "/api/teams", {"name": "team"}),
        ("user_id", "/api/users", {"name": "user"}),
        ("line_id", "/api/lines", {"name": "line"}),
    ):
        answer = await client("POST", path, body)
        assert answer.status == 201, (path, answer.text)
        made[parameter] = answer.json["id"]
    made["operation_id"] = (await client("GET", "/api/dids/search")).json["id"]
    phones = {"phones": ["+14155550100", "+14155550101"]}
    assert (await client("POST", f"/api/campaigns/{made['campaign_id']}/prospects", phones)).status == 200
    made["prospect_id"], made["phone"] = phones["phones"][0], "+14155550177"
    consent = {"phone": made["phone"], "class": "express", "source": "web form"}
    for path, body in (("/api/suppression", {"phone": made["phone"]}), ("/api/consents", consent)):
        answer = await client("POST", path, body)
        assert answer.status == 201, (path, answer.text)
    return made
