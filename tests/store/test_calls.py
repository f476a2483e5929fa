import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.clock import Clock
from engine.errors import InvalidInput
from engine.rules.prospect import Outcome
from engine.store import accounts, calls, campaigns, counts, dids, one_off
from engine.store.accounts import Account
from engine.store.dids import NewDid
from tests.store.conftest import someone_waits, until

FROM, TO = "+14155550101", "+14155550199"


@pytest.fixture(autouse=True)
async def owned(db: AsyncEngine, account: Account, clock: Clock) -> None:
    async with db.begin() as conn:
        await dids.add(conn, account.id, [NewDid(FROM), NewDid("+14155550102", ("sms",))], clock.now())


async def _call(db: AsyncEngine, account: Account, clock: Clock, sender: str = FROM) -> int:
    parameters = {"systemPrompt": "Be brief"}
    return await calls.create_call(
        db, account.id, sender, TO, parameters, clock.now(), is_live=False, carrier="simulated"
    )


async def test_a_call_waits_in_the_direct_campaign(db: AsyncEngine, account: Account, clock: Clock) -> None:
    first, second = await _call(db, account, clock), await _call(db, account, clock)  # to one number, twice
    assert first != second
    async with db.begin() as conn:
        call = await calls.get_call(conn, account.id, first)
        direct = await campaigns.direct(conn, account.id, "voice", False, "simulated", clock.now())
        assert (await counts.read(conn, direct.id))["queued"] == 2
    assert call is not None
    assert (call.to, call.from_number, call.status, call.parameters) == (
        TO,
        FROM,
        "queued",
        {"systemPrompt": "Be brief"},
    )


async def test_one_named_request_is_one_call(db: AsyncEngine, account: Account, clock: Clock) -> None:
    """The api may die between queueing the call and keeping its answer: the client's repeat must not ring twice."""

    async def ask(name: str) -> int:
        return await calls.create_call(
            db, account.id, FROM, TO, {}, clock.now(), is_live=False, carrier="simulated", request_name=name
        )

    assert await ask("key 1") == await ask("key 1")
    assert await ask("key 1") != await ask("key 2")
    async with db.begin() as conn:
        direct = await campaigns.direct(conn, account.id, "voice", False, "simulated", clock.now())
        assert (await counts.read(conn, direct.id))["total"] == 2


async def test_a_request_that_is_repeated_after_a_change_of_carrier_is_still_one_call(
    db: AsyncEngine, account: Account, clock: Clock
) -> None:
    async def ask(name: str, carrier: str) -> int:
        return await calls.create_call(
            db, account.id, FROM, TO, {}, clock.now(), is_live=False, carrier=carrier, request_name=name
        )

    first = await ask("key 1", "simulated")
    assert await ask("key 1", "simulated-command") == first
    other = await ask("key 2", "simulated-command")
    async with db.begin() as conn:
        for carrier in ("simulated", "simulated-command"):
            direct = await campaigns.direct(conn, account.id, "voice", False, carrier, clock.now())
            assert (await counts.read(conn, direct.id))["total"] == 1
        assert await calls.get_call(conn, account.id, other) is not None


async def test_a_repeat_beside_its_request_is_one_call_though_the_carrier_changed_between(
    db: AsyncEngine, account: Account, clock: Clock
) -> None:
    """Each carrier has a campaign of its own, so no key of the table tells them apart."""

    async def add(conn: AsyncConnection, carrier: str) -> int:
        home = await campaigns.direct(conn, account.id, "voice", False, carrier, clock.now())
        return await one_off.add(conn, home, TO, {"from": FROM}, clock.now(), "key 1")

    async def repeat() -> int:
        async with db.begin() as conn:
            return await add(conn, "simulated-command")

    async with db.begin() as conn:
        first = await add(conn, "simulated")
        repeating = asyncio.create_task(repeat())
        await until(lambda: someone_waits(db))
    assert await repeating == first


async def test_nobody_sees_another_accounts_call(db: AsyncEngine, account: Account, clock: Clock) -> None:
    call_id = await _call(db, account, clock)
    async with db.begin() as conn:
        other = await accounts.create(conn, "Other", clock.now())
        assert await calls.get_call(conn, other.id, call_id) is None
        assert await calls.get_call(conn, account.id, call_id + 1000) is None


@pytest.mark.parametrize(("sender", "reason"), [(TO, "not one of your"), ("+14155550102", "for sms")])
async def test_the_sender_must_be_an_own_voice_number(
    db: AsyncEngine, account: Account, clock: Clock, sender: str, reason: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        await _call(db, account, clock, sender)
    assert reason in str(caught.value.fields["from"])


async def test_the_status_follows_the_latest_attempt(db: AsyncEngine, account: Account, clock: Clock) -> None:
    call_id = await _call(db, account, clock)
    async with db.begin() as conn:
        await conn.execute(text("update prospects set state = 1, attempt = 2"))
        for attempt, state in ((1, 9), (2, 4)):
            await conn.execute(
                text("""
                    insert into attempts (prospect_id, attempt, campaign_id, account_id, phone, did_id, from_number,
                                          carrier, state, intent_at, rules_version)
                    select id, :attempt, campaign_id, account_id, phone, 1, '+14155550101', 'x', :state, now(), 't'
                      from prospects
                """),
                {"attempt": attempt, "state": state},
            )
        call = await calls.get_call(conn, account.id, call_id)
        assert call is not None
        assert call.status == "ringing"
        await conn.execute(text("update prospects set state = 4, outcome = 1"))
        await conn.execute(text("update attempts set state = 9, duration_s = 61 where attempt = 2"))
        call = await calls.get_call(conn, account.id, call_id)
    assert call is not None
    assert (call.status, call.outcome, call.duration_s) == ("completed", Outcome.HUMAN_CONNECTED, 61)
