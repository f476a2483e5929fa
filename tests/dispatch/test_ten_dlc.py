"""The caps of 10DLC: parts a minute and a day, over all workers, through midnight Pacific."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from engine.clock import Clock, starting_at
from engine.dispatch import ten_dlc
from engine.dispatch.campaigns import CampaignFacts, load_campaigns
from engine.dispatch.hints import Hint
from engine.dispatch.intent import IntentBatch, IntentContext, Refusal, commit_intents
from engine.dispatch.ten_dlc import Wanted
from engine.errors import InvalidInput
from engine.rules.account_limits import TenDlc, next_pacific_midnight, pacific_day, parse_limits, ten_dlc_of
from engine.rules.telephony import Channel
from tests.dispatch.conftest import World

PHONES = [f"+1212555{n:04d}" for n in range(100, 140)]
SOLE = {"tenDlc": {"kind": "sole_proprietor"}}  # 15 a minute, 1,000 a day


@pytest.mark.parametrize(
    ("score", "a_minute", "a_day"),
    [(100, 4_500, 200_000), (75, 4_500, 200_000), (74, 2_400, 40_000), (50, 2_400, 40_000), (49, 240, 10_000),
     (25, 240, 10_000), (24, 240, 2_000), (1, 240, 2_000), (0, 75, 2_000)],
)  # fmt: skip
def test_caps_by_score(score: int, a_minute: int, a_day: int) -> None:
    assert ten_dlc_of(score) == TenDlc(a_minute, a_day)
    assert parse_limits({"tenDlc": {"score": score}}).ten_dlc == TenDlc(a_minute, a_day)


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({"tenDlc": {}}, "limits.tenDlc.score"),
        ({"tenDlc": {"score": 101}}, "limits.tenDlc.score"),
        ({"tenDlc": {"kind": "gold"}}, "limits.tenDlc.kind"),
        ({"tenDlc": 5}, "limits.tenDlc"),
        ({"callsPerSecond": 0}, "limits.callsPerSecond"),
        ({"messagesPerSecond": "5"}, "limits.messagesPerSecond"),
        ({"concurrentCalls": 1.5}, "limits.concurrentCalls"),
        ({"calls": 1}, "limits.calls"),
        ([], "limits"),
    ],
)
def test_a_mistyped_limit_is_named(limits: object, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_limits(limits)
    assert field in caught.value.fields


@pytest.mark.parametrize(
    ("now", "midnight"),
    [
        (datetime(2026, 3, 11, 18, tzinfo=UTC), datetime(2026, 3, 12, 7, tzinfo=UTC)),
        (datetime(2026, 3, 12, 6, 59, 59, tzinfo=UTC), datetime(2026, 3, 12, 7, tzinfo=UTC)),
        (datetime(2026, 3, 12, 7, tzinfo=UTC), datetime(2026, 3, 13, 7, tzinfo=UTC)),
        (datetime(2026, 3, 8, 8, tzinfo=UTC), datetime(2026, 3, 9, 7, tzinfo=UTC)),  # a day of 23 hours
        (datetime(2026, 11, 1, 7, tzinfo=UTC), datetime(2026, 11, 2, 8, tzinfo=UTC)),  # and of 25
    ],
)
def test_the_day_ends_at_midnight_pacific(now: datetime, midnight: datetime) -> None:
    assert next_pacific_midnight(now) == midnight
    assert pacific_day(midnight) == pacific_day(now) + 1 == pacific_day(midnight - timedelta(seconds=1)) + 1


async def limit(world: World, **limits: object) -> None:
    await world.execute(
        "update accounts set settings = jsonb_build_object('limits', cast(:limits as jsonb)) where id = :id",
        limits=orjson.dumps(limits).decode(),
        id=world.account_id,
    )


async def send(world: World, clock: Clock, campaign: int, dids: list[int], phones: range) -> IntentBatch:
    """One worker's batch: a message from each of these numbers."""
    hints = await world.hints(campaign, dids[0])
    chosen = [
        hint._replace(did_id=did, from_number=f"+1213555{n:04d}")
        for n, (hint, did) in enumerate(zip(hints, dids, strict=True))
    ]
    context = IntentContext(Channel.SMS, clock, 2.0, 7.0, 1)
    return await commit_intents(world.db, [chosen[n] for n in phones], context)


async def numbers(world: World, count: int) -> list[int]:
    return [await world.did(f"+1213555{n:04d}") for n in range(count)]


async def test_workers_together_keep_the_cap_of_the_minute(world: World, clock: Clock) -> None:
    await limit(world, **SOLE)
    campaign = await world.campaign("sms", phones=PHONES)
    dids = await numbers(world, len(PHONES))
    parts = [range(start, 40, 4) for start in range(4)]

    batches = await asyncio.gather(*(send(world, clock, campaign, dids, part) for part in parts))

    assert sum(len(batch.granted) for batch in batches) == 15
    assert {reason for batch in batches for _, reason in batch.refused} == {Refusal.CARRIER_CAP}
    waits = await world.execute(
        "select distinct next_attempt_at > :now from prospects where state = 0", now=clock.now()
    )
    assert waits == [(True,)]
    free = await world.execute("select count(*) from dids where sms_free_at = 'infinity'")
    assert free == [(15,)]  # the senders of those put off are not held


async def test_the_minute_slides_and_the_day_waits_for_midnight(world: World) -> None:
    facts = await sms_facts(world, {"tenDlc": {"kind": "sole_proprietor"}})
    noon = datetime(2026, 3, 11, 19, tzinfo=UTC)
    sent: list[tuple[datetime, int]] = []
    at = noon
    async with world.db.begin() as conn:
        while sum(parts for _, parts in sent) + 7 <= 1_000:
            verdict = await ten_dlc.admit(conn, [wanted(facts.id, parts=7)], {facts.id: facts}, at)
            if verdict.allowed:
                await ten_dlc.count(conn, verdict.allowed, {facts.id: facts}, at)
                sent.append((at, 7))
                at += timedelta(seconds=1)
            else:
                assert verdict.later[0][1] == at + ten_dlc.AGAIN_AFTER
                at = verdict.later[0][1]
        for begin, _ in sent:
            assert sum(parts for when, parts in sent if begin <= when < begin + timedelta(minutes=1)) <= 15
        at += timedelta(minutes=5)
        verdict = await ten_dlc.admit(conn, [wanted(facts.id, parts=7)], {facts.id: facts}, at)
        assert verdict.later[0][1] == next_pacific_midnight(at)
        verdict = await ten_dlc.admit(conn, [wanted(facts.id, parts=7)], {facts.id: facts}, next_pacific_midnight(at))
        assert verdict.allowed


async def test_what_the_law_asks_for_is_counted_and_not_held_up(world: World, clock: Clock) -> None:
    facts = await sms_facts(world, SOLE)
    system = replace(facts, id=7, is_system=True)
    known, now = {facts.id: facts, 7: system}, clock.now()
    async with world.db.begin() as conn:
        await ten_dlc.count(conn, [wanted(facts.id, parts=15)], known, now)
        verdict = await ten_dlc.admit(conn, [wanted(facts.id), wanted(7)], known, now)
        await ten_dlc.count(conn, verdict.allowed, known, now)
    assert verdict.allowed == [wanted(7)]
    assert await world.execute("select sum(parts) from ten_dlc_parts where span = 'day'") == [(16,)]


async def test_parts_are_those_of_the_text_as_composed(world: World) -> None:
    clock = starting_at(datetime(2026, 3, 11, 19, tzinfo=UTC), 1.0)
    await limit(world, **SOLE)
    campaign = await world.campaign("sms", phones=PHONES[:2], message="{{word}} ж")
    for phone, word in zip(PHONES, ("a" * 300, "b"), strict=False):
        await world.execute(
            "update prospects set data = jsonb_build_object('word', cast(:word as text)) where phone = :phone",
            word=word,
            phone=phone,
        )
    batch = await send(world, clock, campaign, await numbers(world, 2), range(2))
    assert [intent.message and intent.message.segments for intent in batch.granted] == [5, 1]
    assert await world.execute("select sum(parts) from ten_dlc_parts where span = 'day'") == [(6,)]


async def test_without_caps_nothing_is_counted(world: World) -> None:
    clock = starting_at(datetime(2026, 3, 11, 19, tzinfo=UTC), 1.0)
    campaign = await world.campaign("sms", phones=PHONES)
    batch = await send(world, clock, campaign, await numbers(world, len(PHONES)), range(30))
    assert len(batch.granted) == 30
    assert await world.execute("select * from ten_dlc_parts") == []


def wanted(campaign_id: int, parts: int = 1) -> Wanted:
    return Wanted(Hint(1, campaign_id, 1, 1, PHONES[0], 1, "+12125550001"), parts)


async def sms_facts(world: World, limits: dict[str, object]) -> CampaignFacts:
    await limit(world, **limits)
    campaign = await world.campaign("sms", phones=[])
    async with world.db.connect() as conn:
        return (await load_campaigns(conn, [campaign]))[campaign]
