import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import Clock
from engine.errors import Conflict, InvalidInput
from engine.store import accounts, dids
from engine.store.accounts import Account
from engine.store.dids import NewDid

BOTH, VOICE, FAR = "+14155550101", "+14155550102", "+12125550103"


@pytest.fixture
async def owned(db: AsyncEngine, account: Account, clock: Clock) -> None:
    new = [NewDid(BOTH), NewDid(VOICE, ("voice",), "front desk"), NewDid(FAR, ("sms", "voice"))]
    async with db.begin() as conn:
        await dids.add(conn, account.id, new, clock.now())


@pytest.mark.usefixtures("owned")
async def test_added_numbers_are_listed(db: AsyncEngine, account: Account) -> None:
    async with db.begin() as conn:
        found = await dids.list_dids(conn, account.id)
        page = await dids.list_dids(conn, account.id, 2)
        rest = await dids.list_dids(conn, account.id, 2, page[-1].id)
        assert await dids.find(conn, account.id, VOICE) in found
    assert page + rest == found
    assert {did.number: did.capabilities for did in found} == {
        BOTH: ("voice", "sms"),
        VOICE: ("voice",),
        FAR: ("sms", "voice"),
    }
    assert all(did.state == "active" and did.sms_free_epoch == float("-inf") for did in found)


@pytest.mark.usefixtures("owned")
async def test_a_number_belongs_to_one_account(db: AsyncEngine, clock: Clock) -> None:
    async with db.begin() as conn:
        other = await accounts.create(conn, "Other", clock.now())
    with pytest.raises(Conflict, match=r"\+14155550101") as caught:
        async with db.begin() as conn:
            await dids.add(conn, other.id, [NewDid("+13105550100"), NewDid(BOTH)], clock.now())
    assert caught.value.fields == {"number": BOTH}
    async with db.begin() as conn:
        assert await dids.list_dids(conn, other.id) == []
        assert await dids.find(conn, other.id, BOTH) is None


async def test_every_fault_is_named(db: AsyncEngine, account: Account, clock: Clock) -> None:
    new = [NewDid("4155550101"), NewDid(BOTH), NewDid(BOTH), NewDid(FAR, ("fax",)), NewDid(VOICE, ())]
    async with db.begin() as conn:
        with pytest.raises(InvalidInput) as caught:
            await dids.add(conn, account.id, new, clock.now())
    assert set(caught.value.fields) == {"numbers[0]", "numbers[2]", "capabilities[3]", "capabilities[4]"}
