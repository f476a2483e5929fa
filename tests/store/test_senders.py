from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import Clock
from engine.store import accounts, dids, senders
from engine.store.accounts import Account
from engine.store.campaigns import Campaign
from engine.store.dids import NewDid

BOTH, VOICE, FAR = "+14155550101", "+14155550102", "+12125550103"


@pytest.fixture
async def owned(db: AsyncEngine, account: Account, clock: Clock) -> None:
    new = [NewDid(BOTH), NewDid(VOICE, ("voice",)), NewDid(FAR, ("sms", "voice"))]
    async with db.begin() as conn:
        await dids.add(conn, account.id, new, clock.now())


@pytest.mark.usefixtures("owned")
@pytest.mark.parametrize(
    ("channel", "caller_ids", "expected"),
    [
        ("voice", (), {BOTH, VOICE, FAR}),
        ("sms", (), {BOTH, FAR}),
        ("voice", ("415",), {BOTH, VOICE}),
        ("sms", ("415",), {BOTH}),
        ("voice", (FAR,), {FAR}),
        ("voice", (FAR, "415"), {BOTH, VOICE, FAR}),
        ("voice", ("949",), set()),
        ("sms", (VOICE,), set()),
    ],
)
async def test_numbers_of_a_campaign(
    db: AsyncEngine, campaign: Campaign, channel: str, caller_ids: tuple[str, ...], expected: set[str]
) -> None:
    async with db.begin() as conn:
        found = await senders.of_campaign(conn, replace(campaign, channel=channel, caller_ids=caller_ids))
    assert {did.number for did in found.usable} == expected


@pytest.mark.usefixtures("owned")
async def test_answers_that_the_law_asks_for_come_from_resting_numbers_too(db: AsyncEngine, campaign: Campaign) -> None:
    async with db.begin() as conn:
        states = text("update dids set state = case number when :kept then 'cooling' else 'burned' end")
        await conn.execute(states, {"kept": BOTH})
        assert (await senders.of_campaign(conn, campaign)).usable == []
        found = await senders.of_campaign(conn, replace(campaign, is_system=True))
    assert [did.number for did in found.usable] == [BOTH]


@pytest.mark.usefixtures("owned")
async def test_what_rests_is_told_apart(db: AsyncEngine, campaign: Campaign, clock: Clock) -> None:
    async with db.begin() as conn:
        statement = text(
            "update dids set state = :state, state_reason = :reason, state_until = :until where number = :n"
        )
        for number, state, reason in ((BOTH, "cooling", "label"), (VOICE, "cooling", "low_score"), (FAR, "burned", "")):
            values = {"n": number, "state": state, "reason": reason, "until": clock.now()}
            await conn.execute(statement, values)
        found = await senders.of_campaign(conn, campaign)
    assert found.usable == []
    assert {each.number for each in found.resting.values()} == {BOTH, VOICE}
    assert set(found.blocked.values()) == {BOTH}


@pytest.mark.usefixtures("owned")
async def test_only_active_numbers_of_the_account_are_used(db: AsyncEngine, campaign: Campaign, clock: Clock) -> None:
    async with db.begin() as conn:
        other = await accounts.create(conn, "Other", clock.now())
        await dids.add(conn, other.id, [NewDid("+14155550199")], clock.now())
        await conn.execute(text("update dids set state = 'cooling' where number <> :kept"), {"kept": VOICE})
        found = await senders.of_campaign(conn, replace(campaign, caller_ids=("415",)))
    assert [did.number for did in found.usable] == [VOICE]
