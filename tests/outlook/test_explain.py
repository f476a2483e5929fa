"""Why somebody is or is not contacted now: through the API, against the intent that it tells of."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from engine.clock import Clock, iso, starting_at
from engine.dispatch import callers
from engine.dispatch.hints import Hint
from engine.dispatch.intent import IntentBatch, IntentContext, commit_intents
from engine.rules.did_policy import DEFAULT_POLICY
from engine.rules.states import rules
from engine.rules.telephony import Channel
from engine.store import did_caps
from engine.store.did_caps import Wanted
from tests.api.conftest import Serve
from tests.api.harness import Api, Client
from tests.conftest import LEGAL_HOUR
from tests.whom.conftest import load

NEW_YORK, TOLL_FREE, MUNICH, HONOLULU = "+12125550101", "+18005550101", "+4915112345678", "+18085550101"
PENNSYLVANIA = "+12155550147"
DID = "+12135550100"
NIGHT = datetime(2026, 3, 12, 4, 0, tzinfo=UTC)  # midnight in New York


async def started(client: Client, *phones: str, **body: object) -> str:
    campaign = await client.campaign(**body)
    path = f"/api/campaigns/{campaign}"
    assert (await client("POST", f"{path}/prospects", {"phones": list(phones)})).status == 200
    answer = await client("POST", f"{path}/start")
    assert answer.status == 200, answer.text
    return campaign


async def explained(client: Client, campaign: str, who: str = NEW_YORK) -> dict[str, Any]:
    answer = await client("GET", f"/api/campaigns/{campaign}/prospects/{who.replace('+', '%2B')}/explain")
    assert answer.status == 200, answer.text
    found: dict[str, Any] = answer.json
    assert found["answer"].startswith(found["phone"])
    assert found["rulesVersion"] == rules().version
    return found


def check(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    (one,) = [each for each in found["checks"] if each["check"] == name]
    return dict(one)


def refused(found: Mapping[str, Any]) -> list[str]:
    return [each["check"] for each in found["checks"] if not each["passed"]]


async def execute(api: Api, statement: str, **params: object) -> None:
    async with api.runtime.db.begin() as conn:
        await conn.execute(text(statement), params)


async def requiring(api: Api, client: Client, what: str) -> None:
    """From now on the account must ask for it: `registry` or `consent`."""
    settings = json.dumps({"compliance": {f"require_{what}": True}})
    update = "update accounts set settings = cast(:s as jsonb) where id = :a"
    await execute(api, update, s=settings, a=client.account_id)


async def attempted(api: Api, found: Mapping[str, Any]) -> IntentBatch:
    """What the intent itself makes of the contact that was explained, with the number that was told."""
    async with api.runtime.db.connect() as conn:
        row = (
            await conn.execute(
                text(
                    "select p.account_id, p.campaign_id, p.id, p.attempt, p.phone, d.id as did_id, c.channel"
                    " from prospects p join campaigns c on c.id = p.campaign_id"
                    " left join dids d on d.number = :number and d.account_id = p.account_id where p.phone = :phone"
                ),
                {"phone": found["phone"], "number": (found["from"] or {"number": ""})["number"]},
            )
        ).one()
    number = found["from"]["number"] if found["from"] else ""
    hint = Hint(row.account_id, row.campaign_id, row.id, row.attempt, row.phone, row.did_id or 0, number)
    context = IntentContext(Channel(row.channel), api.runtime.clock, ticket_s=2.0, answer_s=7.0, writer=1)
    return await commit_intents(api.runtime.db, [hint], context)


async def test_who_may_be_contacted_is_told_from_which_number(api: Api, client: Client) -> None:
    client = await api.client(numbers=["+17165550100", DID])
    strategy = {"selection": "round_robin", "local_presence": True}
    campaign = await started(client, NEW_YORK, callerIdStrategy=strategy)
    found = await explained(client, campaign, NEW_YORK)
    assert (found["wouldContact"], refused(found)) == (True, [])
    assert [each["check"] for each in found["checks"]] == [
        "campaign", "due", "suppression", "whom", "window", "sender", "content",
    ]  # fmt: skip
    assert found["answer"] == f"{NEW_YORK} would be called now, from +17165550100"
    assert found["from"]["because"] == "of the same state, chosen by round_robin"
    assert found["nextAt"] == found["at"]
    assert len((await attempted(api, found)).granted) == 1


async def test_explaining_changes_nothing(api: Api, client: Client) -> None:
    client = await api.client(numbers=[DID])
    campaign = await started(client, NEW_YORK)
    tables = ("prospects", "attempts", "dids", "did_usage", "campaign_counts", "ten_dlc_parts", "outbox")

    async def rows() -> list[object]:
        async with api.runtime.db.connect() as conn:
            return [list(await conn.execute(text(f"select t::text from {table} t"))) for table in tables]

    before = await rows()
    assert (await explained(client, campaign))["wouldContact"]
    assert await rows() == before


async def test_the_prospects_id_or_number_name_the_same_person(api: Api, client: Client) -> None:
    client = await api.client(numbers=[DID])
    campaign = await started(client, NEW_YORK)
    by_phone = await explained(client, campaign)
    by_id = await explained(client, campaign, by_phone["prospectId"])
    assert by_id["phone"] == NEW_YORK
    other = await api.client()
    for who, caller in ((NEW_YORK, other), ("%2B12125550999", client), ("pros_0000000000zzz", client), ("x", client)):
        answer = await caller("GET", f"/api/campaigns/{campaign}/prospects/{who}/explain")
        assert (answer.status, answer.error["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", [f"prospects/{NEW_YORK.replace('+', '%2B')}/explain", "forecast"])
async def test_a_campaign_of_another_version_is_told_to_be_one(api: Api, client: Client, path: str) -> None:
    campaign = await started(client, NEW_YORK)
    await execute(api, 'update campaigns set mode = mode || \'{"ringTimeout": "soon"}\'')
    answer = await client("GET", f"/api/campaigns/{campaign}/{path}")
    assert (answer.status, answer.error["code"]) == (503, "unavailable")
    assert "cannot read the campaign" in answer.error["message"]


async def test_it_needs_the_scope_of_reading_campaigns(api: Api, client: Client) -> None:
    campaign = await client.campaign()
    other = await api.client(["voice:read"], account_id=client.account_id)
    assert (await other("GET", f"/api/campaigns/{campaign}/prospects/{NEW_YORK}/explain")).status == 403


async def test_at_night_it_tells_the_local_time_and_the_next_opening(serve: Serve) -> None:
    api = await serve(starting_at(NIGHT, 1.0))
    client = await api.client(numbers=[DID])
    campaign = await started(client, NEW_YORK)
    found = await explained(client, campaign)
    window = check(found, "window")
    assert refused(found) == ["window"]
    assert "Thu 00:00 in America/New_York" in window["says"]
    assert window["facts"]["closedBy"]
    opens = datetime(2026, 3, 12, 12, 0, tzinfo=UTC)  # 8 o'clock, by which New York's own rows open as well
    assert found["nextAt"] == window["facts"]["nextOpenAt"]
    assert datetime.fromisoformat(found["nextAt"]) >= opens
    batch = await attempted(api, found)
    assert [reason for _, reason in batch.refused] == ["outside_window"]

    put_off = await explained(client, campaign)  # the intent has written the next attempt's time
    assert refused(put_off) == ["queue", "window"]
    assert check(put_off, "queue")["facts"] == {"nextAttemptAt": found["nextAt"], "reason": "outside_window"}
    assert put_off["nextAt"] == found["nextAt"]


async def test_the_campaigns_own_schedule_is_told_as_such(api: Api, client: Client) -> None:
    client = await api.client(numbers=[DID])
    campaign = await started(client, NEW_YORK, schedule={"timezone": "America/New_York", "startHour": 16})
    found = await explained(client, campaign)
    assert "closed by the campaign's schedule" in found["answer"]
    assert found["nextAt"] == iso(LEGAL_HOUR + timedelta(hours=2))


@pytest.mark.parametrize(
    ("phone", "says"),
    [(TOLL_FREE, "the local time of this person is unknown"), (MUNICH, "no legal hours are known for DE")],
)
async def test_what_is_unknown_is_held(api: Api, phone: str, says: str) -> None:
    client = await api.client(numbers=[DID])
    found = await explained(client, await started(client, phone), phone)
    assert (found["wouldContact"], found["nextAt"]) == (False, None)
    assert says in found["answer"]
    assert found["next"].startswith("not before that changes")
    assert (await attempted(api, found)).granted == []


async def test_the_suppressed_are_never_contacted(api: Api, client: Client) -> None:
    client = await api.client(numbers=[DID])
    campaign = await started(client, NEW_YORK)
    insert = "insert into suppressions (account_id, phone, reason, source, created_at) values (:a, :p, 'x', 'x', now())"
    await execute(api, insert, a=client.account_id, p=NEW_YORK)
    found = await explained(client, campaign)
    assert refused(found) == ["suppression"]
    assert (found["nextAt"], found["next"].split(":")[0]) == (None, "never")
    await attempted(api, found)
    done = await explained(client, campaign)
    assert refused(done) == ["due", "suppression"]
    assert done["answer"].endswith("this person was cancelled (suppressed)")


@pytest.mark.parametrize(
    ("copies", "refusal", "registry", "says"),
    [
        ({}, "registry_missing", "national", "was never loaded"),
        ({"US": 32}, "registry_stale", "national", "is of {of}, older than 31 days"),
        ({"US": 0}, "registry_missing", "PA", "was never loaded"),
        ({"US": 0, "US-PA": 32}, "registry_stale", "PA", "is of {of}, older than 31 days"),
    ],
)
async def test_the_registry_that_cannot_be_asked_is_named_with_its_remedy(
    api: Api, copies: dict[str, int], refusal: str, registry: str, says: str
) -> None:
    client = await api.client(numbers=[DID])
    campaign = await started(client, PENNSYLVANIA)
    await requiring(api, client, "registry")
    clock = api.runtime.clock
    for code, age in copies.items():
        await load(api.runtime.db, clock, code, [], clock.now().date() - timedelta(days=age))
    found = await explained(client, campaign, PENNSYLVANIA)
    assert refused(found) == ["whom"]
    fault = says.format(of=clock.now().date() - timedelta(days=32))
    remedy = f"load one: carillon dnc load FILE --registry {registry}"
    assert f"the copy of the {registry} do-not-call registry {fault}; {remedy}" in found["answer"]
    assert check(found, "whom")["facts"]["registry"] == {"national": "US", "PA": "US-PA"}[registry]
    assert [reason for _, reason in (await attempted(api, found)).refused] == [refusal]


async def test_what_nothing_asks_for_is_not_told_as_if_it_were_known(api: Api) -> None:
    client = await api.client(numbers=[DID])
    campaign = await started(client, NEW_YORK)
    clear = "no registry, missing consent or cap on contacts is against it"
    whom = check(await explained(client, campaign), "whom")
    assert whom["says"] == f"{clear} (not asked: registries, consent)"
    assert [whom["facts"][name] for name in ("registries", "consent", "contacts")] == [None, None, []]

    await requiring(api, client, "registry")  # consent opens a listed number, so it is looked up as well
    await load(api.runtime.db, api.runtime.clock, "US", [])
    whom = check(await explained(client, campaign), "whom")
    assert whom["says"] == clear
    assert [whom["facts"][name] for name in ("registries", "consent", "contacts")] == [[], "none", []]

    informational = await started(client, NEW_YORK, purpose="informational")
    whom = check(await explained(client, informational), "whom")
    assert whom["says"] == f"{clear} (not asked: registries, consent, contacts)"
    assert [whom["facts"][name] for name in ("registries", "consent", "contacts")] == [None, None, None]


async def test_a_campaign_that_is_not_dialing_is_the_first_answer(api: Api, client: Client) -> None:
    client = await api.client(numbers=[DID])
    campaign = await started(client, NEW_YORK)
    await client("POST", f"/api/campaigns/{campaign}/pause")
    found = await explained(client, campaign)
    assert (found["answer"], found["next"]) == (
        f"{NEW_YORK} would not be called now: the campaign is paused",
        "once the campaign is resumed",
    )
    await client("POST", f"/api/campaigns/{campaign}/cancel")
    assert (await explained(client, campaign))["next"] == "never: this person was cancelled"


async def test_without_a_number_nobody_is_contacted(api: Api, client: Client) -> None:
    campaign = await started(client, NEW_YORK)
    found = await explained(client, campaign)
    assert (refused(found), found["from"]) == (["sender"], None)
    assert "the account has no number for voice" in found["answer"]


async def test_whoever_was_called_from_a_blocked_number_waits_for_it(api: Api, client: Client) -> None:
    client = await api.client(numbers=[DID, "+16195550100"])
    campaign = await started(client, NEW_YORK)
    first = await explained(client, campaign)
    (granted,) = (await attempted(api, first)).granted
    await execute(api, "update prospects set state = 0, attempt = 2")
    blocked = "update dids set state = 'cooling', state_reason = 'label' where id = :id"
    await execute(api, blocked, id=granted.hint.did_id)
    found = await explained(client, campaign)
    assert refused(found) == ["sender"]
    assert found["from"]["number"] == granted.hint.from_number
    assert "has turned against it" in found["answer"]
    assert [reason for _, reason in (await attempted(api, found)).refused] == ["sender_blocked"]


async def test_a_retry_comes_from_the_number_of_the_last_call(api: Api, client: Client) -> None:
    client = await api.client(numbers=[DID, "+16195550100"])
    campaign = await started(client, NEW_YORK)
    (granted,) = (await attempted(api, await explained(client, campaign))).granted
    under_way = await explained(client, campaign)
    assert refused(under_way) == ["due"]
    assert "attempt 1 is under way: dialing" in under_way["answer"]
    await execute(api, "update prospects set state = 0, attempt = 2")
    found = await explained(client, campaign)
    assert found["from"] == {"number": granted.hint.from_number, "because": "this person was last contacted from it"}


async def test_a_numbers_caps_are_read_and_not_spent(serve: Serve, clock: Clock) -> None:
    api = await serve(did_caps="all")
    client = await api.client(numbers=[DID])
    campaign = await started(client, NEW_YORK)
    found = await explained(client, campaign)
    assert check(found, "number_caps")["facts"] == {"perHour": 10, "perDay": 75, "gapS": 60, "hour": 0, "day": 0}
    async with api.runtime.db.begin() as conn:
        (did_id,) = (await conn.execute(text("select id from dids"))).scalars()
        now = api.runtime.clock.now()
        (sender,) = (await callers.load(conn, [did_id], now)).values()
        caps = sender.caps(DEFAULT_POLICY, now)
        await did_caps.take(conn, {did_id: Wanted(1, caps)}, now)
    tired = await explained(client, campaign)
    assert (refused(tired), tired["from"]) == (["sender"], None)
    free_at = datetime.fromisoformat(check(tired, "sender")["facts"]["freeAt"])
    assert timedelta(seconds=59) < free_at - now <= timedelta(seconds=61)
    assert datetime.fromisoformat(tired["nextAt"]) == free_at


async def test_limits_on_calls_at_one_time_are_told(api: Api, client: Client) -> None:
    client = await api.client(numbers=[DID])
    agent = {"kind": "sip", "uri": "sip:team@example.com", "capacity": 1}
    mode = {"concurrentCalls": 3, "agent": agent}
    campaign = await started(client, NEW_YORK, "+12125550102", mode=mode)
    found = await explained(client, campaign)
    assert check(found, "concurrent_calls")["facts"] == {"limit": 3, "room": 3}
    assert check(found, "agents")["facts"] == {"limit": 1, "room": 1, "pacing": "progressive"}
    assert len((await attempted(api, found)).granted) == 1
    other = await explained(client, campaign, "+12125550102")
    assert refused(other) == ["agents"]
    assert other["nextAt"] == other["at"]
    assert [reason for _, reason in (await attempted(api, other)).refused] == ["too_many_calls"]


async def test_a_text_is_judged_with_the_persons_data(api: Api, client: Client) -> None:
    client = await api.client(numbers=[DID])
    body = {"channel": "sms", "mode": {"message": "Hi {{name|there}}, it is {{item}}. Reply STOP to opt out"}}
    campaign = await client.campaign(**body)
    path, headers = f"/api/campaigns/{campaign}/prospects/import", {"Content-Type": "text/csv"}
    rows = "phone,name,item\n2125550101,Ann,book\n2125550102,Bob,\n"
    assert (await client("POST", path, data=rows.encode(), headers=headers)).status == 200
    await client("POST", f"/api/campaigns/{campaign}/start")
    found = await explained(client, campaign)
    assert check(found, "content")["facts"] == {"segments": 1, "encoding": "GSM-7"}
    held = await explained(client, campaign, "+12125550102")
    assert refused(held) == ["queue", "content"]
    assert held["next"] == "not before that changes: the text cannot be sent to this person: missing_value: item"


async def test_the_caps_of_10dlc_are_looked_at(api: Api, client: Client) -> None:
    client = await api.client(numbers=[DID])
    limits = '{"limits": {"tenDlc": {"kind": "sole_proprietor"}}}'
    await execute(
        api, "update accounts set settings = cast(:s as jsonb) where id = :id", s=limits, id=client.account_id
    )
    campaign = await started(client, NEW_YORK, channel="sms", mode={"message": "Hello. Reply STOP to opt out"})
    assert check(await explained(client, campaign), "ten_dlc")["passed"]
    now = int(api.runtime.clock.now().timestamp())
    await execute(api, "insert into ten_dlc_parts values (:a, 'second', :at, 100000)", a=client.account_id, at=now)
    found = await explained(client, campaign)
    assert refused(found) == ["ten_dlc"]
    assert [reason for _, reason in (await attempted(api, found)).refused] == ["carrier_cap"]
