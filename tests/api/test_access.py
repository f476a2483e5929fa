"""Keys, scopes, rates and tenants (P7)."""

import asyncio
import re
import time

import pytest
from redis.asyncio import Redis

from tests.api.conftest import Serve
from tests.api.harness import DEADLINE_S, Api, Client

DID = "+19495551000"
CALL = {"from": DID, "to": "+14155550123"}
TEXT = {**CALL, "message": "Your order is ready."}

# route → the one scope that opens it
SCOPES = {
    ("GET", "/api/campaigns"): "campaigns:read",
    ("GET", "/api/campaigns/{id}"): "campaigns:read",
    ("GET", "/api/campaigns/{id}/stats"): "campaigns:read",
    ("GET", "/api/campaigns/{id}/prospects"): "campaigns:read",
    ("POST", "/api/campaigns"): "campaigns:write",
    ("POST", "/api/campaigns/{id}/start"): "campaigns:write",
    ("POST", "/api/campaigns/{id}/pause"): "campaigns:write",
    ("POST", "/api/campaigns/{id}/resume"): "campaigns:write",
    ("POST", "/api/campaigns/{id}/cancel"): "campaigns:write",
    ("POST", "/api/campaigns/{id}/prospects"): "campaigns:write",
    ("POST", "/api/campaigns/{id}/prospects/import"): "campaigns:write",
    ("POST", "/api/campaigns/{id}/preview"): "campaigns:read",
    ("GET", "/api/campaigns/{id}/forecast"): "campaigns:read",
    ("GET", "/api/campaigns/{id}/prospects/{id}/explain"): "campaigns:read",
    ("GET", "/api/suppression"): "campaigns:read",
    ("POST", "/api/suppression"): "campaigns:write",
    ("DELETE", "/api/suppression/{id}"): "campaigns:write",
    ("GET", "/api/consents"): "campaigns:read",
    ("POST", "/api/consents"): "campaigns:write",
    ("DELETE", "/api/consents/{id}"): "campaigns:write",
    ("POST", "/api/sms"): "sms:send",
    ("GET", "/api/sms"): "sms:read",
    ("GET", "/api/sms/{id}"): "sms:read",
    ("POST", "/api/voice"): "voice:call",
    ("GET", "/api/voice/{id}"): "voice:read",
    ("GET", "/api/sms/{id}/components"): "sms:read",
    ("GET", "/api/sms/{id}/components/1"): "sms:read",
    ("GET", "/api/dids"): "dids:read",
    ("POST", "/api/dids"): "dids:manage",
    ("PATCH", "/api/dids/{id}"): "dids:manage",
    ("GET", "/api/teams"): "dids:read",
    ("POST", "/api/teams"): "*",
    ("DELETE", "/api/teams/{id}"): "*",
    ("GET", "/api/users"): "dids:read",
    ("POST", "/api/users"): "*",
    ("DELETE", "/api/users/{id}"): "*",
    ("GET", "/api/lines"): "dids:read",
    ("POST", "/api/lines"): "*",
    ("DELETE", "/api/lines/{id}"): "*",
    ("GET", "/api/webhooks"): "webhooks:manage",
    ("POST", "/api/webhooks"): "webhooks:manage",
    ("GET", "/api/webhooks/{id}"): "webhooks:manage",
    ("PATCH", "/api/webhooks/{id}"): "webhooks:manage",
    ("DELETE", "/api/webhooks/{id}"): "webhooks:manage",
    ("GET", "/api/webhooks/{id}/logs"): "webhooks:manage",
    ("POST", "/api/webhooks/{id}/test"): "webhooks:manage",
    ("POST", "/api/webhooks/{id}/logs/{id}/redeliver"): "webhooks:manage",
    ("GET", "/api/dids/search"): "dids:read",
    ("POST", "/api/dids/purchase"): "dids:manage",
    ("DELETE", "/api/dids/{id}"): "dids:manage",
    ("GET", "/api/dids/{id}/health"): "dids:read",
    ("GET", "/api/reputation"): "dids:read",
    ("GET", "/api/reputation/{id}"): "dids:read",
    ("GET", "/api/operations/{id}"): "dids:read",
    ("GET", "/api/keys"): "*",
    ("POST", "/api/keys"): "*",
    ("DELETE", "/api/keys/{id}"): "*",
}
# stream → the scope that opens it; "": any key
STREAMS = {"/api/events": "", "/api/v1/sms/stream": "sms:read"}
# open to any key of the account
ANY_KEY = {("GET", "/api/billing/usage")}
BODIES = {
    "/api/campaigns/{id}/preview": {},
    "/api/suppression": {"phone": "+14155550100"},
    "/api/consents": {"phone": "+14155550100", "class": "express", "source": "form"},
    "/api/sms": TEXT,
    "/api/campaigns": {"name": "x"},
    "/api/campaigns/{id}/prospects": {"phones": ["+14155550100"]},
    "/api/voice": CALL,
    "/api/dids": {"number": "+14155550199"},
    "/api/dids/{id}": {"label": "x"},
    "/api/teams": {"name": "x"},
    "/api/users": {"name": "x"},
    "/api/lines": {"name": "x"},
    "/api/dids/purchase": {"numbers": ["+14155550188"]},
    "/api/keys": {"name": "x", "scopes": ["*"]},
    "/api/webhooks": {"url": "https://example.com/", "events": ["*"]},
    "/api/webhooks/{id}": {"active": False},
}
# Streams look at their key themselves; the catalog is documentation.
OTHERS = {
    ("GET", "/api/events"),
    ("GET", "/api/realtime/events"),
    ("GET", "/api/v1/sms/stream"),
    ("GET", "/api/events/catalog"),
    ("GET", "/api/events/asyncapi.json"),
}


def body_of(method: str, template: str) -> object:
    return BODIES.get(template) if method in ("POST", "PATCH") else None


async def test_the_table_above_names_every_route(client: Client) -> None:
    paths = (await client("GET", "/openapi.json")).json["paths"]
    named = {path: re.sub(r"\{\w+\}", "{id}", path.replace("{n}", "1")) for path in paths}
    routes = {(method.upper(), named[path]) for path, each in paths.items() for method in each}
    assert routes - OTHERS == SCOPES.keys() | ANY_KEY


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Basic dTpw", "Bearer tk_test_nobody"])
async def test_without_a_working_key_every_route_answers_401(api: Api, authorization: str | None) -> None:
    client = await api.client()
    for method, template in (*SCOPES, *ANY_KEY):
        path = template.format(id="camp_0000000000001")
        answer = await client(method, path, data=b"{", headers={"Authorization": authorization})
        assert (answer.status, answer.error["code"]) == (401, "unauthorized"), path
        assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_key_in_the_query_opens_no_route_but_streams(client: Client) -> None:
    answer = await client("GET", f"/api/campaigns?token={client.key}", headers={"Authorization": None})
    assert answer.status == 401


async def test_each_route_wants_its_scope_and_names_it(serve: Serve) -> None:
    api = await serve(operation_wait_s=0.01)  # no worker is there
    owner = await api.client(numbers=[DID])
    everything = sorted({*SCOPES.values()} - {"*"})
    for (method, template), scope in SCOPES.items():
        path = template.format(id="camp_0000000000001")
        others = await api.client([each for each in everything if each != scope], account_id=owner.account_id)
        refused = await others(method, path, body_of(method, template))
        assert (refused.status, refused.error["code"]) == (403, "forbidden"), (method, path)
        assert refused.error["fields"] == {"scope": scope}
        assert scope in refused.error["message"]
        holder = await api.client([scope], account_id=owner.account_id)
        assert (await holder(method, path, body_of(method, template))).status not in {401, 403}


@pytest.mark.parametrize(("path", "scope"), STREAMS.items())
async def test_a_stream_opens_to_its_scope_alone(api: Api, path: str, scope: str) -> None:
    owner = await api.client(["campaigns:read"])
    holder = await api.client([scope or "campaigns:write"], account_id=owner.account_id)
    if scope:
        refused = await owner("GET", path)
        assert (refused.status, refused.error["code"], refused.error["fields"]) == (403, "forbidden", {"scope": scope})
    for query, headers in ((f"?token={holder.key}", {}), ("", {"Authorization": f"Bearer {holder.key}"})):
        async with api.session.get(f"{api.url}{path}{query}", headers=headers) as answer:
            assert (answer.status, answer.content_type) == (200, "text/event-stream")
            assert answer.headers["X-Request-Id"]


async def test_another_tenant_finds_nothing(serve: Serve) -> None:
    api = await serve(operation_wait_s=0.01)
    owner, stranger = await api.client(numbers=[DID]), await api.client()
    campaign_id = await owner.campaign()
    await owner("POST", f"/api/campaigns/{campaign_id}/prospects", {"phones": ["+14155550100"]})
    call = await owner("POST", "/api/voice", CALL)
    assert call.status == 201, call.text
    text = await owner("POST", "/api/sms", TEXT)
    assert text.status == 201, text.text
    key_id = (await owner("GET", "/api/keys")).json["keys"][0]["id"]
    things = {"/api/campaigns": campaign_id, "/api/voice": call.json["id"], "/api/keys": key_id, "/api/dids": DID}
    things["/api/sms"] = text.json["id"]
    things["/api/webhooks"] = (await owner("POST", "/api/webhooks", BODIES["/api/webhooks"])).json["id"]
    for path in ("/api/teams", "/api/users", "/api/lines"):
        things[path] = (await owner("POST", path, {"name": "x"})).json["id"]
    operation = (await owner("GET", "/api/dids/search")).json["id"]
    things |= {"/api/reputation": DID, "/api/operations": operation}
    for path in ("/api/suppression", "/api/consents"):
        things[path] = "+14155550100"
        assert (await owner("POST", path, BODIES[path])).status == 201
    for method, template in SCOPES:
        if "{id}" not in template:
            continue
        path = template.format(id=things[template.partition("/{id}")[0]])
        answer = await stranger(method, path, body_of(method, template))
        if (method, template) == ("DELETE", "/api/consents/{id}"):  # it names a person, known or not
            assert (answer.status, answer.json["revoked"]) == (200, 0)
            continue
        assert (answer.status, answer.error["code"]) == (404, "not_found"), (method, path)
    for name in ("campaigns", "dids", "teams", "users", "lines", "webhooks"):
        assert (await stranger("GET", f"/api/{name}")).json == {name: []}
    assert len((await stranger("GET", "/api/keys")).json["keys"]) == 1
    assert (await stranger("GET", "/api/sms")).json == {"messages": [], "nextCursor": None}
    for path, body in (("/api/voice", CALL), ("/api/sms", TEXT)):
        assert (await stranger("POST", path, body)).error["fields"].keys() == {"from"}
    stats = (await owner("GET", f"/api/campaigns/{campaign_id}/stats")).json
    assert (stats["total"], stats["queued"]) == (1, 1)
    assert (await owner("GET", "/api/campaigns")).status == 200  # its key was not revoked


async def test_a_key_is_shown_once_and_works(client: Client) -> None:
    made = await client("POST", "/api/keys", {"name": "crm", "scopes": ["campaigns:read"], "expiresInDays": 1})
    assert made.status == 201
    assert set(made.json) == {"id", "key", "prefix", "name", "scopes", "rateLimit", "expiresAt", "userId", "teamId"}
    assert made.json["key"].startswith(made.json["prefix"])
    assert re.fullmatch(r"tk_test_\w{4}", made.json["prefix"].replace("-", "_"))
    assert (
        await client("GET", "/api/campaigns", headers={"Authorization": f"Bearer {made.json['key']}"})
    ).status == 200
    listed = await client("GET", "/api/keys")
    assert made.json["key"] not in listed.text
    assert made.json["id"] in listed.text


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "x", "scopes": []}, "scopes"),
        ({"name": "x", "scopes": ["root"]}, "scopes"),
        ({"name": "", "scopes": ["*"]}, "name"),
        ({"scopes": ["*"]}, "name"),
        ({"name": "x", "scopes": ["*"], "rateLimit": 0}, "rateLimit"),
        ({"name": "x", "scopes": ["*"], "expiresInDays": "soon"}, "expiresInDays"),
        ({"name": "x", "scopes": ["*"], "expiresInDays": 10**30}, "expiresInDays"),
    ],
)
async def test_a_wrong_key_is_refused(client: Client, body: object, field: str) -> None:
    answer = await client("POST", "/api/keys", body)
    assert (answer.status, list(answer.error["fields"])) == (400, [field])


async def test_a_revoked_key_stops_within_a_second_on_every_process(serve: Serve) -> None:
    here, there = await serve(), await serve()
    owner = await here.client()
    made = (await owner("POST", "/api/keys", {"name": "x", "scopes": ["campaigns:read"]})).json
    victims = [Client(api.session, api.url, made["key"]) for api in (here, there)]
    for victim in victims:
        assert (await victim("GET", "/api/campaigns")).status == 200
    assert (await owner("DELETE", f"/api/keys/{made['id']}")).status == 204
    assert (await victims[0]("GET", "/api/campaigns")).status == 401
    revoked_at = asyncio.get_running_loop().time()
    while (await victims[1]("GET", "/api/campaigns")).status != 401:
        assert asyncio.get_running_loop().time() - revoked_at < 1.5  # the second, and a slow machine's half
    again = await owner("DELETE", f"/api/keys/{made['id']}")
    assert (again.status, again.error["code"]) == (404, "not_found")


async def test_a_key_has_a_rate(api: Api) -> None:
    owner = await api.client()
    made = (await owner("POST", "/api/keys", {"name": "x", "scopes": ["*"], "rateLimit": 3})).json
    slow = Client(api.session, api.url, made["key"])
    assert [(await slow("GET", "/api/campaigns")).status for _ in range(3)] == [200] * 3
    refused = await slow("GET", "/api/campaigns")
    assert (refused.status, refused.error["code"]) == (429, "rate_limited")
    assert 1 <= int(refused.headers["Retry-After"]) <= 21
    assert (await owner("GET", "/api/campaigns")).status == 200


async def test_hosts_whose_clocks_differ_share_the_rate(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two api hosts in turn, one of them a minute ahead: each change of host would fill the bucket anew."""
    client, real_ns, statuses = await api.client(rate_limit=3), time.time_ns, []
    for ahead_ns in (0, 60_000_000_000) * 4:
        monkeypatch.setattr(time, "time_ns", lambda ahead_ns=ahead_ns: real_ns() + ahead_ns)
        statuses.append((await client("GET", "/api/campaigns")).status)
    assert statuses == [200] * 3 + [429] * 5


async def test_without_redis_requests_pass(serve: Serve) -> None:
    """Port 1 refuses: the rate is unchecked and the wake hint lost, and nothing else."""
    api = await serve(REDIS_URL="redis://127.0.0.1:1/0", REDIS_QUEUE_URL="redis://127.0.0.1:1/1")
    client = await api.client(rate_limit=1)
    campaign_id = await client.campaign()
    assert (await client("POST", f"/api/campaigns/{campaign_id}/start")).status == 200
    assert (await client("GET", "/readyz")).json == {"ok": True, "database": True}


async def test_a_flushed_redis_costs_no_request(api: Api, redis: Redis) -> None:
    client = await api.client(rate_limit=2)
    await client("GET", "/api/campaigns")
    await redis.flushall()
    async with asyncio.timeout(DEADLINE_S):
        assert (await client("GET", "/api/campaigns")).status == 200
