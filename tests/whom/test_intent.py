"""The intent judges who may be contacted: registries, consent, and the cap over campaigns and channels."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import orjson
import pytest
from sqlalchemy import text

from engine.clock import Clock, starting_at
from engine.dispatch.intent import commit_intents
from engine.dispatch.refusal import Refusal
from engine.rules.attempt import AttemptState
from tests.conftest import LEGAL_HOUR
from tests.dispatch.conftest import World
from tests.store.conftest import until
from tests.whom.conftest import (
    ANOTHER,
    IN_MAINE,
    IN_PENNSYLVANIA,
    PERSON,
    STRICT,
    assert_kept,
    consent,
    context,
    intend,
    load,
    queued,
    reasons,
    setting,
)

TODAY = LEGAL_HOUR.date()


async def reason_of(world: World, campaign: int) -> tuple[object, ...]:
    (row,) = await world.execute("select state, reason from prospects where campaign_id = :c", c=campaign)
    return row


async def told(world: World) -> list[dict[str, object]]:
    rows = await world.execute("select string_to_table(body, chr(10)) from outbox order by id")
    return [orjson.loads(str(row[0])) for row in rows]


async def test_a_registered_number_is_left_alone_for_good(world: World, did: int, clock: Clock) -> None:
    await setting(world, require_registry=True)
    await load(world.db, clock, "US", [PERSON])
    campaign = await world.campaign(phones=[PERSON, ANOTHER])

    batch = await intend(world, campaign, did, clock)

    assert [intent.hint.phone for intent in batch.granted] == [ANOTHER]
    assert reasons(batch) == [Refusal.REGISTRY]
    assert await world.execute("select phone, reason from prospects where state = 5") == [(PERSON, "registry")]
    assert await world.counts(campaign) == {"total": 2, "dialing": 1, "cancelled": 1}
    (event,) = await told(world)
    assert event["type"] == "campaign.prospect.dnc"
    assert event["payload"]["reason"] == "registry"  # type: ignore[index]
    await assert_kept(world, clock)


@pytest.mark.parametrize("many", [0, 400, 4_000])
async def test_of_an_exchange_with_few_or_many_numbers_listed_just_those_are_held(
    world: World, did: int, clock: Clock, many: int
) -> None:
    await setting(world, require_registry=True)
    first, last, between = "+12125550000", "+12125559999", "+12125555000"
    listed = {first, last, *(f"+1212555{line:04}" for line in range(1, 2 * many, 2))}
    await load(world.db, clock, "US", listed)
    campaign = await world.campaign(phones=[first, last, PERSON, ANOTHER, between])
    batch = await intend(world, campaign, did, clock)
    assert {intent.hint.phone for intent in batch.granted} == {PERSON, ANOTHER, between} - listed
    assert set(reasons(batch)) == {Refusal.REGISTRY}
    await assert_kept(world, clock)


@pytest.mark.parametrize(("class_", "is_granted"), [(0, False), (1, False), (2, True)])
async def test_only_written_consent_opens_a_registered_number(
    world: World, did: int, clock: Clock, class_: int, is_granted: bool
) -> None:
    await setting(world, require_registry=True)
    await load(world.db, clock, "US", [PERSON])
    await consent(world, PERSON, class_, clock)
    batch = await intend(world, await world.campaign(phones=[PERSON]), did, clock)
    assert bool(batch.granted) is is_granted
    await assert_kept(world, clock)


@pytest.mark.parametrize("as_of", [None, TODAY - timedelta(days=32)])
async def test_without_a_fresh_national_copy_nobody_is_contacted_and_nobody_is_lost(
    world: World, did: int, clock: Clock, as_of: date | None
) -> None:
    await setting(world, require_registry=True)
    if as_of:
        await load(world.db, clock, "US", [], as_of)
    campaign = await world.campaign(phones=[PERSON])
    batch = await intend(world, campaign, did, clock)
    assert reasons(batch) == [Refusal.REGISTRY_STALE if as_of else Refusal.REGISTRY_MISSING]
    assert await reason_of(world, campaign) == (0, None)  # the coordinator pauses the campaign, and says so there


async def test_for_want_of_a_states_copy_its_people_wait(world: World, did: int, clock: Clock) -> None:
    await setting(world, require_registry=True)
    await load(world.db, clock, "US", [])
    campaign = await world.campaign(phones=[IN_PENNSYLVANIA, PERSON])
    batch = await intend(world, campaign, did, clock)
    assert [intent.hint.phone for intent in batch.granted] == [PERSON]
    rows = await world.execute("select phone, state, reason, next_attempt_at from prospects where state = 0")
    assert [row[:3] for row in rows] == [(IN_PENNSYLVANIA, 0, "registry_missing")]

    await load(world.db, clock, "US-PA", [IN_PENNSYLVANIA])
    assert reasons(await intend(world, campaign, did, clock)) == [Refusal.REGISTRY]


async def test_a_copy_that_comes_in_the_middle_of_an_intent_is_not_believed_yet(
    world: World, did: int, clock: Clock
) -> None:
    """Its date is read before the look-up in it: never the other way round, an old list with a new date."""
    await setting(world, require_registry=True)
    hints = await queued(world, await world.campaign(phones=[PERSON]), did)

    async def looks_up() -> bool:
        return bool(await world.execute("select from pg_locks where locktype = 'relation' and not granted"))

    async with world.db.connect() as conn:
        await conn.execute(text("set idle_in_transaction_session_timeout = 0"))
        await conn.execute(text("lock table registry_blocks in access exclusive mode"))
        deciding = asyncio.create_task(commit_intents(world.db, hints, context(clock)))
        await until(looks_up)
        await conn.execute(
            text("insert into registry_copies (registry, as_of, is_current, loaded_at) values ('US', :d, true, :now)"),
            {"d": TODAY, "now": clock.now()},
        )
        await conn.commit()
    assert reasons(await deciding) == [Refusal.REGISTRY_MISSING]


async def test_a_states_list_binds_numbers_of_that_state_only(world: World, did: int, clock: Clock) -> None:
    await setting(world, require_registry=True)
    await load(world.db, clock, "US", [])
    await load(world.db, clock, "US-PA", [PERSON])
    batch = await intend(world, await world.campaign(phones=[PERSON]), did, clock)
    assert len(batch.granted) == 1


async def test_an_account_that_need_not_ask_does_not(world: World, did: int, clock: Clock) -> None:
    await load(world.db, clock, "US", [PERSON])
    batch = await intend(world, await world.campaign(phones=[PERSON]), did, clock)
    assert len(batch.granted) == 1


async def test_a_live_key_at_a_real_carrier_must_ask_unless_its_account_says_otherwise(
    world: World, did: int, clock: Clock
) -> None:
    campaign = await world.campaign(phones=[PERSON])
    await world.execute("update campaigns set is_live = true, carrier = 'real'")
    assert reasons(await intend(world, campaign, did, clock)) == [Refusal.REGISTRY_MISSING]
    await setting(world, require_registry=False, require_consent=False)
    assert len((await intend(world, campaign, did, clock)).granted) == 1


async def test_a_campaigns_cap_that_cannot_be_read_allows_one_contact_a_day(
    world: World, did: int, clock: Clock
) -> None:
    campaign = await world.campaign(phones=[PERSON])
    await world.execute("""update campaigns set frequency_cap = '{"max"\\: "two"}'""")
    assert len((await intend(world, campaign, did, clock)).granted) == 1
    again = await world.campaign(phones=[PERSON, ANOTHER])
    await world.execute("""update campaigns set frequency_cap = '{"max"\\: "two"}'""")
    batch = await intend(world, again, did, clock)
    assert [intent.hint.phone for intent in batch.granted] == [ANOTHER]  # nobody else is held up by it
    assert reasons(batch) == [Refusal.ATTEMPT_CAP]


async def test_a_setting_that_cannot_be_read_is_the_strictest(world: World, did: int, clock: Clock) -> None:
    await setting(world, require_registry="perhaps")
    batch = await intend(world, await world.campaign(phones=[PERSON]), did, clock)
    assert reasons(batch) == [Refusal.REGISTRY_MISSING]


@pytest.mark.parametrize(
    ("class_", "changes", "is_granted"),
    [
        (2, {}, True),
        (1, {}, False),
        (2, {"channel": "voice"}, True),
        (2, {"channel": "sms"}, False),
        (2, {"revoked_at": LEGAL_HOUR}, False),
        (2, {"withdrawn": "all"}, False),  # before it was recorded
        (2, {"withdrawn": "voice"}, False),
        (2, {"withdrawn": "sms"}, True),
    ],
)
async def test_consent_must_be_of_the_class_and_channel_and_in_force(
    world: World, did: int, clock: Clock, class_: int, changes: dict[str, object], is_granted: bool
) -> None:
    await setting(world, require_consent=True)
    said = dict(changes)
    withdrawn = said.pop("withdrawn", None)
    await consent(world, PERSON, class_, clock, **said)
    if withdrawn:
        await consent(world, PERSON, 0, clock, channel=withdrawn)
    campaign = await world.campaign(phones=[PERSON])
    batch = await intend(world, campaign, did, clock)
    assert bool(batch.granted) is is_granted
    if not is_granted:
        assert reasons(batch) == [Refusal.NO_CONSENT]
        assert await reason_of(world, campaign) == (5, "no_consent")
    await assert_kept(world, clock)


async def test_another_accounts_consent_is_none(world: World, did: int, clock: Clock) -> None:
    await setting(world, require_consent=True)
    await consent(world, PERSON, 2, clock)
    await world.execute("update consents set account_id = account_id + 1")
    batch = await intend(world, await world.campaign(phones=[PERSON]), did, clock)
    assert reasons(batch) == [Refusal.NO_CONSENT]


async def test_live_calls_to_people_need_no_consent(world: World, did: int, clock: Clock) -> None:
    await setting(world, require_consent=True)
    campaign = await world.campaign(phones=[PERSON], agent={"kind": "sip", "uri": "sip:a@example.com"})
    assert len((await intend(world, campaign, did, clock)).granted) == 1


async def test_the_fourth_contact_waits_until_the_first_is_a_day_old(world: World, did: int) -> None:
    start = starting_at(LEGAL_HOUR, 1.0)
    made = []
    for minutes in (0, 10, 20):
        clock = starting_at(LEGAL_HOUR + timedelta(minutes=minutes), 1.0)
        batch = await intend(world, await world.campaign(phones=[PERSON]), did, clock)
        made.append(batch.granted[0].intent_at)
    fourth = await world.campaign("sms", phones=[PERSON])

    clock = starting_at(LEGAL_HOUR + timedelta(minutes=30), 1.0)
    assert reasons(await intend(world, fourth, did, clock, "sms")) == [Refusal.ATTEMPT_CAP]

    (row,) = await world.execute(
        "select state, reason, next_attempt_at from prospects where campaign_id = :c", c=fourth
    )
    assert row == (0, "attempt_cap", made[0] + timedelta(days=1))
    assert await world.counts(fourth) == {"total": 1, "queued": 1}
    just_before = starting_at(made[0] + timedelta(days=1) - timedelta(seconds=30), 1.0)
    assert reasons(await intend(world, fourth, did, just_before, "sms")) == [Refusal.ATTEMPT_CAP]
    then = starting_at(made[0] + timedelta(days=1), 1.0)
    assert len((await intend(world, fourth, did, then, "sms")).granted) == 1
    await assert_kept(world, start)


async def test_who_is_at_a_cap_that_frees_at_night_is_due_in_the_morning(world: World, did: int) -> None:
    """Maine: one automated contact in 8 h, 9 to 17 on weekdays. Called at 15:00, due not at 23:00 but the next day."""
    afternoon = datetime(2026, 3, 11, 19, 0, tzinfo=UTC)
    await intend(world, await world.campaign(phones=[IN_MAINE]), did, starting_at(afternoon, 1.0))
    second = await world.campaign(phones=[IN_MAINE])
    batch = await intend(world, second, did, starting_at(afternoon + timedelta(hours=1), 1.0))
    assert reasons(batch) == [Refusal.ATTEMPT_CAP]
    rows = await world.execute("select next_attempt_at from prospects where campaign_id = :c", c=second)
    assert rows == [(datetime(2026, 3, 12, 13, 0, tzinfo=UTC),)]


async def test_a_campaigns_own_cap_is_tighter(world: World, did: int, clock: Clock) -> None:
    await intend(world, await world.campaign(phones=[PERSON]), did, clock)
    capped = await world.campaign(phones=[PERSON])
    await world.execute(
        """update campaigns set frequency_cap = '{"max"\\: 1, "per"\\: "2d"}' where id = :c""", c=capped
    )
    assert reasons(await intend(world, capped, did, clock)) == [Refusal.ATTEMPT_CAP]
    assert len((await intend(world, await world.campaign(phones=[PERSON]), did, clock)).granted) == 1


async def test_an_account_may_have_another_cap(world: World, did: int, clock: Clock) -> None:
    await setting(world, frequencyCap={"max": 4, "per": "24h"})
    granted = [len((await intend(world, await world.campaign(phones=[PERSON]), did, clock)).granted) for _ in range(5)]
    assert granted == [1, 1, 1, 1, 0]


@pytest.mark.parametrize("column", ["purpose = 'informational'", "is_system = true, is_direct = true"])
async def test_what_is_no_marketing_is_neither_capped_nor_counted(
    world: World, did: int, clock: Clock, column: str
) -> None:
    for _ in range(4):
        campaign = await world.campaign(phones=[PERSON])
        await world.execute(f"update campaigns set {column} where id = :c", c=campaign)
        assert len((await intend(world, campaign, did, clock)).granted) == 1
        await world.execute("delete from campaigns where id = :c", c=campaign)  # one hidden campaign of a kind
    assert await world.execute("select * from person_contacts") == []
    assert len((await intend(world, await world.campaign(phones=[PERSON]), did, clock)).granted) == 1


async def test_contacts_of_test_keys_do_not_count_for_live_ones(world: World, did: int, clock: Clock) -> None:
    for _ in range(3):
        await intend(world, await world.campaign(phones=[PERSON]), did, clock)
    live = await world.campaign(phones=[PERSON])
    await world.execute("update campaigns set is_live = true where id = :c", c=live)
    assert len((await intend(world, live, did, clock)).granted) == 1
    await assert_kept(world, clock)


async def test_other_accounts_contacts_do_not_count(world: World, did: int, clock: Clock) -> None:
    for _ in range(3):
        await intend(world, await world.campaign(phones=[PERSON]), did, clock)
    await world.execute("update person_contacts set account_id = account_id + 1")
    assert len((await intend(world, await world.campaign(phones=[PERSON]), did, clock)).granted) == 1


async def test_an_intent_that_came_to_nothing_is_no_contact(world: World, did: int, clock: Clock) -> None:
    await setting(world, frequencyCap={"max": 1})
    campaign = await world.campaign(phones=[PERSON])
    for _ in range(3):
        assert len((await intend(world, campaign, did, clock)).granted) == 1
        await world.execute(f"update attempts set state = {AttemptState.RELEASED:d}")
        await world.execute("update prospects set state = 0")
        await world.execute("update campaign_counts set queued = 1, dialing = 0")
    assert len((await intend(world, campaign, did, clock)).granted) == 1
    assert len(await world.execute("select * from person_contacts")) == 1
    assert reasons(await intend(world, await world.campaign(phones=[PERSON]), did, clock)) == [Refusal.ATTEMPT_CAP]


async def test_over_campaigns_and_channels_at_once_nobody_gets_more_than_the_cap(
    world: World, did: int, clock: Clock
) -> None:
    """Three campaigns of each channel want the same people at the same moment, in transactions of their own."""
    people = [f"+1212555{n:04d}" for n in range(200, 206)]
    calls = [await world.campaign("voice", phones=people) for _ in range(3)]
    texts = [await world.campaign("sms", phones=people) for _ in range(3)]
    senders = [await world.did(f"+121355501{n:02d}") for n in range(10, 13)]

    async def send(campaign: int, sender: int, number: str) -> None:
        for hint in await world.hints(campaign, sender, number):  # a number sends one text at a time
            await commit_intents(world.db, [hint], context(clock, "sms"))
            await world.execute("update dids set sms_free_at = '-infinity' where id = :id", id=sender)

    await asyncio.gather(
        *(intend(world, campaign, did, clock) for campaign in calls),
        *(send(campaign, senders[n], f"+121355501{n + 10:02d}") for n, campaign in enumerate(texts)),
    )

    rows = await world.execute("select phone, count(*) from attempts group by phone order by phone")
    assert rows == [(phone, 3) for phone in people]
    await assert_kept(world, clock)


async def test_everything_at_once_for_a_strict_account(world: World, did: int, clock: Clock) -> None:
    await setting(world, **STRICT)
    await load(world.db, clock, "US", [PERSON])
    await consent(world, PERSON, 2, clock)
    await consent(world, ANOTHER, 2, clock)
    campaign = await world.campaign(phones=[PERSON, ANOTHER, "+12125550149"])
    batch = await intend(world, campaign, did, clock)
    assert {intent.hint.phone for intent in batch.granted} == {PERSON, ANOTHER}
    assert reasons(batch) == [Refusal.NO_CONSENT]
    await assert_kept(world, clock)
