"""What an opt-out does in its transaction, and what START and HELP do."""

import itertools

import pytest

from engine.clock import Clock
from engine.ids import encode
from engine.rules.did_health import Kind
from engine.rules.inbound import reply
from engine.rules.opt_out import Meaning
from engine.rules.segments import count
from engine.store import suppressions
from tests.dispatch.attempts import assert_adds_up, reserve
from tests.dispatch.conftest import World
from tests.inbound.conftest import ANOTHER, OURS, PERSON, Write, assert_kept, events, replies, suppressed, types


async def test_stop_suppresses_cancels_and_confirms_at_once(world: World, write: Write, clock: Clock) -> None:
    texts = await world.campaign("sms", phones=[PERSON, ANOTHER])
    calls = await world.campaign("voice", phones=[ANOTHER, PERSON])
    paused = await world.campaign("sms", phones=[PERSON], status="paused")
    created = await world.campaign("voice", phones=[PERSON], status="created")
    await world.execute("update prospects set attempt = 2 where campaign_id = :c", c=calls)  # they wait for a retry
    await world.execute("update campaign_counts set retrying = 2 where campaign_id = :c", c=calls)

    taken = await write("Stop!")

    assert await suppressed(world) == [(PERSON, "sms_keyword", "opted_out")]
    for campaign in (texts, calls, paused, created):
        await assert_adds_up(world, campaign)
        counted = await world.counts(campaign)
        assert (counted["cancelled"], counted["suppressed"]) == (1, 1)
    assert await world.counts(calls) == {"total": 2, "queued": 1, "cancelled": 1, "suppressed": 1, "retrying": 1}
    assert await world.execute("select codes from did_outcomes") == [([Kind.STOPPED],)]  # it tells on the number, too
    rows = await world.execute("select distinct phone, reason from prospects where state = 5")
    assert rows == [(PERSON, "opted_out")]
    told = await events(world)
    assert [event["type"] for event in told] == ["sms.received", "sms.opt_out", *["campaign.prospect.dnc"] * 4]
    name = told[0]["uniqueId"]
    assert told[0]["payload"]["meaning"] == "opt_out"
    assert told[1]["payload"] == {"phone": PERSON, "from": PERSON, "to": OURS, "messageId": name, "keyword": "stop"}
    assert {event["payload"]["reason"] for event in told[2:]} == {"opted_out"}
    assert {event["payload"]["phone"] for event in told[2:]} == {PERSON}
    (answer,) = await replies(world)
    assert answer["from"] == OURS
    assert "opted out" in answer["message"]
    assert taken.wake is not None
    await assert_kept(world.db, clock)


async def test_what_is_under_way_or_over_is_left(world: World, write: Write, clock: Clock) -> None:
    dialing = await world.campaign("voice", phones=[PERSON])
    await reserve(world, dialing, clock)
    cancelled = await world.campaign("sms", phones=[PERSON], status="cancelled")
    await world.execute("update campaign_counts set queued = 0, cancelled = 1 where campaign_id = :c", c=cancelled)
    await write("STOP")
    assert await types(world) == ["sms.received", "sms.opt_out"]
    assert await world.counts(dialing) == {"total": 1, "dialing": 1}
    assert await world.counts(cancelled) == {"total": 1, "cancelled": 1}
    await assert_adds_up(world, cancelled)


async def test_one_off_contacts_are_cancelled_too_and_answers_are_not(world: World, write: Write, clock: Clock) -> None:
    await write("HELP")
    call = None
    for channel in ("voice", "sms"):
        direct = await world.campaign(channel, phones=[PERSON])
        await world.execute("update campaigns set is_direct = true where id = :c", c=direct)
        await world.execute('update prospects set data = \'{"from": "+12135550100"}\' where campaign_id = :c', c=direct)
        call = call or (await world.hints(direct, 0))[0].prospect_id
    await write("STOP")
    assert len(await replies(world)) == 2
    told = {event["type"]: event["payload"] for event in await events(world)}
    assert told["campaign.prospect.dnc"] == {"id": encode("call", call), "phone": PERSON, "reason": "opted_out"}
    assert {name: told["sms.failed"][name] for name in ("from", "to", "status", "reason")} == {
        "from": OURS,
        "to": PERSON,
        "status": "suppressed",
        "reason": "opted_out",
    }
    await assert_kept(world.db, clock)


async def test_a_second_stop_is_heard_and_not_answered(world: World, write: Write) -> None:
    assert (await write("STOP")).wake is not None
    for text in ("STOP", "stop!!", "please stop texting me", "UNSUBSCRIBE"):
        assert (await write(text)).wake is None
    assert len(await replies(world)) == 1
    assert await types(world) == ["sms.received", "sms.opt_out", *["sms.received"] * 4]


async def test_free_text_opts_out_for_good(world: World, write: Write) -> None:
    await write("please stop texting me")
    assert await suppressed(world) == [(PERSON, "sms_text", "opted_out")]
    assert len(await replies(world)) == 1
    assert (await events(world))[1]["payload"]["keyword"] == "stop texting"
    assert (await write("START")).wake is None
    assert len(await suppressed(world)) == 1


async def test_start_lifts_a_keyword_and_says_so_once(world: World, write: Write) -> None:
    await write("STOP")
    assert (await write("Start")).wake is not None
    assert await suppressed(world) == []
    assert (await write("START")).wake is None
    assert ["STOP" in each["message"] for each in await replies(world)] == [False, True]
    audited = await world.execute("select actor, action, subject from audit")
    assert audited == [("recipient", "suppression.lift", PERSON)]
    await write("STOP")
    assert len(await replies(world)) == 3  # a new opt-out has its own confirmation


@pytest.mark.parametrize(
    ("source", "comes_first"),
    [
        *((source, True) for source in ("api", "carrier", "import", "sms_text")),
        *((source, False) for source in ("api", "import", "sms_text")),  # after it the carrier only heard the same word
    ],
)
async def test_start_lifts_nothing_that_another_route_set(
    world: World, write: Write, clock: Clock, source: str, comes_first: bool
) -> None:
    async def set_by_another_route() -> None:
        async with world.db.begin() as conn:
            await suppressions.add(conn, world.account_id, [PERSON], "on the list", source, clock)

    if comes_first:
        await set_by_another_route()
    await write("STOP")
    if not comes_first:
        await set_by_another_route()
    await write("START")
    is_theirs = source in suppressions.OF_THE_PERSON
    kept = (source if is_theirs else "sms_text", "on the list" if is_theirs and comes_first else "opted_out")
    assert await suppressed(world) == [(PERSON, *kept)]
    assert len(await replies(world)) == (0 if comes_first else 1)


async def test_help_answers_everybody_and_once_a_minute(world: World, write: Write) -> None:
    assert (await write("HELP")).wake is not None
    assert (await write("help?")).wake is None
    assert (await write("info", from_=ANOTHER)).wake is not None
    await world.execute("update prospects set one_off = one_off - (61000::bigint << 21) where phone = :p", p=PERSON)
    await write("STOP")
    assert len(await replies(world)) == 2
    assert (await write("HELP")).wake is None  # the confirmation was just sent
    await world.execute("update prospects set one_off = one_off - (61000::bigint << 21) where phone = :p", p=PERSON)
    assert (await write("HELP")).wake is not None  # suppressed people too
    assert len(await suppressed(world)) == 1


@pytest.mark.parametrize(
    ("change", "why"), [("state = 'burned'", "burned"), ("capabilities = '{voice}'", "voice only")]
)
async def test_a_number_that_cannot_text_confirms_nothing_and_suppresses_all_the_same(
    world: World, write: Write, change: str, why: str
) -> None:
    await world.execute(f"update dids set {change}")
    assert (await write("STOP")).wake is None
    assert len(await suppressed(world)) == 1
    assert await replies(world) == []


async def test_the_words_are_the_accounts(world: World, write: Write) -> None:
    await world.execute(
        """update accounts set settings =
               '{"content": {"brands": ["Acme"]}, "replies": {"optOut": "{brand} ({number}): bye."}}'"""
    )
    await write("STOP")
    await write("START")
    assert [each["message"] for each in await replies(world)] == [
        f"Acme ({OURS}): bye.",
        reply(Meaning.OPT_IN, {"content": {"brands": ["Acme"]}}, "test", OURS),
    ]


@pytest.mark.parametrize("own", [None, [], {}, {"help": None}, {"help": 7}, {"help": "  "}, {"help": "x" * 1_601}])
def test_words_that_cannot_be_sent_are_replaced_by_ours(own: object) -> None:
    ours = reply(Meaning.HELP, {}, "Acme", OURS)
    assert ours.startswith("Acme: ")
    assert "{" not in ours
    assert reply(Meaning.HELP, {"replies": own, "content": {"brands": [""]}}, "Acme", OURS) == ours


@pytest.mark.parametrize("meaning", [Meaning.OPT_OUT, Meaning.OPT_IN, Meaning.HELP])
def test_our_own_words_take_one_part_and_promise_nothing_untrue(meaning: Meaning) -> None:
    ours = reply(meaning, {}, "Northwind Traders Inc", OURS)
    assert (count(ours).encoding, count(ours).parts) == ("GSM-7", 1)
    assert ("STOP" in ours) is (meaning is not Meaning.OPT_OUT)
    assert "START" not in ours  # which takes back a keyword only, and people opt out in their own words too


def test_a_name_with_braces_is_a_name() -> None:
    assert reply(Meaning.HELP, {"replies": {"help": "{brand}"}}, "{number}{0}", OURS) == "{number}{0}"


@pytest.mark.parametrize("order", list(itertools.permutations(["STOP", "START", "HELP"])))
async def test_every_order_keeps_the_books(world: World, write: Write, clock: Clock, order: tuple[str, ...]) -> None:
    await world.campaign("sms", phones=[PERSON])
    for text in order:
        await write(text)
    assert bool(await suppressed(world)) == (order.index("STOP") > order.index("START"))
    await assert_kept(world.db, clock)
