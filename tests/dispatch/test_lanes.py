"""Which short windows a create counts against."""

from collections.abc import Collection
from functools import partial

import pytest
from redis.asyncio import Redis

from engine.clock import Clock, boottime, under
from engine.dispatch.campaigns import CampaignFacts, read_campaigns
from engine.dispatch.hints import Hint
from engine.dispatch.lanes import KEEP_S, LaneBook, lanes_of
from engine.dispatch.pipeline import LONGEST_WAIT_S
from engine.limits.slots import Lane, SendSlots
from engine.settings import Settings
from engine.simulation.timeline import VirtualTime
from engine.store import campaigns
from tests.dispatch.conftest import World

SETTINGS = Settings(database_url="postgresql://unused", redis_url="redis://unused", sms_per_second=20)


async def book_of(world: World, *campaign_ids: int) -> LaneBook:
    book = LaneBook(partial(read_campaigns, world.db), SETTINGS)
    await book.refresh(campaign_ids)
    return book


async def texts(world: World, clock: Clock) -> tuple[Hint, Hint, LaneBook]:
    """A campaign's text, a one-off text of the same account, and the book that knows both."""
    campaign = await world.campaign("sms", phones=[])
    async with world.db.begin() as conn:
        home = await campaigns.direct(conn, world.account_id, "sms", False, "simulated-command", clock.now())
    written = Hint(world.account_id, campaign, 1, 1, "+12125550142", 5, "+12135550100")
    single = Hint(world.account_id, home.id, 2, 1, "+12125550143", 5, "+12135550100", is_one_off_text=True)
    return written, single, await book_of(world, campaign, home.id)


async def test_a_one_off_text_is_paced_by_its_number_and_both_by_the_carrier(world: World, clock: Clock) -> None:
    await world.execute("update accounts set settings = jsonb_set(settings, '{limits}', '{\"messagesPerSecond\": 4}')")
    written, single, book = await texts(world, clock)
    assert book.of(single).own == Lane("sms:5", 20)
    assert book.of(written).own == Lane(f"campaign:{written.campaign_id}", SETTINGS.max_calls_per_second)
    shared = Lane(f"carrier:{world.account_id}:simulated-command:sms", 4)
    assert book.of(single).carrier == book.of(written).carrier == shared


async def test_a_carrier_that_refuses_a_text_holds_up_one_off_texts_too(
    world: World, clock: Clock, redis: Redis
) -> None:
    written, single, book = await texts(world, clock)
    slots = SendSlots(redis)
    await slots.close((book.of(written).carrier,), 30)
    (grant,) = await slots.acquire([(book.of(single), 1)])
    assert grant.slots == []
    assert grant.ask_at[0] > boottime() + 20


def test_an_unknown_campaign_has_lanes_for_it_gets_no_intent() -> None:
    assert lanes_of(7, None, SETTINGS).own.key == "campaign:7"


async def test_a_campaign_that_nobody_asks_for_is_forgotten_and_no_other() -> None:
    async def nothing(_ids: Collection[int]) -> dict[int, CampaignFacts]:
        return {}

    ended, running, late = (Hint(1, campaign, 1, 1, "+12125550142", 5, "+12135550100") for campaign in (7, 8, 9))
    time = VirtualTime()
    with under(time):
        book = LaneBook(nothing, SETTINGS)
        await book.refresh([ended.campaign_id, running.campaign_id])
        for _ in range(3):
            await book.refresh([late.campaign_id])
            time.now_us += round((KEEP_S + 1) * 1e6)
            await book.refresh([running.campaign_id])
            assert book.of(late).own.key == "campaign:9"  # of a create that was under way while the machine slept
        assert book.of(running).own.key == "campaign:8"
        with pytest.raises(KeyError):
            book.of(ended)


def test_lanes_are_kept_for_longer_than_a_hint_waits_and_its_ticket_lasts() -> None:
    assert 5 * (LONGEST_WAIT_S + SETTINGS.ticket_s + SETTINGS.carrier_timeout_s) < KEEP_S
