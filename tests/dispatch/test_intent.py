"""The intent against its rivals: pause, opt-out, doubled hints. These tests are the specification of DESIGN 2a."""

import asyncio
from collections import deque
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from engine.clock import Clock, add, starting_at
from engine.dispatch.hints import Hint, Job, take_batch
from engine.dispatch.intent import IntentBatch, IntentContext, Refusal, commit_intents
from engine.ids import encode
from engine.rules.event_catalog import BY_TYPE
from engine.rules.states import rules
from engine.rules.telephony import Channel
from engine.rules.zones import zone
from engine.store import locks
from tests.dispatch.conftest import World

PHONES = [f"+1212555{n:04d}" for n in range(100, 110)]


def context(clock: Clock, channel: Channel = Channel.VOICE) -> IntentContext:
    return IntentContext(channel=channel, clock=clock, ticket_s=2.0, answer_s=7.0, writer=1)


def reasons(batch: IntentBatch) -> list[Refusal]:
    return [reason for _, reason in batch.refused]


async def test_grants_each_due_prospect_once(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES)
    hints = await world.hints(campaign, await world.did())

    first = await commit_intents(world.db, hints, context(clock))
    again = await commit_intents(world.db, hints, context(clock))

    assert [intent.hint for intent in first.granted] == hints
    assert {intent.try_no for intent in first.granted} == {1}
    assert again.granted == []
    assert set(reasons(again)) == {Refusal.OUT_OF_DATE}
    assert await world.counts(campaign) == {"total": 10, "dialing": 10}


async def test_two_workers_with_the_same_hints_grant_each_once(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES)
    hints = await world.hints(campaign, await world.did())

    batches = await asyncio.gather(*(commit_intents(world.db, hints, context(clock)) for _ in range(4)))

    granted = [intent.hint.prospect_id for batch in batches for intent in batch.granted]
    assert sorted(granted) == sorted(hint.prospect_id for hint in hints)
    assert await world.counts(campaign) == {"total": 10, "dialing": 10}


async def test_a_pause_that_came_first_is_seen(world: World, clock: Clock) -> None:
    """The pause holds the campaign's key; the intent waits for it and then reads a later snapshot."""
    campaign = await world.campaign(phones=PHONES)
    hints = await world.hints(campaign, await world.did())
    async with world.db.connect() as pausing:
        await locks.lock_exclusive(pausing, [locks.campaign_key(campaign)])
        intent = asyncio.create_task(commit_intents(world.db, hints, context(clock)))
        await _wait_for_lock_queue(world, 1)
        await pausing.execute(text("update campaigns set status = 'paused' where id = :id"), {"id": campaign})
        await pausing.commit()

    batch = await intent

    assert batch.granted == []
    assert set(reasons(batch)) == {Refusal.NOT_LIVE}
    assert await world.counts(campaign) == {"total": 10, "queued": 10}


async def test_an_opt_out_that_came_first_is_seen(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES)
    hints = await world.hints(campaign, await world.did())
    async with world.db.connect() as opting_out:
        await locks.lock_exclusive(opting_out, [locks.phone_key(world.account_id, PHONES[3])])
        intent = asyncio.create_task(commit_intents(world.db, hints, context(clock)))
        await _wait_for_lock_queue(world, 1)
        await opting_out.execute(
            text("insert into suppressions values (:account, :phone, 'stop', 'sms', :now)"),
            {"account": world.account_id, "phone": PHONES[3], "now": datetime.now(UTC)},
        )
        await opting_out.commit()

    batch = await intent

    assert len(batch.granted) == 9
    assert reasons(batch) == [Refusal.SUPPRESSED]
    assert await world.counts(campaign) == {"total": 10, "dialing": 9, "cancelled": 1, "suppressed": 1}
    rows = await world.execute("select phone, reason from prospects where state = 5")
    assert rows == [(PHONES[3], "suppressed")]
    events = await world.execute("select body from outbox")
    assert "campaign.prospect.dnc" in str(events)


async def test_a_one_off_call_to_somebody_suppressed_is_told_by_its_own_id(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:1])
    await world.execute("update campaigns set is_direct = true where id = :c", c=campaign)
    (hint,) = await world.hints(campaign, await world.did())
    await world.execute(
        "insert into suppressions values (:account, :phone, 'stop', 'sms', :now)",
        account=world.account_id, phone=hint.phone, now=datetime.now(UTC),
    )  # fmt: skip

    batch = await commit_intents(world.db, [hint], context(clock))

    assert reasons(batch) == [Refusal.SUPPRESSED]
    ((body,),) = await world.execute("select body from outbox")
    told, name = orjson.loads(str(body)), encode("call", hint.prospect_id)
    assert (told["type"], told["uniqueId"]) == ("campaign.prospect.dnc", name)
    assert told["payload"] == {"id": name, "phone": hint.phone, "reason": "suppressed"}
    BY_TYPE[told["type"]].payload.model_validate(told["payload"])


async def test_a_campaign_that_cannot_be_read_gets_none_and_holds_up_no_other(world: World, clock: Clock) -> None:
    did_id = await world.did()
    broken, campaign = await world.campaign(phones=PHONES[:3]), await world.campaign(phones=PHONES[3:5])
    unreadable = await world.hints(broken, did_id)
    hints = [*unreadable, *await world.hints(campaign, did_id)]
    await world.execute('update campaigns set mode = mode || \'{"ringTimeout": "soon"}\' where id = :c', c=broken)
    with capture_logs() as lines:
        batches = [await commit_intents(world.db, some, context(clock)) for some in (hints, unreadable)]
    assert [intent.hint.campaign_id for intent in batches[0].granted] == [campaign] * 2
    assert [reasons(batch) for batch in batches] == [[Refusal.NOT_LIVE] * 3] * 2
    assert [line["campaign"] for line in lines if line["event"] == "campaign.unreadable"] == [encode("camp", broken)]
    assert await world.counts(broken) == {"total": 3, "queued": 3}


@pytest.mark.parametrize("status", ["created", "paused", "cancelled", "completed", "failed"])
async def test_only_a_dialing_campaign_gets_intents(world: World, clock: Clock, status: str) -> None:
    campaign = await world.campaign(phones=PHONES, status=status)
    hints = await world.hints(campaign, await world.did())
    batch = await commit_intents(world.db, hints, context(clock))
    assert set(reasons(batch)) == {Refusal.NOT_LIVE}


async def test_outside_its_window_a_prospect_learns_when_it_opens(world: World) -> None:
    campaign = await world.campaign(phones=PHONES[:1])
    hints = await world.hints(campaign, await world.did())
    night = starting_at(datetime(2026, 3, 12, 3, 0, tzinfo=UTC), 1.0)  # 23:00 in New York

    batch = await commit_intents(world.db, hints, context(night))

    assert reasons(batch) == [Refusal.OUTSIDE_WINDOW]
    assert await world.execute("select next_attempt_at, reason from prospects") == [
        (datetime(2026, 3, 12, 12, 0, tzinfo=UTC), "outside_window")  # 08:00 in New York
    ]
    assert await world.counts(campaign) == {"total": 1, "queued": 1}


async def test_a_state_is_closed_on_its_holiday_and_its_people_learn_when_it_opens(world: World) -> None:
    campaign = await world.campaign(phones=["+15045550100", "+12125550100"])
    hints = await world.hints(campaign, await world.did())
    mardi_gras = starting_at(datetime(2026, 2, 17, 18, 0, tzinfo=UTC), 1.0)

    batch = await commit_intents(world.db, hints, context(mardi_gras))

    assert [intent.hint.phone for intent in batch.granted] == ["+12125550100"]
    assert await world.execute("select next_attempt_at, reason from prospects where phone = '+15045550100'") == [
        (datetime(2026, 2, 18, 14, 0, tzinfo=UTC), "outside_window")
    ]


@pytest.mark.parametrize(
    ("data", "hour", "is_open"),
    [
        (None, 10, True),
        ('{"zip": "10002"}', 10, True),
        ('{"zip": "96813"}', 10, False),  # Honolulu, where it is 4:30
        ('{"state": "Hawaii"}', 10, False),
        ('{"timezone": "Pacific/Honolulu"}', 10, False),
        ('{"timezone": "Pacific/Honolulu"}', 22, False),  # 16:30 there, but the number is a New Yorker's
        ('{"timezone": "Pacific/Honolulu", "location_verified": "true"}', 22, True),
        (None, 18, True),
        ('{"state": "N/A"}', 18, False),  # which may be Rhode Island, closed by then
    ],
)
async def test_columns_of_an_import_are_judged(world: World, data: str | None, hour: int, is_open: bool) -> None:
    campaign = await world.campaign(phones=PHONES[:1])
    await world.execute("update prospects set data = cast(:data as jsonb)", data=data)
    hints = await world.hints(campaign, await world.did())
    then = datetime(2026, 3, 11, hour, 30, tzinfo=zone("America/New_York"))

    batch = await commit_intents(world.db, hints, context(starting_at(then, 1.0)))

    assert bool(batch.granted) is is_open
    assert is_open or reasons(batch) == [Refusal.OUTSIDE_WINDOW]


async def test_an_unreadable_time_zone_is_held_and_said(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:1])
    await world.execute("""update prospects set data = '{"timezone"\\: "the usual"}'""")
    batch = await commit_intents(world.db, await world.hints(campaign, await world.did()), context(clock))
    assert reasons(batch) == [Refusal.NO_TIMEZONE]
    assert await world.execute("select reason from prospects") == [("no_timezone",)]


async def test_nothing_is_allowed_that_could_leave_after_the_window(world: World) -> None:
    """The ticket lasts two seconds: what is judged one second before the end could leave one second after it."""
    campaign = await world.campaign(phones=PHONES[:1])
    hints = await world.hints(campaign, await world.did())
    closes_at = datetime(2026, 3, 12, 1, 0, tzinfo=UTC)  # 21:00 in New York

    batch = await commit_intents(world.db, hints, context(starting_at(closes_at - timedelta(seconds=1), 1.0)))

    assert reasons(batch) == [Refusal.OUTSIDE_WINDOW]
    assert await world.execute("select next_attempt_at from prospects") == [(closes_at,)]
    batch = await commit_intents(world.db, hints, context(starting_at(closes_at, 1.0)))
    assert await world.execute("select next_attempt_at from prospects") == [(datetime(2026, 3, 12, 12, 0, tzinfo=UTC),)]


@pytest.mark.parametrize(("speed", "left"), [(1.0, timedelta(hours=3)), (60.0, timedelta(minutes=3))])
async def test_an_intent_knows_the_end_of_its_window_in_real_time(world: World, speed: float, left: timedelta) -> None:
    campaign = await world.campaign(phones=PHONES[:1])
    evening = starting_at(datetime(2026, 3, 11, 22, 0, tzinfo=UTC), speed)  # 18:00 in New York, three hours to go
    batch = await commit_intents(world.db, await world.hints(campaign, await world.did()), context(evening))
    assert abs(batch.granted[0].not_after - datetime.now(UTC) - left) < timedelta(seconds=20)


async def test_no_queue_may_hold_it_for_longer_than_four_hours(world: World) -> None:
    campaign = await world.campaign(phones=PHONES[:1])
    morning = starting_at(datetime(2026, 3, 11, 14, 0, tzinfo=UTC), 1.0)
    batch = await commit_intents(world.db, await world.hints(campaign, await world.did()), context(morning))
    assert abs(batch.granted[0].not_after - datetime.now(UTC) - timedelta(hours=4)) < timedelta(seconds=20)


async def test_the_purpose_of_the_campaign_is_judged(world: World) -> None:
    """Sunday in Louisiana: no marketing, but a message that is no solicitation."""
    campaign = await world.campaign(phones=["+15045550100"])
    hints = await world.hints(campaign, await world.did())
    sunday = context(starting_at(datetime(2026, 3, 15, 18, 0, tzinfo=UTC), 1.0))
    assert reasons(await commit_intents(world.db, hints, sunday)) == [Refusal.OUTSIDE_WINDOW]
    await world.execute("update campaigns set purpose = 'informational'")
    assert len((await commit_intents(world.db, hints, sunday)).granted) == 1
    assert await world.execute("select reason from prospects") == [(None,)]


async def test_an_attempt_records_the_rules_that_allowed_it(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:1])
    await commit_intents(world.db, await world.hints(campaign, await world.did()), context(clock))
    ((version,),) = await world.execute("select rules_version from attempts")
    assert version == rules().version
    assert " tz20" in version


async def test_a_number_without_a_known_zone_is_held(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=["+18005550100", "+4915112345678"])
    batch = await commit_intents(world.db, await world.hints(campaign, await world.did()), context(clock))
    assert reasons(batch) == [Refusal.NO_TIMEZONE, Refusal.NO_RULE]
    assert await world.execute("select reason from prospects order by id") == [
        ("no_timezone",),
        ("no_rule_for_country",),
    ]


@pytest.mark.parametrize(
    "change", ["state = 'cooling'", "capabilities = '{sms}'", "number = '+12135550199'", "account_id = 1"]
)
async def test_a_sender_that_is_not_ready_is_not_used(world: World, clock: Clock, change: str) -> None:
    campaign = await world.campaign(phones=PHONES[:1])
    did = await world.did()
    hints = await world.hints(campaign, did)
    await world.execute(f"update dids set {change} where id = :id", id=did)
    batch = await commit_intents(world.db, hints, context(clock))
    assert reasons(batch) == [Refusal.SENDER_NOT_READY]
    assert await _put_off(world, clock) == ["sender_not_ready"]


async def _put_off(world: World, clock: Clock) -> list[object]:
    """Why prospects wait that are due again soon, ahead of the coordinator's walk; it then chooses them a number anew.
    With their rows as they were, they would wait for their hints to be given up for lost."""
    soon = add(clock.now(), 10)
    rows = await world.execute(
        "select reason from prospects where state = 0 and next_attempt_at between :now and :soon order by id",
        now=add(clock.now(), -10),
        soon=soon,
    )
    return [row[0] for row in rows]


async def test_two_workers_never_send_from_one_sms_sender_at_once(world: World, clock: Clock) -> None:
    campaign = await world.campaign("sms", phones=PHONES)
    hints = await world.hints(campaign, await world.did())

    batches = await asyncio.gather(*(commit_intents(world.db, [hint], context(clock, Channel.SMS)) for hint in hints))

    granted = [intent for batch in batches for intent in batch.granted]
    assert len(granted) == 1
    assert await world.execute("select sms_free_at::text from dids") == [("infinity",)]
    assert await world.counts(campaign) == {"total": 10, "queued": 9, "sending": 1}


async def test_a_released_attempt_is_reserved_again_with_its_try_counted(world: World, clock: Clock) -> None:
    campaign = await world.campaign(phones=PHONES[:1])
    hints = await world.hints(campaign, await world.did())
    await commit_intents(world.db, hints, context(clock))
    await world.execute("update attempts set state = 0")
    await world.execute("update prospects set state = 0")

    batch = await commit_intents(world.db, hints, context(clock))

    assert [intent.try_no for intent in batch.granted] == [2]
    assert await world.execute("select attempt, try, state from attempts") == [(1, 2, 1)]


def test_a_batch_holds_one_row_per_phone_and_one_text_per_sender() -> None:
    def job(prospect: int, phone: str, did: int, account: int = 1) -> Job:
        return Job(Hint(account, 1, prospect, 1, phone, did, "+12135550100"), Channel.SMS, str(prospect))

    jobs = [job(1, "a", 1), job(2, "a", 2), job(3, "b", 1), job(4, "a", 3, account=2), job(5, "c", 4), job(6, "d", 5)]
    waiting = deque(jobs)

    assert [j.hint.prospect_id for j in take_batch(waiting, 3)] == [1, 4, 5]
    assert [j.hint.prospect_id for j in waiting] == [2, 3, 6]

    calls = deque(job._replace(channel=Channel.VOICE) for job in jobs)
    assert [j.hint.prospect_id for j in take_batch(calls, 10)] == [1, 3, 4, 5, 6]


async def _wait_for_lock_queue(world: World, waiting: int) -> None:
    """Until that many sessions wait for an advisory lock."""
    async with asyncio.timeout(5):
        while True:
            rows = await world.execute("select count(*) from pg_locks where locktype = 'advisory' and not granted")
            if rows[0][0] == waiting:
                return
            await asyncio.sleep(0)
