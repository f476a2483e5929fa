from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import Clock
from engine.errors import Conflict, InvalidInput, NotFound
from engine.rules.campaign import TRANSITIONS, Action, CampaignStatus, after, allowed_actions, sources
from engine.store import accounts, audit, campaigns, counts, prospects
from engine.store.accounts import Account
from engine.store.campaigns import Campaign, NewCampaign

Act = Callable[..., Awaitable[Campaign]]

AGENT = {"kind": "number", "e164": "+14155550100"}
PHONES = [f"+1415555{n:04d}" for n in range(100, 110)]


async def _make(db: AsyncEngine, account: Account, clock: Clock, channel: str, mode: dict[str, object]) -> Campaign:
    async with db.begin() as conn:
        return await campaigns.create(
            conn, account.id, NewCampaign("One", channel, False, "simulated", mode), clock.now()
        )


async def _force(db: AsyncEngine, campaign: Campaign, status: str) -> None:
    async with db.begin() as conn:
        await conn.execute(text("update campaigns set status = :s where id = :id"), {"s": status, "id": campaign.id})


async def test_what_is_created_is_read_back(db: AsyncEngine, account: Account, clock: Clock) -> None:
    new = NewCampaign(
        "Spring", "voice", True, "telnyx", {"ai": True}, ("415", "+14155550100"), {"local_presence": True},
        {"timezone": "America/Los_Angeles"}, 2.5,
    )  # fmt: skip
    async with db.begin() as conn:
        made = await campaigns.create(conn, account.id, new, clock.now())
        assert await campaigns.get(conn, account.id, made.id) == made
    assert (made.status, made.caller_ids, made.calls_per_second) == (CampaignStatus.CREATED, new.caller_ids, 2.5)
    assert (made.mode, made.schedule, made.caller_id_strategy) == (new.mode, new.schedule, new.caller_id_strategy)


async def test_another_tenant_sees_nothing(db: AsyncEngine, campaign: Campaign, clock: Clock) -> None:
    async with db.begin() as conn:
        other = await accounts.create(conn, "Other", clock.now())
        assert await campaigns.find(conn, other.id, campaign.id) is None
        assert await campaigns.list_campaigns(conn, other.id) == []
        with pytest.raises(NotFound):
            await campaigns.get(conn, other.id, campaign.id)
    with pytest.raises(NotFound):
        await campaigns.transition(db, other.id, campaign.id, Action.CANCEL, clock.now())


async def test_pages_follow_one_another(db: AsyncEngine, account: Account, clock: Clock) -> None:
    made = [await _make(db, account, clock, "voice", {}) for _ in range(5)]
    async with db.begin() as conn:
        first = await campaigns.list_campaigns(conn, account.id, 3)
        rest = await campaigns.list_campaigns(conn, account.id, 3, first[-1].id)
        assert await campaigns.list_campaigns(conn, account.id) == first + rest
    assert {each.id for each in first + rest} == {each.id for each in made}


@pytest.mark.parametrize("status", CampaignStatus)
@pytest.mark.parametrize("action", [Action.START, Action.PAUSE, Action.RESUME, Action.CANCEL])
async def test_every_state_and_action(
    db: AsyncEngine, act: Act, campaign: Campaign, status: CampaignStatus, action: Action
) -> None:
    await _force(db, campaign, status)
    expected = after(status, action)
    if expected is not None:
        assert (await act(action)).status is expected
        return
    with pytest.raises(Conflict, match=f"cannot {action} a campaign that is {status}") as caught:
        await act(action)
    assert caught.value.fields == {"status": status, "allowed": [str(each) for each in allowed_actions(status)]}


@pytest.mark.parametrize("action", Action)
def test_an_action_leads_to_one_state_wherever_it_comes_from(action: Action) -> None:
    assert len({TRANSITIONS[source][action] for source in sources(action)}) == 1


def test_nothing_leads_to_failed_yet() -> None:
    """Who gives it a way in says when in the README, which now says that no campaign ends so."""
    reached = {status for moves in TRANSITIONS.values() for status in moves.values()}
    assert set(CampaignStatus) - reached == {CampaignStatus.CREATED, CampaignStatus.FAILED}


async def test_times_and_audit(db: AsyncEngine, account: Account, campaign: Campaign, act: Act) -> None:
    started = await act("start")
    await act("pause")
    resumed = await act("resume")
    ended = await act("cancel")
    assert started.started_at == resumed.started_at == ended.started_at
    assert (resumed.ended_at, ended.ended_at is None) == (None, False)
    async with db.connect() as conn:
        entries = await audit.page(conn, account.id, 10)
    assert [entry.action for entry in entries] == [
        f"campaign.{each}" for each in ("cancel", "resume", "pause", "start")
    ]


async def test_an_sms_campaign_needs_its_message(db: AsyncEngine, account: Account, clock: Clock) -> None:
    mute = await _make(db, account, clock, "sms", {})
    with pytest.raises(InvalidInput) as caught:
        await campaigns.transition(db, account.id, mute.id, Action.START, clock.now())
    assert set(caught.value.fields) == {"mode.message"}
    spoken = await _make(db, account, clock, "sms", {"message": "Hello"})
    assert (await campaigns.transition(db, account.id, spoken.id, Action.START, clock.now())).status == "dialing"


async def test_ai_needs_an_agent_of_the_campaign_or_the_account(
    db: AsyncEngine, account: Account, clock: Clock
) -> None:
    own = await _make(db, account, clock, "voice", {"ai": True, "agent": AGENT})
    assert (await campaigns.transition(db, account.id, own.id, Action.START, clock.now())).status == "dialing"
    without = await _make(db, account, clock, "voice", {"ai": True})
    with pytest.raises(InvalidInput, match="agent") as caught:
        await campaigns.transition(db, account.id, without.id, Action.START, clock.now())
    assert set(caught.value.fields) == {"mode.agent"}
    async with db.begin() as conn:
        await accounts.set_agent(conn, account.id, AGENT)
    assert (await campaigns.transition(db, account.id, without.id, Action.START, clock.now())).status == "dialing"


async def test_cancel_counts_at_once_and_is_swept_later(db: AsyncEngine, campaign: Campaign, act: Act) -> None:
    await prospects.add(db, campaign, PHONES)
    await act("start")
    cancelled = await act("cancel")
    async with db.begin() as conn:
        found = await counts.read(conn, campaign.id)
        assert (found["queued"], found["cancelled"], found["total"]) == (0, 10, 10)
        assert {each.state.label for each in await prospects.page(conn, cancelled)} == {"cancelled"}
        assert [await campaigns.sweep_cancelled(conn, campaign.id, 6) for _ in range(3)] == [6, 4, 0]
        states = (await conn.execute(text("select distinct state, next_attempt_at = 'infinity' from prospects"))).all()
        assert [tuple(row) for row in states] == [(5, True)]
        assert await counts.read(conn, campaign.id) == found


async def test_only_a_cancelled_campaign_is_swept(db: AsyncEngine, campaign: Campaign) -> None:
    await prospects.add(db, campaign, PHONES)
    async with db.begin() as conn:
        assert await campaigns.sweep_cancelled(conn, campaign.id) == 0


async def test_completion(db: AsyncEngine, account: Account, campaign: Campaign, act: Act, clock: Clock) -> None:
    await prospects.add(db, campaign, PHONES[:1])
    await act("start")
    assert not await campaigns.complete_if_done(db, campaign.id, clock.now())
    async with db.begin() as conn:
        await conn.execute(text("update campaign_counts set queued = 0, completed = 1"))
    assert not await campaigns.complete_if_done(db, campaign.id, clock.now())  # the row decides, not the counter
    async with db.begin() as conn:
        await conn.execute(text("update prospects set state = 4, next_attempt_at = 'infinity'"))
    assert await campaigns.complete_if_done(db, campaign.id, clock.now())
    assert not await campaigns.complete_if_done(db, campaign.id, clock.now())
    async with db.connect() as conn:
        assert (await campaigns.get(conn, account.id, campaign.id)).status == "completed"


async def test_a_paused_campaign_does_not_complete(db: AsyncEngine, campaign: Campaign, act: Act, clock: Clock) -> None:
    await act("start")
    await act("pause")
    assert not await campaigns.complete_if_done(db, campaign.id, clock.now())


async def test_the_engine_pauses_a_campaign(db: AsyncEngine, campaign: Campaign, act: Act, clock: Clock) -> None:
    assert await campaigns.pause_for(db, campaign.id, "no_dids", clock.now(), ['{"type":"x"}']) is None
    await act("start")
    paused = await campaigns.pause_for(db, campaign.id, "no_dids", clock.now(), ['{"type":"x"}'])
    assert paused is not None
    assert (paused.status, paused.status_reason) == ("paused", "no_dids")
    async with db.connect() as conn:
        rows = (await conn.execute(text("select account_id, body from outbox"))).all()
    assert [tuple(row) for row in rows] == [(campaign.account_id, '{"type":"x"}')]
    assert (await act("resume")).status_reason == ""


async def test_one_hidden_direct_campaign_per_kind(db: AsyncEngine, account: Account, clock: Clock) -> None:
    async with db.begin() as conn:
        first = await campaigns.direct(conn, account.id, "voice", False, "simulated", clock.now())
        again = await campaigns.direct(conn, account.id, "voice", False, "simulated", clock.now())
        live = await campaigns.direct(conn, account.id, "voice", True, "telnyx", clock.now())
        moved = await campaigns.direct(conn, account.id, "voice", True, "twilio", clock.now())
        assert again == first
        assert (first.status, first.is_direct) == ("dialing", True)
        assert (live.carrier, moved.carrier, len({first.id, live.id, moved.id})) == ("telnyx", "twilio", 3)
        assert await campaigns.list_campaigns(conn, account.id) == []
        assert await campaigns.find(conn, account.id, first.id) is None
    assert not await campaigns.complete_if_done(db, first.id, clock.now())
    assert await campaigns.pause_for(db, first.id, "no_dids", clock.now()) is None
