"""Texts at the intent: what they say, whose gap they keep, that nothing is said twice, and what is billed for it."""

import asyncio
from collections import deque
from datetime import UTC, datetime

import orjson
import pytest

from engine.carriers.port import SendMessage
from engine.checks.evidence import Evidence
from engine.checks.usage import usage_equals_attempts
from engine.clock import Clock
from engine.dispatch.compose import Message
from engine.dispatch.create import create_request
from engine.dispatch.facts import AttemptKey
from engine.dispatch.hints import Hint, Job, take_batch
from engine.dispatch.intent import IntentBatch, IntentContext, Refusal, commit_intents
from engine.dispatch.settle import settle
from engine.rules import reports
from engine.rules.telephony import CarrierError, Channel, EventKind, Fault
from engine.store import campaigns, messages
from tests.dispatch.attempts import assert_adds_up, context, give_up, heard, machine
from tests.dispatch.conftest import World

NUMBER, PEER = "+12135550100", "+12125550142"


async def one_off(world: World, clock: Clock, *texts: str, media: tuple[str, ...] = ()) -> tuple[int, list[Hint]]:
    """The hidden campaign, and hints of so many messages to different people."""
    did_id = world.did_ids[0] if world.did_ids else await world.did()
    async with world.db.begin() as conn:
        home = await campaigns.direct(conn, world.account_id, "sms", False, "simulated-command", clock.now())
        hints = []
        for n, said in enumerate(texts):
            phone = f"{PEER[:-2]}{40 + n}"
            number = await messages.queue(conn, home, NUMBER, phone, said, clock.now(), media_urls=media)
            hints.append(Hint(world.account_id, home.id, number, 1, phone, did_id, NUMBER, is_one_off_text=True))
    return home.id, hints


async def intend(world: World, hints: list[Hint], clock: Clock) -> IntentBatch:
    wanted = IntentContext(channel=Channel.SMS, clock=clock, ticket_s=2.0, answer_s=7.0, writer=1)
    return await commit_intents(world.db, hints, wanted)


async def payloads(world: World, event_type: str) -> list[dict[str, object]]:
    rows = await world.execute("select string_to_table(body, chr(10)) from outbox order by id")
    events = [orjson.loads(str(row[0])) for row in rows]
    return [event["payload"] for event in events if event["type"] == event_type]


# ── one-off texts ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_one_number_sends_many_one_off_texts_at_once(world: World, clock: Clock) -> None:
    campaign, hints = await one_off(world, clock, *["Your order is ready."] * 8)
    waiting = deque(Job(hint, Channel.SMS, str(n)) for n, hint in enumerate(hints))
    assert len(take_batch(waiting, 100)) == 8

    batch = await intend(world, hints, clock)

    assert [intent.hint for intent in batch.granted] == hints
    assert await world.execute("select sms_free_at::text from dids") == [("-infinity",)]  # campaigns may use it still
    assert await world.counts(campaign) == {"total": 8, "sending": 8}


async def test_a_one_off_text_goes_while_a_campaigns_text_holds_the_number(world: World, clock: Clock) -> None:
    did_id = await world.did()
    await world.execute("update dids set sms_free_at = 'infinity'")
    campaign = await world.campaign("sms", phones=["+12125550101"])
    _, hints = await one_off(world, clock, "Hello")

    batch = await intend(world, [*await world.hints(campaign, did_id), *hints], clock)

    assert [intent.hint for intent in batch.granted] == hints
    assert [reason for _, reason in batch.refused] == [Refusal.SENDER_NOT_READY]
    # … and its answer does not free the number for the campaign
    told = {AttemptKey(h.campaign_id, h.prospect_id, 1): [reports.accepted(1, "SM1")] for h in hints}
    await settle(world.db, told, context(clock))
    assert await world.execute("select sms_free_at::text from dids") == [("infinity",)]


async def test_a_batch_still_holds_one_campaign_text_per_sender() -> None:
    def job(n: int, did: int, is_one_off: bool) -> Job:
        return Job(Hint(1, 1, n, 1, f"p{n}", did, NUMBER, is_one_off_text=is_one_off), Channel.SMS, str(n))

    waiting = deque([job(1, 1, False), job(2, 1, True), job(3, 1, False), job(4, 1, True), job(5, 2, False)])
    assert [item.message_id for item in take_batch(waiting, 10)] == ["1", "2", "4", "5"]
    assert [item.message_id for item in waiting] == ["3"]


@pytest.mark.parametrize("is_one_off", [True, False])
async def test_a_hint_that_is_wrong_about_its_kind_is_refused(world: World, clock: Clock, is_one_off: bool) -> None:
    """A campaign's text may not pass for a one-off one, which keeps no gap; nor the other way round."""
    did_id = await world.did()
    campaign = await world.campaign("sms", phones=["+12125550101"])
    _, direct = await one_off(world, clock, "Hello")
    (hint,) = await world.hints(campaign, did_id) if is_one_off else direct
    wrong = hint._replace(is_one_off_text=is_one_off)
    batch = await intend(world, [wrong], clock)
    assert [reason for _, reason in batch.refused] == [Refusal.OUT_OF_DATE]


async def test_doubled_hints_of_a_one_off_text_send_it_once(world: World, clock: Clock) -> None:
    _, hints = await one_off(world, clock, *["Hello"] * 5)
    batches = await asyncio.gather(*(intend(world, hints, clock) for _ in range(4)))
    granted = [intent.hint.prospect_id for batch in batches for intent in batch.granted]
    assert sorted(granted) == sorted(hint.prospect_id for hint in hints)


async def test_a_doubtful_one_off_text_is_not_sent_again(world: World, clock: Clock) -> None:
    """P2: its socket was dropped; until the carrier says that it never had it, no intent is given."""
    campaign, hints = await one_off(world, clock, "Hello")
    await intend(world, hints, clock)
    key = AttemptKey(campaign, hints[0].prospect_id, 1)
    await settle(world.db, {key: [reports.doubtful(1)]}, context(clock))
    assert (await intend(world, hints, clock)).granted == []
    await settle(world.db, {key: [reports.absent(1)]}, context(clock))
    (again,) = (await intend(world, hints, clock)).granted
    assert again.try_no == 2
    await assert_adds_up(world, campaign)


async def test_somebody_who_has_opted_out_gets_nothing_and_the_owner_sees_it(world: World, clock: Clock) -> None:
    campaign, hints = await one_off(world, clock, "Hello")
    await world.execute(
        "insert into suppressions values (:account, :phone, 'stop', 'sms', :now)",
        account=world.account_id,
        phone=hints[0].phone,
        now=datetime.now(UTC),
    )
    batch = await intend(world, hints, clock)
    assert (batch.granted, [reason for _, reason in batch.refused]) == ([], [Refusal.SUPPRESSED])
    async with world.db.connect() as conn:
        message = await messages.get(conn, world.account_id, hints[0].prospect_id)
    assert message is not None
    assert (message.status, message.reason, message.sent_at) == ("suppressed", "suppressed", None)
    (told,) = await payloads(world, "sms.failed")
    assert told == {
        "id": message.public_id,
        "from": NUMBER,
        "to": hints[0].phone,
        "status": "suppressed",
        "reason": "suppressed",
    }
    assert await payloads(world, "campaign.prospect.dnc") == []
    assert await world.counts(campaign) == {"total": 1, "cancelled": 1, "suppressed": 1}


async def test_media_make_it_one_part_without_an_encoding(world: World, clock: Clock) -> None:
    urls = ("https://example.com/a.jpg", "https://example.com/b.png")
    campaign, hints = await one_off(world, clock, "ж" * 200, media=urls)
    (intent,) = (await intend(world, hints, clock)).granted
    request = create_request(intent, context(clock).settings)
    assert isinstance(request, SendMessage)
    assert (request.text, request.media_urls) == ("ж" * 200, urls)
    assert await world.execute("select segments, encoding from attempts") == [(1, None)]
    key = AttemptKey(campaign, hints[0].prospect_id, 1)
    await settle(world.db, {key: [reports.accepted(1, "MM1")]}, context(clock))
    (told,) = await payloads(world, "sms.sent")
    assert (told["segments"], told["encoding"], told["mediaUrls"]) == (1, None, list(urls))


# ── a campaign's texts ───────────────────────────────────────────────────────────────────────────────────────────────


async def with_data(world: World, campaign: int, *rows: dict[str, object] | None) -> None:
    ids = await world.execute("select id from prospects where campaign_id = :c order by id", c=campaign)
    for (id_,), row in zip(ids, rows, strict=True):
        data = None if row is None else orjson.dumps(row).decode()
        await world.execute("update prospects set data = cast(:data as jsonb) where id = :id", data=data, id=id_)


async def hints_of(world: World, campaign: int, count: int) -> list[Hint]:
    """One number for each person, for each sends but one text."""
    dids = [(await world.did(f"+1213555{n:04d}"), f"+1213555{n:04d}") for n in range(count)]
    hints = await world.hints(campaign, 0)
    return [
        Hint(h.account_id, h.campaign_id, h.prospect_id, h.attempt, h.phone, did_id, number)
        for h, (did_id, number) in zip(hints, dids, strict=True)
    ]


async def test_each_person_gets_their_own_words(world: World, clock: Clock) -> None:
    phones = ["+12125550101", "+12125550102", "+12125550103"]
    campaign = await world.campaign("sms", phones=phones, message="Hi {{first_name|there}}, hello")
    await with_data(world, campaign, {"First Name": "Ann"}, None, {"first name": "Łukasz"})
    batch = await intend(world, await hints_of(world, campaign, 3), clock)
    assert [intent.message for intent in batch.granted] == [
        Message("Hi Ann, hello", (), 1, "GSM-7"),
        Message("Hi there, hello", (), 1, "GSM-7"),
        Message("Hi Łukasz, hello", (), 1, "UCS-2"),
    ]
    assert await world.execute("select segments, encoding from attempts order by prospect_id") == [
        (1, "GSM-7"),
        (1, "GSM-7"),
        (1, "UCS-2"),
    ]


async def test_who_lacks_a_value_is_held_with_the_reason(world: World, clock: Clock) -> None:
    campaign = await world.campaign("sms", phones=["+12125550101", "+12125550102"], message="Hi {{name}}")
    await with_data(world, campaign, {"name": "Ann"}, {"name": " "})
    batch = await intend(world, await hints_of(world, campaign, 2), clock)
    assert [intent.message and intent.message.text for intent in batch.granted] == ["Hi Ann"]
    assert [reason for _, reason in batch.refused] == [Refusal.MISSING_VALUE]
    held = await world.execute("select state, reason, next_attempt_at > :now from prospects where state = 0",
                               now=clock.now())  # fmt: skip
    assert held == [(0, "missing_value: name", True)]
    await assert_adds_up(world, campaign)


async def test_what_data_makes_of_a_text_is_judged_too(world: World, clock: Clock) -> None:
    campaign = await world.campaign("sms", phones=["+12125550101", "+12125550102"], message="See {{url|us}}")
    await with_data(world, campaign, {"url": "https://bit.ly/x"}, {"url": "https://acme.com/x"})
    batch = await intend(world, await hints_of(world, campaign, 2), clock)
    assert [reason for _, reason in batch.refused] == [Refusal.CONTENT_REJECTED]
    assert len(batch.granted) == 1
    (told,) = await payloads(world, "sms.failed")
    assert (told["status"], told["reason"], told["to"]) == ("failed", "content_rejected", "+12125550101")
    assert await world.counts(campaign) == {"total": 2, "sending": 1, "cancelled": 1}
    await world.execute(
        'update accounts set settings = \'{"content": {"rules": {"link.shortener": "allow"}}}\''.replace(":", r"\:")
    )
    other = await world.campaign("sms", phones=["+12125550109"], message="See https://bit.ly/x")
    did_id = await world.did("+12135559999")
    assert len((await intend(world, await world.hints(other, did_id, "+12135559999"), clock)).granted) == 1


async def test_events_tell_parts_encoding_and_the_carriers_code(world: World, clock: Clock) -> None:
    campaign = await world.campaign("sms", phones=["+12125550101", "+12125550102"], message="ж" * 71)
    hints = await hints_of(world, campaign, 2)
    await intend(world, hints, clock)
    refused = CarrierError(Fault.UNREACHABLE, "40001", "a landline")
    told = {}
    for hint, kind, error in zip(hints, (EventKind.SMS_DELIVERED, EventKind.SMS_FAILED), (None, refused), strict=True):
        key = AttemptKey(campaign, hint.prospect_id, 1)
        told[key] = [reports.accepted(1, f"SM{hint.prospect_id}"), heard(key, kind, error=error)]  # type: ignore[arg-type]
    await settle(world.db, told, context(clock))
    for event_type in ("sms.sent", "sms.delivered", "sms.failed"):
        assert {(each["segments"], each["encoding"]) for each in await payloads(world, event_type)} == {(2, "UCS-2")}
    (failed,) = await payloads(world, "sms.failed")
    assert (failed["errorCode"], failed["reason"]) == ("40001", "a landline")
    async with world.db.connect() as conn:
        message = await messages.get(conn, world.account_id, hints[1].prospect_id)
    assert message is not None
    assert (message.status, message.error_code, message.reason) == ("failed", "40001", "a landline")
    assert (message.campaign_id, message.prospect_id, message.from_number) == (
        campaign,
        hints[1].prospect_id,
        "+12135550001",
    )


# ── the bill ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def usage(world: World) -> dict[str, int]:
    rows = await world.execute("select meter, sum(quantity)::bigint from usage_counts group by meter")
    return {str(meter): int(str(total)) for meter, total in rows}


async def test_a_text_is_billed_once_when_the_carrier_has_taken_it(world: World, clock: Clock) -> None:
    campaign, hints = await one_off(world, clock, "a" * 161, "b", "c", "d")
    await intend(world, hints, clock)
    keys = [AttemptKey(campaign, hint.prospect_id, 1) for hint in hints]
    refusal = CarrierError(Fault.INVALID_NUMBER, "10002", "no such number")
    first, second, third, fourth = keys
    answers = {
        first: [reports.accepted(1, "SM1")],
        second: [reports.rejected(1, refusal)],
        third: [reports.doubtful(1)],
        fourth: [reports.not_sent(1, "ticket_expired")],
    }
    await settle(world.db, answers, context(clock))
    assert await usage(world) == {"sms.send": 2}
    # a callback, a repeat of the answer, and the end change nothing; the doubtful one counts when it is heard of
    for told in (
        {first: [reports.accepted(1, "SM1"), heard(first, EventKind.SMS_SENT)]},  # type: ignore[arg-type]
        {first: [heard(first, EventKind.SMS_DELIVERED)], third: [heard(third, EventKind.SMS_SENT)]},  # type: ignore[arg-type]
        {first: [heard(first, EventKind.SMS_DELIVERED)]},  # type: ignore[arg-type]
    ):
        await settle(world.db, told, context(clock))
    assert await usage(world) == {"sms.send": 3}
    assert await usage_equals_attempts(Evidence(world.db, clock)) == []


async def test_a_late_answer_to_a_text_given_up_is_billed(world: World, clock: Clock) -> None:
    campaign, hints = await one_off(world, clock, "Hello")
    await intend(world, hints, clock)
    key = AttemptKey(campaign, hints[0].prospect_id, 1)
    await give_up(world, [key], clock)
    assert await usage(world) == {}
    await settle(world.db, {key: [reports.accepted(1, "SM9")]}, context(clock))
    assert await usage(world) == {"sms.send": 1}
    assert await usage_equals_attempts(Evidence(world.db, clock)) == []


@pytest.mark.parametrize(("mode", "meter"), [({}, "voice.outbound"), ({"ai": True}, "voice.ai")])
async def test_a_call_is_billed_by_its_seconds(world: World, clock: Clock, mode: dict[str, object], meter: str) -> None:
    campaign = await world.campaign(phones=["+12125550101"], **mode)
    await world.execute('update accounts set agent = \'{"kind"\\: "number", "e164"\\: "+12125550199"}\'')
    hints = await world.hints(campaign, await world.did())
    await commit_intents(world.db, hints, IntentContext(Channel.VOICE, clock, 2.0, 7.0, 1))
    key = AttemptKey(campaign, hints[0].prospect_id, 1)
    told = {key: [reports.accepted(1, "CA1"), *map(reports.carrier, machine(key))]}
    await settle(world.db, told, context(clock))
    await settle(world.db, told, context(clock))
    assert await usage(world) == {meter: 12}
    assert await usage_equals_attempts(Evidence(world.db, clock)) == []


async def test_the_checker_sees_a_wrong_bill(world: World, clock: Clock) -> None:
    campaign, hints = await one_off(world, clock, "Hello")
    await intend(world, hints, clock)
    key = AttemptKey(campaign, hints[0].prospect_id, 1)
    await settle(world.db, {key: [reports.accepted(1, "SM1")]}, context(clock))
    await world.execute("update usage_counts set quantity = quantity + 1")
    (problem,) = await usage_equals_attempts(Evidence(world.db, clock))
    assert "sms.send: 2 counted, the rows say 1" in problem
