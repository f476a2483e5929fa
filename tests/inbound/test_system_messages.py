"""The answers that the law asks for, at the intent and at the carrier: exempt from what holds the rest, no further."""

from datetime import UTC, datetime
from typing import Any

import pytest

from engine.checks import limits as limit_checks
from engine.checks.evidence import Create, Evidence
from engine.clock import Clock, starting_at
from engine.dispatch.create import create_request
from engine.dispatch.facts import AttemptKey
from engine.dispatch.intent import Hint, IntentContext, Refusal, commit_intents
from engine.dispatch.settle import settle
from engine.ids import attempt_ref
from engine.rules import reports
from engine.rules.telephony import CarrierError, Channel, Fault
from tests.dispatch.attempts import context as settling
from tests.dispatch.attempts import told
from tests.dispatch.conftest import World
from tests.inbound.conftest import OURS, PERSON, Write, assert_kept, events, suppressed

NIGHT = datetime(2026, 3, 11, 9, 0, tzinfo=UTC)  # five in the morning in New York


def intents(clock: Clock) -> IntentContext:
    return IntentContext(channel=Channel.SMS, clock=clock, ticket_s=2.0, answer_s=7.0, writer=1)


async def system_hints(world: World, did: int) -> list[Hint]:
    rows: list[tuple[Any, ...]] = await world.execute("select id from campaigns where is_system")
    return await world.hints(rows[0][0], did, OURS)


async def test_a_confirmation_goes_out_at_night_to_the_suppressed(world: World, write: Write, did: int) -> None:
    await write("STOP")
    night = starting_at(NIGHT, speed=1.0)
    (hint,) = await system_hints(world, did)
    batch = await commit_intents(world.db, [hint], intents(night))
    (intent,) = batch.granted
    request: Any = create_request(intent, settling(night).settings)
    assert (request.to, request.from_) == (PERSON, OURS)
    assert "opted out" in request.text
    assert (await commit_intents(world.db, [hint], intents(night))).refused == [(hint, Refusal.OUT_OF_DATE)]
    await assert_kept(world.db, night)


async def test_everything_else_to_the_suppressed_is_refused(world: World, write: Write, did: int, clock: Clock) -> None:
    await write("STOP")
    campaign = await world.campaign("sms", phones=[PERSON])
    batch = await commit_intents(world.db, await world.hints(campaign, did, OURS), intents(clock))
    assert [reason for _, reason in batch.refused] == [Refusal.SUPPRESSED]


async def test_the_senders_pace_does_not_hold_it_and_is_not_moved_by_it(
    world: World, write: Write, did: int, clock: Clock
) -> None:
    for free_at in ("infinity", "2026-03-11 18:10:00+00"):
        await world.execute(f"update dids set sms_free_at = '{free_at}'")
        await write("HELP", from_=f"+1212555010{len(free_at) % 10}")
        hint = (await system_hints(world, did))[-1]
        (intent,) = (await commit_intents(world.db, [hint], intents(clock))).granted
        await accepted(world, clock, hint)
        assert intent.campaign.is_system
        assert await world.execute(f"select sms_free_at = '{free_at}' from dids") == [(True,)]


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ("update campaigns set status = 'paused' where is_system", Refusal.NOT_LIVE),
        ("update prospects set attempt = 2", Refusal.OUT_OF_DATE),
        ("update dids set state = 'burned'", Refusal.SENDER_NOT_READY),
        ("update dids set number = '+12135550198'", Refusal.SENDER_NOT_READY),
        ("update dids set capabilities = '{voice}'", Refusal.SENDER_NOT_READY),
    ],
)
async def test_it_is_not_exempt_from_the_rest(
    world: World, write: Write, did: int, clock: Clock, change: str, refusal: Refusal
) -> None:
    await write("STOP")
    hints = await system_hints(world, did)
    await world.execute(change)
    batch = await commit_intents(world.db, hints, intents(clock))
    assert [reason for _, reason in batch.refused] == [refusal]


async def accepted(world: World, clock: Clock, hint: Hint) -> None:
    key = AttemptKey(hint.campaign_id, hint.prospect_id, hint.attempt)
    await settle(world.db, {key: [reports.accepted(1, "SM-carrier")]}, settling(clock))


async def test_it_is_told_as_a_one_off_message(world: World, write: Write, did: int, clock: Clock) -> None:
    await write("STOP")
    (hint,) = await system_hints(world, did)
    await commit_intents(world.db, [hint], intents(clock))
    await accepted(world, clock, hint)
    sent = (await events(world))[-1]
    assert (sent["type"], sent["payload"]["to"], sent["payload"]["from"]) == ("sms.sent", PERSON, OURS)
    assert "campaignId" not in sent["payload"]


async def test_the_carriers_own_opt_out_does_no_harm(world: World, write: Write, did: int, clock: Clock) -> None:
    """It heard the STOP as well, and refuses our confirmation: nothing is sent twice, and START still works."""
    await write("STOP")
    (hint,) = await system_hints(world, did)
    await commit_intents(world.db, [hint], intents(clock))
    key = AttemptKey(hint.campaign_id, hint.prospect_id, hint.attempt)
    error = CarrierError(Fault.OPTED_OUT, "40300", "opted out")
    await settle(world.db, {key: [reports.rejected(1, error)]}, settling(clock))
    assert await suppressed(world) == [(PERSON, "sms_keyword", "opted_out")]
    assert (await told(world))[-1] == "sms.failed"
    assert await world.counts(hint.campaign_id) == {"total": 1, "completed": 1, "failed": 1}
    await write("STOP")
    assert len(await system_hints(world, did)) == 1
    await write("START")
    assert await suppressed(world) == []
    await assert_kept(world.db, clock)


async def test_the_checkers_know_the_kind(world: World, write: Write, did: int, clock: Clock) -> None:
    """Two answers of one number within a second break no spacing; a campaign's two do."""
    for person in ("+12125550101", "+12125550102"):
        await write("STOP", from_=person)
    system = await system_hints(world, did)
    campaign = await world.hints(await world.campaign("sms", phones=[PERSON, "+12125550103"]), did, OURS)

    def evidence(hints: list[Hint]) -> Evidence:
        creates = tuple(
            Create(attempt_ref(h.campaign_id, h.prospect_id, 1), 1_000.0 + n, True, OURS, h.phone, Channel.SMS)
            for n, h in enumerate(hints)
        )
        return Evidence(world.db, clock, creates)

    assert await limit_checks.sms_spacing(evidence([*system, campaign[0]])) == []
    assert len(await limit_checks.sms_spacing(evidence(campaign))) == 1
