"""Forecasts over HTTP and on the command line: what they read, and what they say of it."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from tests.api.harness import Api, Client
from tests.api.test_cli import carillon
from tests.outlook.test_explain import DID, TOLL_FREE, execute, started

PEOPLE = [f"+1213555{number:04d}" for number in range(100, 200)]


async def forecast(client: Client, campaign: str) -> dict[str, Any]:
    answer = await client("GET", f"/api/campaigns/{campaign}/forecast")
    assert answer.status == 200, answer.text
    found: dict[str, Any] = answer.json
    assert sum(found["basis"]["outcomes"].values()) == pytest.approx(1, abs=0.001)
    return found


def lasts(found: dict[str, Any], until: str = "finishAt") -> float:
    return (datetime.fromisoformat(found[until]) - datetime.fromisoformat(found["at"])).total_seconds()


async def test_the_pace_decides_when_nothing_else_does(api: Api) -> None:
    client = await api.client(numbers=[DID])
    await execute(api, "update dids set calls_per_minute = 6000")
    campaign = await started(client, *PEOPLE, mode={"calls_per_second": 2})
    found = await forecast(client, campaign)
    assert (found["waiting"], found["contacts"], found["held"]) == (100, 100, 0)
    assert lasts(found, "lastContactAt") == pytest.approx(50 / 0.985, rel=0.02)
    assert found["basis"] | {"outcomes": {}} == {"source": "typical", "attempts": 0, "outcomes": {}}
    assert found["points"][0]["contacts"] == 0
    assert (found["points"][-1]["contacts"], found["points"][-1]["done"]) == (100, 100)
    assert [point["at"] for point in found["points"]] == sorted(point["at"] for point in found["points"])


async def test_one_number_holds_a_fast_campaign_back(api: Api) -> None:
    client = await api.client(numbers=[DID])
    campaign = await started(client, *PEOPLE, mode={"calls_per_second": 100})
    found = await forecast(client, campaign)
    assert found["heldBackBy"] == "numbers"
    assert lasts(found, "lastContactAt") == pytest.approx(100 / 0.98, rel=0.02)  # sixty calls a minute


async def test_texts_wait_for_the_gap_of_their_numbers(api: Api) -> None:
    client = await api.client(numbers=[DID, "+12135550199"])
    campaign = await started(client, *PEOPLE[:10], channel="sms", mode={"message": "Hello. Reply STOP to opt out"})
    found = await forecast(client, campaign)
    assert found["heldBackBy"] in ("numbers", "contacts_under_way")
    assert lasts(found, "lastContactAt") == pytest.approx(4 * 961, rel=0.01)


async def test_outcomes_are_those_of_the_campaign_or_else_of_the_account(api: Api) -> None:
    client = await api.client(numbers=[DID])
    first = await started(client, *PEOPLE[:30], mode={"max_retries": 1, "retry_delay": "1h"})
    insert = """
        insert into attempts (prospect_id, attempt, campaign_id, account_id, phone, did_id, from_number, carrier, state,
                              outcome, rules_version, intent_at, ended_at)
        select id, 1, campaign_id, account_id, phone, 1, :did, 'x', 9, case when id % 3 = 0 then 1 else 3 end, 'x',
               now(), now() + interval '40 seconds' from prospects
    """
    await execute(api, insert, did=DID)
    await execute(api, "update prospects set state = 4, outcome = 1, next_attempt_at = 'infinity' where id % 3 = 0")
    await execute(api, "update prospects set attempt = 2 where id % 3 <> 0")
    own = await forecast(client, first)
    assert own["basis"] == {
        "source": "campaign",
        "attempts": 30,
        "outcomes": {"human_connected": pytest.approx(1 / 3, abs=0.001), "no_answer": pytest.approx(2 / 3, abs=0.001)},
    }
    assert (own["waiting"], own["contacts"]) == (20, 20)  # each has one attempt left

    second = await started(client, *PEOPLE, mode={"max_retries": 1, "retry_delay": "1h"})
    theirs = await forecast(client, second)
    assert (theirs["basis"]["source"], theirs["contacts"]) == ("account", 167)
    assert theirs["heldBackBy"] == "retries"
    assert lasts(theirs) > 3_600


async def test_who_is_never_contacted_is_told_apart(api: Api) -> None:
    client = await api.client(numbers=[DID])
    campaign = await started(client, *PEOPLE[:5], TOLL_FREE)
    found = await forecast(client, campaign)
    assert (found["waiting"], found["contacts"], found["held"]) == (6, 5, 1)


async def test_columns_of_an_import_change_when_it_ends(api: Api) -> None:
    """11 o'clock in Los Angeles is 14 o'clock in New York: only the columns say who may be there."""
    client = await api.client(numbers=[DID])
    schedule = {"startHour": 8, "endHour": 14}
    ends = []
    for zone in ("", "America/New_York"):
        campaign = await client.campaign(schedule=schedule)
        rows = "phone,Time Zone\n" + "\n".join(f"{phone},{zone}" for phone in PEOPLE[:10])
        path, headers = f"/api/campaigns/{campaign}/prospects/import", {"Content-Type": "text/csv"}
        assert (await client("POST", path, data=rows.encode(), headers=headers)).json["added"] == 10
        ends.append(await forecast(client, campaign))
    assert [found["status"] for found in ends] == ["created", "created"]
    assert lasts(ends[0]) < 3_600
    assert (ends[1]["heldBackBy"], lasts(ends[1]) > 12 * 3_600) == ("window", True)


async def test_without_numbers_it_never_ends(api: Api, client: Client) -> None:
    campaign = await started(client, *PEOPLE[:3])
    found = await forecast(client, campaign)
    assert (found["finishAt"], found["heldBackBy"]) == (None, "numbers")


async def test_agents_hold_back(api: Api) -> None:
    client = await api.client(numbers=[DID])
    await execute(api, "update dids set calls_per_minute = 6000")
    agent = {"kind": "sip", "uri": "sip:team@example.com", "capacity": 2}
    campaign = await started(client, *PEOPLE, mode={"calls_per_second": 50, "agent": agent})
    found = await forecast(client, campaign)
    assert found["heldBackBy"] == "agents"
    mean_s = 0.38 * 66 + 0.31 * 14 + 0.2 * 26 + 0.06 * 2 + 0.03 * 2 + 0.02 + 0.25
    assert lasts(found) == pytest.approx(100 * mean_s / 2, rel=0.1)


async def test_only_its_own_account_may_ask(api: Api, client: Client) -> None:
    campaign = await client.campaign()
    assert (await (await api.client())("GET", f"/api/campaigns/{campaign}/forecast")).status == 404
    other = await api.client(["dids:read"], account_id=client.account_id)
    assert (await other("GET", f"/api/campaigns/{campaign}/forecast")).status == 403
    assert (await forecast(client, campaign))["contacts"] == 0


async def test_both_are_asked_on_the_command_line(api: Api) -> None:
    client = await api.client(numbers=[DID])
    campaign = await started(client, *PEOPLE, mode={"calls_per_second": 5})
    environment = {"CARILLON_URL": api.url, "CARILLON_KEY": client.key, "COLUMNS": "160"}
    code, out, err = await carillon("forecast", "--campaign", campaign, **environment)
    assert (code, err) == (0, "")
    for said in ("It ends on 2026-03-11", "100 people wait", "contacts are still to come", "█", "its numbers (DIDs)"):
        assert said in out
    code, out, err = await carillon("explain", "--campaign", campaign, "--phone", PEOPLE[0], **environment)
    assert (code, err) == (0, "")
    for said in (f"{PEOPLE[0]} would be called now, from {DID}", "next: now", "✓ window", "rules: "):
        assert said in " ".join(out.split()).replace("✓  ", "✓ ")
    code, out, err = await carillon("explain", "--campaign", campaign, "--phone", "+12125550999", **environment)
    assert (code, out, err.strip()) == (1, "", "there is no such prospect in this campaign")


async def test_reading_does_not_write(api: Api) -> None:
    client = await api.client(numbers=[DID])
    campaign = await started(client, *PEOPLE[:5])
    async with api.runtime.db.connect() as conn:
        before = list(await conn.execute(text("select xmin::text, id from prospects order by id")))
    await forecast(client, campaign)
    async with api.runtime.db.connect() as conn:
        assert list(await conn.execute(text("select xmin::text, id from prospects order by id"))) == before


async def test_a_forecast_of_what_is_under_way_counts_it(api: Api) -> None:
    client = await api.client(numbers=[DID])
    campaign = await started(client, *PEOPLE[:10], mode={"calls_per_second": 1})
    await execute(api, "update prospects set state = 1 where id % 2 = 0")
    found = await forecast(client, campaign)
    assert (found["waiting"] + found["underWay"], found["contacts"]) == (10, found["waiting"])
    assert found["points"][-1]["done"] == 10
    assert timedelta(seconds=lasts(found)) < timedelta(minutes=3)


async def test_texts_that_nothing_is_heard_of_keep_a_campaign_open_until_their_deadline(api: Api) -> None:
    client = await api.client(numbers=[DID])
    texts = {"channel": "sms", "mode": {"message": "Hello. Reply STOP to opt out"}}
    first = await started(client, *PEOPLE[:50], **texts)
    insert = """
        insert into attempts (prospect_id, attempt, campaign_id, account_id, phone, did_id, from_number, carrier, state,
                              outcome, rules_version, intent_at, ended_at)
        select id, 1, campaign_id, account_id, phone, 1, :did, 'x', case when id % 10 = 0 then 3 else 9 end,
               case when id % 10 = 0 then null else 8 end, 'x', cast(:at as timestamptz),
               case when id % 10 = 0 then null else cast(:at as timestamptz) + interval '5 seconds' end from prospects
    """
    at = api.runtime.clock.now() - timedelta(hours=1)
    await execute(api, insert, did=DID, at=at)
    await execute(api, "update prospects set state = case when id % 10 = 0 then 3 else 4 end")
    await execute(api, "update prospects set next_attempt_at = 'infinity' where state = 4")
    own = await forecast(client, first)
    assert own["basis"]["attempts"] == 50
    assert own["basis"]["outcomes"]["unknown"] == pytest.approx(0.1)
    assert (own["underWay"], own["points"][-1]["done"]) == (5, 5)
    assert lasts(own) == pytest.approx(71 * 3_600, abs=60)


async def test_no_account_takes_all_places_for_forecasts(api: Api) -> None:
    """Each takes a processor for some seconds: one account's second waits, another's does not."""
    greedy, other = await api.client(numbers=[DID]), await api.client(numbers=["+12135550199"])
    theirs, anothers = await started(greedy, *PEOPLE[:3]), await started(other, *PEOPLE[:3])
    async with api.held.forecasts.take(greedy.account_id):
        waiting = asyncio.create_task(forecast(greedy, theirs))
        for _ in range(3):
            await forecast(other, anothers)
        assert not waiting.done()
    assert (await waiting)["waiting"] == 3


async def test_how_long_calls_last_is_taken_from_campaigns_that_have_agents_too(api: Api) -> None:
    """Without agents of its own a campaign's calls end at the hello; those of the other kind tell little of it."""
    client = await api.client(numbers=[DID])
    agent = {"kind": "sip", "uri": "sip:team@example.com", "capacity": 3}
    insert = """
        insert into attempts (prospect_id, attempt, campaign_id, account_id, phone, did_id, from_number, carrier, state,
                              outcome, rules_version, intent_at, ended_at)
        select id, 1, campaign_id, account_id, phone, 1, :did, 'x', 9, 1, 'x', now(), now() + cast(:lasts as interval)
          from prospects where state = 0
    """
    for mode, lasts_s in (({"agent": agent}, 300), ({}, 10)):
        await started(client, *PEOPLE[:30], mode=mode)
        await execute(api, insert, did=DID, lasts=timedelta(seconds=lasts_s))
        await execute(api, "update prospects set state = 4, outcome = 1, next_attempt_at = 'infinity'")
    few = PEOPLE[:3]
    assert lasts(await forecast(client, await started(client, *few, mode={"agent": agent}))) > 300
    assert lasts(await forecast(client, await started(client, *few, mode={}))) < 60
