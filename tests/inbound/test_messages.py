"""A text arrives: stored once, told once, attributed, counted; and what is not ours leaves no trace but a record."""

import asyncio

import pytest
from sqlalchemy.exc import DBAPIError

from engine.clock import Clock
from engine.dispatch.inbound import last_written, take_message
from engine.rules.telephony import Media
from engine.store.inbound import Contact
from tests.dispatch.attempts import reserve
from tests.dispatch.conftest import World
from tests.inbound.conftest import ANOTHER, BASE, OURS, PERSON, Write, context, events, message, types


async def test_a_message_is_stored_and_told(world: World, write: Write) -> None:
    taken = await write("Yes, I'll be there.")
    assert (taken.is_known, taken.wake, taken.command) == (True, None, None)
    ((_, body, segments, meaning),) = await world.execute("select id, body, segments, meaning from inbound_messages")
    assert (body, segments, meaning) == ("Yes, I'll be there.", 1, "")
    (event,) = await events(world)
    assert (event["type"], event["uniqueId"]) == ("sms.received", event["trackingId"])
    created_at = event["payload"].pop("created_at")
    assert created_at.startswith("2026-03-11T18:0")
    assert event["payload"] == {
        "id": event["uniqueId"],
        "from": PERSON,
        "to": OURS,
        "message": "Yes, I'll be there.",
        "direction": "inbound",
        "segments": 1,
        "encoding": "GSM-7",
    }
    assert "owner" not in event
    rows = await world.execute("select meter, quantity from usage_counts")
    assert rows == [("sms.receive", 1)]


async def test_a_repeat_changes_nothing(world: World, write: Write) -> None:
    await asyncio.gather(*(write("STOP", name="SM-same") for _ in range(6)))
    assert await types(world) == ["sms.received", "sms.opt_out"]
    assert len(await world.execute("select id from inbound_messages")) == 1
    assert len(await world.execute("select id from prospects")) == 1  # the confirmation
    assert await world.execute("select sum(quantity)::int from usage_counts") == [(1,)]


async def test_the_same_id_at_two_carriers_is_two_messages(world: World, write: Write) -> None:
    await write("Hello", name="SM-same")
    await write("Hello", name="SM-same", carrier="simulated-document")
    assert await types(world) == ["sms.received"] * 2


async def test_a_number_that_is_not_ours(world: World, write: Write) -> None:
    assert not (await write("STOP", to="+12135550199")).is_known
    await world.execute("update dids set state = 'released'")
    assert not (await write("STOP")).is_known
    for table in ("inbound_messages", "suppressions", "outbox", "usage_counts", "prospects"):
        assert await world.execute(f"select 1 from {table}") == []


@pytest.mark.parametrize(
    ("own", "teller", "is_heard"),
    [
        (None, "simulated-command", True),
        (None, "telco", False),
        ("simulated-document", "simulated-command", True),
        ("telco", "telco", True),
        ("telco", "simulated-command", False),  # its secret is no secret: it must not opt people out of live campaigns
        ("telco", "othertel", False),
    ],
)
async def test_a_carrier_speaks_only_for_the_numbers_that_it_serves(
    world: World, write: Write, own: str | None, teller: str, is_heard: bool
) -> None:
    await world.execute(
        "update accounts set settings = jsonb_strip_nulls(jsonb_build_object('carrier', cast(:own as text)))", own=own
    )
    assert (await write("STOP", carrier=teller)).is_known == is_heard
    assert bool(await world.execute("select 1 from suppressions")) == is_heard
    live = await world.execute("select is_live, carrier from campaigns where is_system")
    assert live == ([(teller == "telco", teller)] if is_heard else [])


async def test_an_event_carries_the_owner_of_its_line(world: World, write: Write) -> None:
    await world.execute(
        "insert into lines (id, account_id, name, user_id, team_id, created_at) values (9, :a, 'Desk', 7, 8, now())",
        a=world.account_id,
    )
    await world.execute("update dids set line_id = 9")
    await write("Hello")
    (event,) = await events(world)
    assert event["payload"]["line"] == event["owner"][0] == "line_0000000000009"
    assert event["owner"][1:] == ["user_0000000000007", "team_0000000000008"]
    assert await world.execute("select line_id from inbound_messages") == [(9,)]


async def test_an_mms_names_its_components(world: World, write: Write) -> None:
    await write(
        "", media=(Media("http://carrier/secret/1", "image/png"), Media("http://carrier/secret/2", "audio/ogg"))
    )
    (event,) = await events(world)
    base = f"{BASE}/api/sms/{event['uniqueId']}/components"
    assert event["payload"]["mediaUrls"] == [f"{base}/1", f"{base}/2"]
    assert event["payload"]["segments"] == 1
    assert "secret" not in str(event)
    assert await world.execute("select count(*)::int from inbound_messages where media_due_at is not null") == [(1,)]


@pytest.mark.parametrize("text", ["a\0b", "x" * 20_000, "\u202e💥" * 100, "'; drop table inbound_messages; --"])
async def test_any_text_is_stored(world: World, write: Write, text: str) -> None:
    await write(text)
    ((body,),) = await world.execute("select body from inbound_messages")
    assert body == text.replace("\0", "\ufffd")
    (event,) = await events(world)
    assert event["payload"]["message"] == body


async def test_a_sender_that_is_no_number_gets_no_answer(world: World, write: Write) -> None:
    taken = await write("HELP", from_="12345")
    assert (taken.is_known, taken.wake) == (True, None)


async def test_the_raw_report_is_kept_beside_it(world: World, write: Write) -> None:
    await write("Hello")
    rows = await world.execute(
        "select event ->> 'kind', event -> 'raw' ->> 'text', processed_at is null from carrier_callbacks"
    )
    assert rows == [("inbound", "Hello", False)]


# ── attribution ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_reply_belongs_to_the_campaign_that_wrote_last(world: World, write: Write, clock: Clock) -> None:
    older = await world.campaign("sms", phones=[PERSON, ANOTHER])
    newer = await world.campaign("sms", phones=[PERSON], status="completed")
    called = await world.campaign("voice", phones=[PERSON])
    never = await world.campaign("sms", phones=[PERSON])
    for campaign in (older, newer, called):
        await reserve(world, campaign, clock, is_sms=campaign != called)
    await world.execute("update attempts set intent_at = intent_at - interval '1 hour' where campaign_id = :c", c=older)
    await write("Sounds good")
    await write("Me too", from_=ANOTHER)
    await write("And me", from_="+12125550149")
    found = await world.execute(
        "select m.campaign_id, p.phone from inbound_messages m left join prospects p"
        " on p.id = m.prospect_id and p.campaign_id = m.campaign_id order by m.id"
    )
    assert found == [(newer, PERSON), (older, ANOTHER), (None, None)]
    payload = (await events(world))[0]["payload"]
    assert payload["campaignId"].startswith("camp_")
    assert payload["prospectId"].startswith("pros_")
    assert never not in {row[0] for row in found}


async def test_another_accounts_campaign_is_not_seen(world: World, write: Write, clock: Clock) -> None:
    other = World(world.db)
    await world.execute("insert into accounts (id, name, created_at) values (:id, 'other', now())", id=other.account_id)
    await other.did("+12135550177")
    campaign = await other.campaign("sms", phones=[PERSON])
    await reserve(other, campaign, clock, is_sms=True)
    await write("STOP")
    assert await world.execute("select campaign_id from inbound_messages") == [(None,)]
    assert await other.counts(campaign) == {"total": 1, "sending": 1}
    assert await world.execute("select account_id from suppressions") == [(world.account_id,)]


def test_who_wrote_last(clock: Clock) -> None:
    now = clock.now()

    def contact(campaign: int, intent: bool, is_direct: bool = False, prospect: int = 1) -> Contact:
        return Contact(campaign, prospect, "sms", is_direct, None, now if intent else None, is_open=False)

    assert last_written([]) is None
    assert last_written([contact(1, False)]) is None
    assert last_written([contact(1, True), contact(2, False)]) == contact(1, True)
    assert last_written([contact(1, True), contact(2, True, True, prospect=2)]) is None  # a one-off was the last


async def test_a_message_whose_last_statement_fails_leaves_nothing(world: World, did: int, clock: Clock) -> None:
    await world.execute(
        "insert into usage_counts (account_id, day, meter, writer, quantity)"
        " select :a, :day, 'sms.receive', -n, 9223372036854775807 from generate_series(1, 16) n",
        a=world.account_id,
        day=clock.now().date(),
    )
    with pytest.raises(DBAPIError, match="out of range"):
        await take_message(world.db, message("STOP"), context(clock))
    for table in ("inbound_messages", "suppressions", "prospects", "outbox", "carrier_callbacks"):
        assert await world.execute(f"select 1 from {table}") == []
