"""What a test key may not do to the lists that live traffic goes by, once its account has a live key."""

import pytest

from engine.clock import Clock
from tests.api.conftest import Serve
from tests.api.harness import Answer, Api, Client

PHONE = "+12125550147"
CONSENT = {"phone": PHONE, "class": "express_written"}
WITHDRAWAL = {"phone": PHONE, "class": "none"}


@pytest.fixture
async def api(serve: Serve) -> Api:
    return await serve(Clock())  # a live key needs wall time


@pytest.fixture
async def live(api: Api, client: Client) -> Client:
    return await api.client(account_id=client.account_id, is_live=True)


async def upload(client: Client, csv: str) -> Answer:
    campaign = await client.campaign()
    path = f"/api/campaigns/{campaign}/prospects/import"
    return await client("POST", path, data=csv.encode(), headers={"Content-Type": "text/csv"})


async def in_force(client: Client) -> str:
    return str((await client("GET", f"/api/consents?phone=%2B{PHONE[1:]}")).json["inForce"]["voice"])


async def test_a_test_key_opens_nobody_to_live_contacts(client: Client, live: Client) -> None:
    await live("POST", "/api/suppression", {"phone": PHONE})
    loosening = [
        await client("DELETE", f"/api/suppression/{PHONE}?reason=they+asked"),
        await client("POST", "/api/consents", CONSENT),
        await client("POST", "/api/consents", {"consents": [WITHDRAWAL, CONSENT]}),
        await upload(client, f"phone,consent\n{PHONE},express\n"),
    ]
    assert [(answer.status, answer.error["code"]) for answer in loosening] == [(403, "forbidden")] * 4
    assert "live" in loosening[0].error["message"]
    assert (await live("GET", f"/api/suppression?phone=%2B{PHONE[1:]}")).json["suppressed"] is True
    assert (await live("GET", "/api/consents")).json["consents"] == []
    campaign = (await live("GET", "/api/campaigns")).json["campaigns"][0]["id"]
    assert (await live("GET", f"/api/campaigns/{campaign}/prospects")).json["prospects"] == []


async def test_a_test_key_may_protect_people(client: Client, live: Client) -> None:
    assert (await live("POST", "/api/consents", CONSENT)).status == 201
    assert (await client("POST", "/api/suppression", {"phone": PHONE})).status == 201
    assert (await client("POST", "/api/consents", WITHDRAWAL)).status == 201
    assert await in_force(client) == "none"
    assert (await client("DELETE", f"/api/consents/{PHONE}")).status == 200
    assert (await upload(client, f"phone,consent\n{PHONE},none\n")).json["added"] == 1


async def test_a_live_key_may_do_all_of_it(live: Client) -> None:
    await live("POST", "/api/suppression", {"phone": PHONE})
    assert (await live("DELETE", f"/api/suppression/{PHONE}")).status == 200
    assert (await live("POST", "/api/consents", CONSENT)).status == 201
    assert await in_force(live) == "express_written"


@pytest.mark.parametrize("whose", ["nobody's", "another account's", "revoked"])
async def test_without_a_live_key_of_the_account_a_test_key_may(api: Api, client: Client, whose: str) -> None:
    if whose == "another account's":
        await api.client(is_live=True)
    elif whose == "revoked":
        live = await api.client(account_id=client.account_id, is_live=True)
        await live("DELETE", f"/api/keys/{(await live('GET', '/api/keys')).json['keys'][-1]['id']}")
    await client("POST", "/api/suppression", {"phone": PHONE})
    assert (await client("DELETE", f"/api/suppression/{PHONE}")).status == 200
    assert (await client("POST", "/api/consents", CONSENT)).status == 201
    assert (await upload(client, f"phone,consent\n{PHONE},express\n")).json["consents"] == 1
