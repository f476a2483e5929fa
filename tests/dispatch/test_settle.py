"""Settling against a real PostgreSQL: what each report changes, retries, releases, opt-outs."""

import asyncio
from datetime import timedelta

import orjson
import pytest

from engine.clock import Clock
from engine.dispatch import facts
from engine.dispatch.facts import AttemptKey
from engine.dispatch.settle import settle, settle_callbacks, settle_inline
from engine.ids import attempt_ref
from engine.rules import reports
from engine.rules.attempt import AttemptState
from engine.rules.prospect import Outcome, ProspectState
from engine.rules.telephony import Amd, CarrierError, CommandKind, EndReason, EventKind, Fault
from engine.rules.whereabouts import whereabouts
from engine.rules.window import hours
from engine.store import suppressions
from tests.dispatch.attempts import (
    assert_adds_up,
    context,
    event,
    give_up,
    heard,
    human,
    inbox,
    machine,
    reserve,
    told,
    unanswered,
)
from tests.dispatch.conftest import World

PHONES = [f"+1212555{n:04d}" for n in range(100, 120)]
AGENT = {"kind": "sip", "uri": "sip:agent@example.com"}


async def prospect(world: World, key: AttemptKey) -> tuple[object, ...]:
    rows = await world.execute(
        "select state, attempt, outcome, reason, next_attempt_at = 'infinity' from prospects where id = :id",
        id=key.prospect_id,
    )
    return rows[0]


async def attempt(world: World, key: AttemptKey) -> facts.AttemptView:
    async with world.db.connect() as conn:
        return (await facts.read_attempts(conn, [key]))[0]


async def test_a_call_from_acceptance_to_its_end(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:1], agent=AGENT)
    (key,) = await reserve(world, campaign, clock)

    await settle(world.db, {key: [reports.accepted(1, "c1")]}, context(clock))
    for each in human(key):
        await settle_callbacks(world.db, await inbox(world, [each]), context(clock))

    row = await attempt(world, key)
    assert (row.state, row.outcome, row.carrier_id) == (AttemptState.ENDED, Outcome.HUMAN_CONNECTED, "c1")
    assert (row.duration_s, row.check_at, row.command) == (30, None, None)
    assert await prospect(world, key) == (ProspectState.COMPLETED, 1, Outcome.HUMAN_CONNECTED, None, True)
    assert await world.counts(campaign) == {"total": 1, "completed": 1, "human_connected": 1}
    assert await told(world) == [
        "campaign.call.initiated",
        "voice.initiated",
        "voice.answered",
        "voice.amd",
        "campaign.call.human_connected",
        "campaign.call.human_hangup",
        "voice.completed",
    ]
    assert await world.execute("select count(*) from carrier_callbacks where processed_at is null") == [(0,)]


async def test_a_callback_that_beats_the_creates_answer(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:1], agent=AGENT)
    (key,) = await reserve(world, campaign, clock)
    await settle_callbacks(world.db, await inbox(world, unanswered(key, EndReason.BUSY)), context(clock))
    before = await told(world)

    await settle(world.db, {key: [reports.accepted(1, "late")]}, context(clock))

    row = await attempt(world, key)
    assert (row.state, row.outcome, row.carrier_id) == (
        AttemptState.ENDED,
        Outcome.BUSY,
        f"carrier-{attempt_ref(*key)}",
    )
    assert await told(world) == before
    await assert_adds_up(world, campaign)


async def test_a_late_answer_adds_only_the_carriers_id(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:1])
    (key,) = await reserve(world, campaign, clock)
    await give_up(world, [key], clock)
    ended = await attempt(world, key)

    await settle(world.db, {key: [reports.accepted(1, "c1")]}, context(clock))

    assert await attempt(world, key) == ended._replace(carrier_id="c1")
    assert ended.outcome == Outcome.UNKNOWN
    await assert_adds_up(world, campaign)


async def test_an_answer_to_an_older_try_changes_nothing(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:1])
    (key,) = await reserve(world, campaign, clock)
    await settle(world.db, {key: [reports.not_sent(1, "slot_missed")]}, context(clock))
    assert await reserve(world, campaign, clock) == [key]
    row = await attempt(world, key)
    assert row.try_no == 2

    for stale in (reports.accepted(1, "c1"), reports.not_sent(1, "x"), reports.doubtful(1), reports.absent(1)):
        await settle(world.db, {key: [stale]}, context(clock))

    assert await attempt(world, key) == row
    await assert_adds_up(world, campaign)


async def test_a_retry_queues_the_next_attempt_and_its_delay(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:1], max_retries=1, retry_delay="4h")
    (key,) = await reserve(world, campaign, clock)
    await settle_callbacks(world.db, await inbox(world, unanswered(key, EndReason.NO_ANSWER)), context(clock))
    assert await prospect(world, key) == (ProspectState.QUEUED, 2, None, "no_answer", False)
    assert await world.counts(campaign) == {"total": 1, "queued": 1, "retrying": 1}
    due = (await world.execute("select next_attempt_at from prospects"))[0][0]
    assert abs(due - clock.now() - timedelta(hours=4)) < timedelta(seconds=5)  # type: ignore[operator]

    (second,) = await reserve(world, campaign, clock)
    await settle_callbacks(world.db, await inbox(world, unanswered(second, EndReason.NO_ANSWER)), context(clock))

    assert second.attempt == 2
    assert await prospect(world, second) == (ProspectState.COMPLETED, 2, Outcome.NO_ANSWER, "no_answer", True)
    await assert_adds_up(world, campaign)


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        (reports.not_sent(1, "ticket_expired"), "ticket_expired"),
        (reports.rejected(1, CarrierError(Fault.RATE_LIMITED, retryable=True)), "rate_limited"),
    ],
)
async def test_nothing_sent_queues_the_same_attempt(
    world: World, clock: Clock, report: reports.Report, reason: str
) -> None:
    campaign = await world.campaign(phones=PHONES[:1])
    (key,) = await reserve(world, campaign, clock)
    result = await settle(world.db, {key: [report]}, context(clock))
    assert result.released == [key]
    assert await prospect(world, key) == (ProspectState.QUEUED, 1, None, reason, False)
    assert await world.counts(campaign) == {"total": 1, "queued": 1}
    assert await told(world) == []


async def test_cancelled_while_in_flight(world: World, clock: Clock) -> None:
    """What was contacted keeps its outcome and is not tried again; what was not sent is cancelled."""
    campaign = await world.campaign(phones=PHONES[:3], max_retries=3)
    busy, released, connected = await reserve(world, campaign, clock)
    await world.execute("update campaigns set status = 'cancelled' where id = :c", c=campaign)

    await settle(
        world.db,
        {
            busy: [heard(busy, EventKind.CALL_ENDED, end=EndReason.BUSY)],
            released: [reports.not_sent(1, "ticket_expired")],
            connected: [reports.carrier(each) for each in human(connected)],
        },
        context(clock),
    )

    assert (await prospect(world, busy))[:3] == (ProspectState.COMPLETED, 1, Outcome.BUSY)
    assert (await prospect(world, released))[:3] == (ProspectState.CANCELLED, 1, None)
    assert (await prospect(world, connected))[:3] == (ProspectState.COMPLETED, 1, Outcome.HUMAN_CONNECTED)
    await assert_adds_up(world, campaign)


async def test_a_machine_is_called_again_only_where_the_campaign_names_it(world: World, clock: Clock) -> None:
    named = {"voicemail": {"max": 1, "delay": "30m"}, "noAnswer": {"max": 0}}
    for mode, expected in (({"retry": named}, 2), ({"max_retries": 3}, 1)):
        campaign = await world.campaign(phones=PHONES[:1], **mode)
        (key,) = await reserve(world, campaign, clock)
        told = [reports.carrier(each, is_whole=True) for each in machine(key)]
        await settle(world.db, {key: told}, context(clock))
        rows = await world.execute("select attempt from prospects where id = :id", id=key.prospect_id)
        assert rows == [(expected,)]
        await assert_adds_up(world, campaign)


async def test_a_sender_that_the_carrier_refuses_pauses_the_campaign(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:2])
    keys = await reserve(world, campaign, clock)
    refused = reports.rejected(1, CarrierError(Fault.SENDER_CONFIG, "21606", "not a number of yours"))
    result = await settle(world.db, {key: [refused] for key in keys}, context(clock))
    assert result.paused == {campaign: "sender_config: not a number of yours"}
    assert await world.execute("select status, status_reason from campaigns") == [
        ("paused", "sender_config: not a number of yours")
    ]
    assert await world.counts(campaign) == {"total": 2, "queued": 2}


@pytest.mark.parametrize("is_listed", [False, True])
async def test_an_opt_out_suppresses_in_the_same_transaction(world: World, clock: Clock, is_listed: bool) -> None:
    campaign = await world.campaign("sms", phones=PHONES[:1], max_retries=2)
    (key,) = await reserve(world, campaign, clock, is_sms=True)
    if is_listed:
        async with world.db.begin() as conn:
            await suppressions.add(conn, world.account_id, PHONES[:1], "list", "api", clock)
    stop = CarrierError(Fault.OPTED_OUT, "21610", "the recipient replied STOP")
    ids = await inbox(world, [event(key, EventKind.SMS_FAILED, error=stop)])
    await settle_callbacks(world.db, ids, context(clock))
    assert await world.execute("select phone, reason, source, renewed_at is not null from suppressions") == [
        (PHONES[0], "opted_out", "carrier", is_listed)
    ]
    assert (await prospect(world, key))[:3] == (ProspectState.COMPLETED, 1, Outcome.FAILED)
    await assert_adds_up(world, campaign)


async def test_a_texts_sender_waits_its_gap_from_the_answer(world: World, clock: Clock) -> None:
    campaign = await world.campaign("sms", phones=PHONES[:1])
    (key,) = await reserve(world, campaign, clock, is_sms=True)
    await settle(world.db, {key: [reports.accepted(1, "m1")]}, context(clock))
    first = (await world.execute("select sms_free_at from dids"))[0][0]
    gap = first - clock.now()  # type: ignore[operator]
    assert timedelta(seconds=895) < gap <= timedelta(seconds=1020)
    assert (await prospect(world, key))[0] == ProspectState.SENT
    assert await world.counts(campaign) == {"total": 1, "sent": 1}

    await world.execute("update dids set sms_free_at = 'infinity'")  # another message is under way
    await settle(world.db, {key: [heard(key, EventKind.SMS_DELIVERED)]}, context(clock))

    assert await world.execute("select sms_free_at = 'infinity' from dids") == [(True,)]
    assert await told(world) == ["sms.sent", "sms.delivered"]
    await assert_adds_up(world, campaign)


async def test_a_text_that_was_not_sent_uses_no_gap(world: World, clock: Clock) -> None:
    campaign = await world.campaign("sms", phones=PHONES[:1])
    (key,) = await reserve(world, campaign, clock, is_sms=True)
    await settle(world.db, {key: [reports.not_sent(1, "slot_missed")]}, context(clock))
    assert await world.execute("select sms_free_at <= :now from dids", now=clock.now()) == [(True,)]


async def test_an_unmatched_callback_is_marked_and_forgotten(world: World, clock: Clock) -> None:
    stray = AttemptKey(1, 2, 3)
    ids = await inbox(world, [event(stray, EventKind.RINGING)])
    result = await settle_callbacks(world.db, ids, context(clock))
    assert result.unmatched == [stray]
    assert await world.execute("select processed_at is not null from carrier_callbacks") == [(True,)]


async def test_a_carrier_speaks_only_of_its_own_attempts(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:1])
    (key,) = await reserve(world, campaign, clock)
    ids = await inbox(world, [event(key, EventKind.CALL_ENDED, end=EndReason.BUSY)], carrier="simulated-document")
    await settle_callbacks(world.db, ids, context(clock))
    assert (await attempt(world, key)).state == AttemptState.RESERVED
    assert await world.execute("select processed_at is not null from carrier_callbacks") == [(True,)]


async def test_known_rows_are_written_without_being_read(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:3])
    keys = await reserve(world, campaign, clock)
    known = {key: await attempt(world, key) for key in keys}
    ids = await inbox(world, [event(keys[1], EventKind.RINGING)])
    await settle_callbacks(world.db, ids, context(clock))  # a callback was faster: this row is not as known any more
    answers = {key: [reports.accepted(1, "c1")] for key in keys}

    await settle(world.db, answers, context(clock), known)

    rows = [await attempt(world, key) for key in keys]
    assert [row.state for row in rows] == [AttemptState.PLACED, AttemptState.RINGING, AttemptState.PLACED]
    assert [row.carrier_id for row in rows][::2] == ["c1", "c1"]
    assert (await told(world)).count("voice.initiated") == 3


async def test_a_command_is_decided_once_and_kept_until_it_is_done(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:1], agent=AGENT)
    (key,) = await reserve(world, campaign, clock)
    ids = await inbox(world, [event(key, EventKind.ANSWERED)])
    results = await asyncio.gather(*(settle_callbacks(world.db, ids, context(clock, writer=n)) for n in (1, 2)))
    assert [order.command["kind"] for result in results for order in result.commands] == ["handoff"]
    assert (await attempt(world, key)).command is not None
    await settle(world.db, {key: [reports.command_done(1)]}, context(clock))
    assert (await attempt(world, key)).command is None


async def test_a_document_carrier_gets_its_plan_in_the_answer_and_again_for_the_repeat(
    world: World, clock: Clock
) -> None:
    campaign = await world.campaign(phones=PHONES[:1], agent=AGENT)
    (key,) = await reserve(world, campaign, clock)
    ref, settling = attempt_ref(*key), context(clock, document=True)
    answered, bridged = event(key, EventKind.ANSWERED), event(key, EventKind.AGENT_BRIDGED)

    plan = await settle_inline(world.db, ref, [answered.key], await inbox(world, [answered]), settling)
    assert plan is not None
    assert (plan.kind, plan.number) == (CommandKind.HANDOFF, 1)
    assert plan.agent is not None
    assert plan.agent.params["attempt_id"] == ref
    assert plan.agent.token

    assert await settle_inline(world.db, ref, [bridged.key], await inbox(world, [bridged]), settling) is None
    repeat = await settle_inline(world.db, ref, [answered.key], [], settling)
    assert repeat is not None
    assert (repeat.kind, repeat.number) == (CommandKind.HANDOFF, 1)
    verdict = event(key, EventKind.AMD, amd=Amd.MACHINE)
    machine_plan = await settle_inline(world.db, ref, [verdict.key], await inbox(world, [verdict]), settling)
    assert machine_plan is not None
    assert machine_plan.kind is CommandKind.HANGUP  # no recording to leave
    assert await settle_inline(world.db, ref, [answered.key], [], settling) is None  # its plan stands no more


async def test_a_one_off_call_knows_its_own_parameters(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:1])
    await world.execute("update campaigns set is_direct = true where id = :c", c=campaign)
    await world.execute("update accounts set agent = cast(:agent as jsonb)", agent=orjson.dumps(AGENT).decode())
    await world.execute("""update prospects set data = '{"systemPrompt": "Be kind.", "maxDuration": 60}'""")
    (key,) = await reserve(world, campaign, clock)
    result = await settle(world.db, {key: [heard(key, EventKind.ANSWERED)]}, context(clock))
    (order,) = result.commands
    assert order.command["agent"]["params"] == {"systemPrompt": "Be kind."}
    assert await told(world) == ["voice.ai.initiated", "voice.answered"]


async def test_a_retry_is_set_into_the_hours_at_once(world: World, clock: Clock) -> None:
    """Ten hours after 14 o'clock in New York it is midnight there. Who has columns may be elsewhere: they are judged
    by those when the time comes."""
    campaign = await world.campaign(phones=PHONES[:2], max_retries=1, retry_delay="10h")
    await world.execute("""update prospects set data = '{"zip": "96813"}' where phone = :phone""", phone=PHONES[1])
    keys = await reserve(world, campaign, clock)
    rung_out = [unanswered(key, EndReason.NO_ANSWER) for key in keys]
    await settle_callbacks(world.db, await inbox(world, [each for some in rung_out for each in some]), context(clock))
    rows = await world.execute("select extract(epoch from next_attempt_at)::float8 from prospects order by phone")
    plain, with_columns = (float(str(row[0])) for row in rows)
    due = (clock.now() + timedelta(hours=10)).timestamp()
    assert with_columns == pytest.approx(due, abs=60)
    opens = hours("voice").next_chance(whereabouts(PHONES[0]), clock.now() + timedelta(hours=10))
    assert opens is not None
    assert plain == opens.timestamp() > due + 3_600
