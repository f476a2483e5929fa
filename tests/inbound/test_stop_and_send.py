"""STOP against every send, with real transactions: no intent commits after the opt-out does.

The proof does not trust clocks. A trigger counts, in the opt-out's own transaction and under its lock, the attempts to
that person that are committed; whatever comes to be found beyond that count was committed after it.
"""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import Clock
from engine.dispatch.inbound import take_message
from engine.dispatch.intent import Hint, IntentBatch, IntentContext, Refusal, commit_intents
from engine.rules.telephony import Channel
from engine.store import campaigns, locks, prospects
from engine.store.database import connect
from tests.dispatch.attempts import assert_adds_up
from tests.dispatch.conftest import World
from tests.inbound.conftest import OURS, assert_kept, context, message
from tests.store.conftest import until

ROUNDS = 25
CALLER, TEXTER, ONE_OFF = "+12135550101", "+12135550102", "+12135550103"
_WITNESS = """
    create table seen (phone text, attempts bigint);
    create function witness() returns trigger language plpgsql as $$ begin
        insert into seen select new.phone, count(*) from attempts where phone = new.phone; return new; end $$;
    create trigger witness after insert on suppressions for each row execute function witness()
"""

Actor = Callable[[], Awaitable[object]]


class Meeting:
    """One person, queued in a voice and an SMS campaign and as a one-off message, who says STOP meanwhile."""

    def __init__(self, world: World, clock: Clock, phone: str, dids: dict[str, int]) -> None:
        self.world, self.clock, self.phone, self.dids = world, clock, phone, dids
        self.campaigns: list[int] = []

    async def send(self, number: str) -> Actor:
        """A worker that has the hint of this person's prospect, in a new campaign among others, or as a one-off."""
        if number == ONE_OFF:
            hints = [await self._one_off()]
        else:
            phones = [self.phone] if number == TEXTER else [self.phone, "+14155550123"]
            campaign = await self.world.campaign("sms" if number == TEXTER else "voice", phones=phones)
            self.campaigns.append(campaign)
            hints = await self.world.hints(campaign, self.dids[number], number)
        return lambda: self._commit(hints, Channel.VOICE if number == CALLER else Channel.SMS)

    async def _one_off(self) -> Hint:
        account_id, now = self.world.account_id, self.clock.now()
        async with self.world.db.begin() as conn:
            home = await campaigns.direct(conn, account_id, "sms", False, "simulated-command", now)
        params = {"c": home.id, "a": account_id, "p": self.phone}
        ((prospect_id,),) = await self.world.execute(
            "insert into prospects (campaign_id, account_id, phone, one_off, data)"
            ' values (:c, :a, :p, 1, \'{"message": "Hi"}\') returning id',
            **params,
        )
        async with self.world.db.begin() as conn:
            await prospects.count_added(conn, home.id, 1)
        self.campaigns.append(home.id)
        return Hint(account_id, home.id, int(str(prospect_id)), 1, self.phone, self.dids[ONE_OFF], ONE_OFF, True)

    async def _commit(self, hints: list[Hint], channel: Channel) -> IntentBatch:
        intents = IntentContext(channel=channel, clock=self.clock, ticket_s=2.0, answer_s=7.0, writer=len(self.phone))
        return await commit_intents(self.world.db, hints, intents)

    async def stop(self) -> object:
        return await take_message(self.world.db, message("STOP", from_=self.phone), context(self.clock))

    async def judge(self) -> None:
        ((seen,),) = await self.world.execute("select attempts from seen where phone = :p", p=self.phone)
        ((found,),) = await self.world.execute("select count(*) from attempts where phone = :p", p=self.phone)
        assert found == seen, f"{found} intents, {seen} of them before the opt-out"
        for campaign in self.campaigns:
            await assert_adds_up(self.world, campaign)


@pytest.fixture
async def db(own_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = connect(own_database_url, pool_size=10, idle_in_transaction_ms=20_000)
    async with engine.begin() as conn:
        for statement in _WITNESS.split(";\n"):
            await conn.execute(text(statement.replace(":", r"\:")))
    yield engine
    await engine.dispose()


@pytest.fixture
async def dids(world: World) -> dict[str, int]:
    return {number: await world.did(number) for number in (OURS, CALLER, TEXTER, ONE_OFF)}


async def free(world: World) -> None:
    await world.execute("update dids set sms_free_at = '-infinity'")


@pytest.mark.parametrize("place", range(4))
async def test_who_came_before_the_stop_is_sent_and_who_came_after_is_not(
    world: World, clock: Clock, dids: dict[str, int], place: int
) -> None:
    """Every order of three workers, with the STOP at one place in the queue for the person's key."""
    for number, order in enumerate(itertools.permutations([CALLER, TEXTER, ONE_OFF])):
        meeting = Meeting(world, clock, f"+1212555{100 * place + number:04d}", dids)
        sends = [await meeting.send(each) for each in order]
        await free(world)
        actors = [*sends[:place], meeting.stop, *sends[place:]]
        results = await _in_order(world, meeting.phone, actors)
        batches = [each for each in results if isinstance(each, IntentBatch)]
        granted = [any(intent.hint.phone == meeting.phone for intent in batch.granted) for batch in batches]
        assert granted == [True] * place + [False] * (3 - place)
        after = {reason for batch in batches[place:] for hint, reason in batch.refused if hint.phone == meeting.phone}
        assert after <= {Refusal.OUT_OF_DATE, Refusal.SUPPRESSED}
        await meeting.judge()
    await assert_kept(world.db, clock)


async def _in_order(world: World, phone: str, actors: list[Actor]) -> list[object]:
    """Lets the actors queue up for the person's key one by one, then opens it: they get it in that order."""
    tasks = []
    async with world.db.connect() as gate:
        await locks.lock_exclusive(gate, [locks.phone_key(world.account_id, phone)])
        for count, actor in enumerate(actors, start=1):
            tasks.append(asyncio.ensure_future(actor()))
            await _until_waiting(world, count)
        await gate.rollback()
    return list(await asyncio.gather(*tasks))


async def _until_waiting(world: World, count: int) -> None:
    waiting = (
        "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        " and database = (select oid from pg_database where datname = current_database())"
    )
    await until(lambda: _is(world, waiting, count))


async def _is(world: World, question: str, answer: object) -> bool:
    return (await world.execute(question))[0][0] == answer


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
async def test_a_rush_with_every_stop_among_it(world: World, clock: Clock, dids: dict[str, int], seed: int) -> None:
    """All at once, nobody held: PostgreSQL decides who comes first."""
    rng = random.Random(seed)
    for number in range(ROUNDS):
        meeting = Meeting(world, clock, f"+1212555{200 + number:04d}", dids)
        actors = [await meeting.send(each) for each in (CALLER, TEXTER, ONE_OFF)]
        actors += actors  # doubled hints
        actors.append(meeting.stop)
        rng.shuffle(actors)
        await free(world)
        async with asyncio.timeout(60):
            await asyncio.gather(*(actor() for actor in actors))
        await meeting.judge()
    await assert_kept(world.db, clock)


async def test_a_stop_that_waits_for_a_campaign_move_holds_nobody_else(
    world: World, clock: Clock, dids: dict[str, int]
) -> None:
    """The order of the keys: a pause holds the campaign, the opt-out waits for it, and no two wait for one another."""
    meeting = Meeting(world, clock, "+12125550110", dids)
    send = await meeting.send(CALLER)
    async with world.db.connect() as pausing:
        await locks.lock_exclusive(pausing, [locks.campaign_key(meeting.campaigns[0])])
        stopping = asyncio.create_task(meeting.stop())  # type: ignore[arg-type]
        await _until_waiting(world, 1)
        sending = asyncio.ensure_future(send())
        await _until_waiting(world, 2)
        await pausing.execute(
            text("update campaigns set status = 'paused' where id = :id"), {"id": meeting.campaigns[0]}
        )
        await pausing.commit()
    async with asyncio.timeout(60):
        await stopping
        batch = await sending
    assert isinstance(batch, IntentBatch)
    assert batch.granted == []
    await meeting.judge()
    assert (await world.counts(meeting.campaigns[0]))["cancelled"] == 1  # a paused campaign's people opt out as well


async def test_a_campaign_that_is_cancelled_meanwhile_is_counted_once(
    world: World, clock: Clock, dids: dict[str, int]
) -> None:
    meeting = Meeting(world, clock, "+12125550111", dids)
    await meeting.send(CALLER)
    campaign = meeting.campaigns[0]
    async with world.db.connect() as cancelling:
        await locks.lock_exclusive(cancelling, [locks.campaign_key(campaign)])
        stopping = asyncio.create_task(meeting.stop())  # type: ignore[arg-type]
        await _until_waiting(world, 1)
        await cancelling.execute(text("update campaigns set status = 'cancelled'"))
        await cancelling.execute(
            text("update campaign_counts set cancelled = queued, queued = 0 where campaign_id = :id"), {"id": campaign}
        )
        await cancelling.commit()
    await stopping
    assert await world.counts(campaign) == {"total": 2, "cancelled": 2}
    await meeting.judge()
