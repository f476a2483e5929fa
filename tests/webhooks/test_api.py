"""The webhooks' routes: made, shown, changed, tried and deleted, by their owner only."""

import pytest
from aiohttp import web
from sqlalchemy import text

from engine.store import audit
from engine.webhooks.scan import Scan
from tests.api.conftest import Serve
from tests.api.harness import Api, Client
from tests.webhooks.conftest import Endpoints, Log
from tests.webhooks.test_scan import ignore

URL = "https://example.com/hooks"
BODY = {"url": URL, "events": ["sms.*", "voice.completed"]}


async def make(client: Client, **changes: object) -> dict[str, object]:
    answer = await client("POST", "/api/webhooks", BODY | changes)
    assert answer.status == 201, answer.text
    return dict(answer.json)


async def test_a_new_webhook_shows_its_secret_once(client: Client) -> None:
    made = await make(client)
    assert str(made["id"]).startswith("whk_")
    secret = str(made.pop("secret"))
    assert secret.startswith("whsec_")
    shown = {
        "id": made["id"],
        "url": URL,
        "events": ["sms.*", "voice.completed"],
        "ordered": False,
        "active": True,
        "disabledReason": None,
        "failures": 0,
        "parkedUntil": None,
        "createdAt": made["createdAt"],
    }
    assert made == shown
    assert (await client("GET", f"/api/webhooks/{made['id']}")).json == shown
    listed = await client("GET", "/webhooks")
    assert listed.json == {"webhooks": [shown]}
    assert secret not in listed.text


async def test_a_replay_has_no_secret(client: Client) -> None:
    first = await client("POST", "/api/webhooks", BODY, headers={"Idempotency-Key": "a"})
    again = await client("POST", "/api/webhooks", BODY, headers={"Idempotency-Key": "a"})
    assert again.headers["Idempotency-Replay"] == "true"
    assert again.json == {name: value for name, value in first.json.items() if name != "secret"}
    assert len((await client("GET", "/api/webhooks")).json["webhooks"]) == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"url": "http://example.com/"}, "url"),
        ({"url": "https://127.0.0.1/"}, "url"),
        ({"url": "https://user:pw@example.com/"}, "url"),
        ({"url": 5}, "url"),
        ({"url": None}, "url"),
        ({"url": "https://example.com/" + "x" * 3_000}, "url"),
        ({"events": []}, "events"),
        ({"events": "sms.*"}, "events"),
        ({"events": ["sms.*", "sms.sended"]}, "events[1]"),
        ({"events": ["webhook.delivered"]}, "events[0]"),
        ({"events": [None]}, "events[0]"),
        ({"ordered": "yes"}, "ordered"),
        ({"secret": "mine"}, "secret"),
        ({"active": False}, "active"),
    ],
)
async def test_bad_input_is_named(client: Client, changes: dict[str, object], field: str) -> None:
    answer = await client("POST", "/api/webhooks", BODY | changes)
    assert answer.status == 400
    assert field in answer.error["fields"]
    assert (await client("GET", "/api/webhooks")).json == {"webhooks": []}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"url": "ftp://example.com/"}, "url"),
        ({"events": ["nothing.*"]}, "events[0]"),
        ({"active": 1}, "active"),
        ({"rotateSecret": {"overlapSeconds": -1}}, "rotateSecret"),
        ({"rotateSecret": {"overlapSeconds": 10**9}}, "rotateSecret"),
        ({"secret": "whsec_mine"}, "secret"),
    ],
)
async def test_a_bad_change_is_named_and_changes_nothing(
    client: Client, changes: dict[str, object], field: str
) -> None:
    made = await make(client)
    path = f"/api/webhooks/{made['id']}"
    answer = await client("PATCH", path, {"ordered": True} | changes)
    assert answer.status == 400
    assert any(name.startswith(field) for name in answer.error["fields"])
    assert (await client("GET", path)).json["ordered"] is False


async def test_changes(client: Client) -> None:
    made = await make(client)
    path = f"/api/webhooks/{made['id']}"
    answer = await client("PATCH", path, {"active": False, "events": ["*"], "ordered": True})
    assert answer.status == 200
    assert "secret" not in answer.json
    assert (answer.json["active"], answer.json["events"], answer.json["ordered"]) == (False, ["*"], True)
    answer = await client("PATCH", path, {"active": True, "url": f"{URL}/2"})
    assert (answer.json["active"], answer.json["events"], answer.json["url"]) == (True, ["*"], f"{URL}/2")
    assert (await client("PATCH", path, {})).json == answer.json


@pytest.mark.parametrize("rotation", [True, {}, {"overlapSeconds": 60}])
async def test_rotation_shows_the_new_secret_once_and_keeps_the_old(api: Api, client: Client, rotation: object) -> None:
    made = await make(client)
    answer = await client("PATCH", f"/api/webhooks/{made['id']}", {"rotateSecret": rotation})
    assert answer.json["secret"].startswith("whsec_")
    assert answer.json["secret"] != made["secret"]
    async with api.runtime.reader.connect() as conn:
        query = "select secret, previous_secret, extract(epoch from previous_secret_until - now()) as s from webhooks"
        row = (await conn.execute(text(query))).one()
    assert (row.secret, row.previous_secret) == (answer.json["secret"], made["secret"])
    expected_s = 60 if rotation == {"overlapSeconds": 60} else 86_400
    assert expected_s - 60 < row.s <= expected_s


async def test_no_rotation_without_asking(client: Client) -> None:
    made = await make(client)
    answer = await client("PATCH", f"/api/webhooks/{made['id']}", {"rotateSecret": False})
    assert "secret" not in answer.json


async def test_deleting(client: Client) -> None:
    made = await make(client)
    path = f"/api/webhooks/{made['id']}"
    assert (await client("DELETE", path)).status == 204
    for method, rest in (("GET", ""), ("DELETE", ""), ("PATCH", ""), ("GET", "/logs"), ("POST", "/test")):
        body = {} if method == "PATCH" else None
        assert (await client(method, path + rest, body)).status == 404


async def test_another_account_s_webhook_is_not_found(api: Api, client: Client) -> None:
    made = await make(client)
    stranger = await api.client()
    path = f"/api/webhooks/{made['id']}"
    assert (await stranger("GET", "/api/webhooks")).json == {"webhooks": []}
    for method, rest in (("GET", ""), ("DELETE", ""), ("PATCH", ""), ("GET", "/logs"), ("POST", "/test")):
        body = {"active": False} if method == "PATCH" else None
        assert (await stranger(method, path + rest, body)).status == 404
    assert (await stranger("POST", f"{path}/logs/log_0000000000001/redeliver")).status == 404
    assert (await client("GET", path)).json["active"] is True


async def test_the_scope_is_needed(api: Api) -> None:
    client = await api.client(["campaigns:write", "sms:read"])
    for method, path in (
        ("GET", "/api/webhooks"),
        ("POST", "/api/webhooks"),
        ("GET", "/api/webhooks/whk_0000000000001"),
        ("POST", "/api/webhooks/whk_0000000000001/test"),
    ):
        answer = await client(method, path, BODY if path == "/api/webhooks" and method == "POST" else None)
        assert (answer.status, answer.error["fields"]) == (403, {"scope": "webhooks:manage"})


@pytest.mark.parametrize("column", ["user_id", "team_id"])
async def test_a_key_that_hears_only_of_some_numbers_makes_no_webhook(api: Api, client: Client, column: str) -> None:
    made = await make(client)
    bound = await api.client(["webhooks:manage"], account_id=client.account_id)
    async with api.runtime.db.begin() as conn:
        key_id = await api.key_id(bound)
        await conn.execute(text(f"update api_keys set {column} = 1 where id = :id"), {"id": key_id})
    for method, path, body in (
        ("POST", "/api/webhooks", BODY),
        ("PATCH", f"/api/webhooks/{made['id']}", {"url": URL}),
        ("GET", f"/api/webhooks/{made['id']}/logs", None),
    ):
        answer = await bound(method, path, body)
        assert answer.status == 403
        assert "key of the whole account" in answer.error["message"]


async def test_an_account_has_at_most_fifty(api: Api, client: Client) -> None:
    await make(client)
    copy = """
        insert into webhooks (id, account_id, url, events, secret, scanned, created_at)
        select n, account_id, url, events, secret, scanned, created_at from webhooks, generate_series(1, 49) n
    """
    async with api.runtime.db.begin() as conn:
        await conn.execute(text(copy))
    answer = await client("POST", "/api/webhooks", BODY)
    assert answer.status == 409
    assert "at most 50" in answer.error["message"]
    await make(await api.client())  # others are not concerned


async def test_every_change_is_audited_without_secrets(api: Api, client: Client) -> None:
    made = await make(client)
    path = f"/api/webhooks/{made['id']}"
    await client("PATCH", path, {"rotateSecret": True, "active": False})
    await client("DELETE", path)
    async with api.runtime.reader.connect() as conn:
        entries = await audit.page(conn, client.account_id, 10)
    found = [(entry.action, entry.subject) for entry in reversed(entries)]
    assert found == [(f"webhook.{verb}", made["id"]) for verb in ("create", "change", "delete")]
    assert entries[1].detail == {"changed": ["active", "rotate_secret"]}
    assert "whsec_" not in repr(entries)


@pytest.fixture
async def dev(serve: Serve) -> Client:
    """A client of an api that may send to loopback."""
    api = await serve(webhook_allow_private=True, webhook_timeout_s=0.5)
    return await api.client()


async def test_a_test_is_sent_now_and_reported(dev: Client, endpoints: Endpoints) -> None:
    endpoint = endpoints.add()
    made = await make(dev, url=endpoint.url, events=["sms.received"])
    await dev("PATCH", f"/api/webhooks/{made['id']}", {"active": False})  # also while it is paused
    answer = await dev("POST", f"/api/webhooks/{made['id']}/test")
    assert answer.status == 200
    assert (answer.json["status"], answer.json["responseCode"], answer.json["attempts"]) == ("delivered", 200, 1)
    assert answer.json["eventType"] == "webhook.test"
    (received,) = endpoint.received
    assert received.json["event"] == "webhook.test"
    assert received.json["id"] == answer.json["eventId"] == received.headers["webhook-id"]
    logs = await dev("GET", f"/api/webhooks/{made['id']}/logs")
    assert logs.json == {"logs": [answer.json], "nextCursor": None}


async def test_a_test_that_fails_says_why(dev: Client, endpoints: Endpoints) -> None:
    endpoint = endpoints.add(lambda received: web.Response(status=500, text="out of order"))
    made = await make(dev, url=endpoint.url)
    answer = await dev("POST", f"/api/webhooks/{made['id']}/test")
    assert answer.status == 200
    assert (answer.json["status"], answer.json["error"]) == ("failed", "HTTP 500: out of order")


async def test_a_test_that_succeeds_ends_a_parking(api: Api, dev: Client, endpoints: Endpoints) -> None:
    made = await make(dev, url=endpoints.add().url)
    async with api.runtime.db.begin() as conn:
        await conn.execute(text("update webhooks set failures = 9, parked_until = now() + interval '1 h'"))
    path = f"/api/webhooks/{made['id']}"
    assert (await dev("GET", path)).json["parkedUntil"] is not None
    await dev("POST", f"{path}/test")
    shown = (await dev("GET", path)).json
    assert (shown["failures"], shown["parkedUntil"]) == (0, None)


async def test_in_production_a_test_reaches_no_private_address(api: Api, client: Client, endpoints: Endpoints) -> None:
    endpoint = endpoints.add()
    made = await make(client)
    async with api.runtime.db.begin() as conn:  # as a name that leads inside only later
        await conn.execute(text("update webhooks set url = :url"), {"url": f"https://localhost.:{endpoints.port}/"})
    answer = await client("POST", f"/api/webhooks/{made['id']}/test")
    assert answer.json["status"] == "failed"
    assert "public address" in answer.json["error"]
    assert endpoint.received == []


async def test_logs_in_pages_and_redelivery(api: Api, dev: Client, log: Log) -> None:
    made = await make(dev, events=["*"])
    path = f"/api/webhooks/{made['id']}"
    await log.write(25, account=dev.account_id)
    await Scan(api.runtime, ignore).run_once()
    first = (await dev("GET", f"{path}/logs")).json
    assert len(first["logs"]) == 20
    entry = first["logs"][0]
    assert set(entry) >= {"id", "eventType", "status", "attempts", "responseCode", "createdAt"}
    assert (entry["eventType"], entry["status"], entry["attempts"]) == ("sms.sent", "pending", 0)
    rest = (await dev("GET", f"{path}/logs", params={"cursor": first["nextCursor"], "limit": 10})).json
    assert (len(rest["logs"]), rest["nextCursor"]) == (5, None)
    ids = [each["id"] for each in first["logs"] + rest["logs"]]
    assert ids == sorted(ids, reverse=True)

    async with api.runtime.db.begin() as conn:
        await conn.execute(text("update webhook_deliveries set status = 'failed', next_attempt_at = null"))
    again = await dev("POST", f"{path}/logs/{entry['id']}/redeliver")
    assert again.status == 202
    assert (again.json["status"], again.json["eventId"]) == ("pending", entry["eventId"])
    assert again.json["nextAttemptAt"] is not None
    await dev("PATCH", path, {"active": False})
    paused = await dev("POST", f"{path}/logs/{entry['id']}/redeliver")
    assert (paused.status, paused.error["fields"]) == (409, {"active": False})


@pytest.mark.parametrize("path", ["logs/log_0000000000009/redeliver", "logs/nonsense/redeliver"])
async def test_redelivery_of_what_is_not_there(client: Client, path: str) -> None:
    made = await make(client)
    assert (await client("POST", f"/api/webhooks/{made['id']}/{path}")).status == 404


@pytest.mark.parametrize("params", [{"limit": "0"}, {"limit": "9999"}, {"limit": "x"}, {"cursor": "whk_1"}])
async def test_bad_pages_of_a_log(client: Client, params: dict[str, str]) -> None:
    made = await make(client)
    answer = await client("GET", f"/api/webhooks/{made['id']}/logs", params=params)
    assert answer.status == 400
    assert list(answer.error["fields"]) == list(params)
