import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.clock import Clock
from engine.errors import InvalidInput, NotFound
from engine.store import accounts, audit, keys
from engine.store.accounts import Account


@pytest.mark.parametrize(("is_live", "start"), [(True, "tk_live_"), (False, "tk_test_")])
async def test_a_key_is_found_by_its_text(db: AsyncEngine, account: Account, is_live: bool, start: str) -> None:
    async with db.begin() as conn:
        key, secret = await keys.create_key(conn, account.id, "ci", ["sms:send"], 60, 30, is_live)
        assert await keys.find_key(conn, secret) == key
        assert await keys.find_key(conn, secret[:-1]) is None
        stored = (await conn.execute(text("select api_keys::text from api_keys"))).scalar_one()
    assert secret.startswith(start)
    assert len(secret) == len(start) + 32
    assert key.prefix == secret[:12]
    assert secret not in stored
    assert key.expires_at is not None
    assert (key.expires_at - key.created_at).days == 30


async def test_a_scope_counts_once(db: AsyncEngine, account: Account) -> None:
    async with db.begin() as conn:
        key, _ = await keys.create_key(conn, account.id, "some", ["sms:send", "sms:send"], 60, None, False)
    assert key.scopes == ("sms:send",)


async def test_faults_are_named_together(db: AsyncEngine, account: Account) -> None:
    async with db.begin() as conn:
        with pytest.raises(InvalidInput) as caught:
            await keys.create_key(conn, account.id, "bad", ["sms:eat"], 0, 0, False)
    assert set(caught.value.fields) == {"scopes", "rateLimit", "expiresInDays"}


async def test_an_expired_key_is_none(db: AsyncEngine, account: Account) -> None:
    async with db.begin() as conn:
        _, secret = await keys.create_key(conn, account.id, "ci", ["*"], 60, 1, False)
        await conn.execute(text("update api_keys set expires_at = now() - interval '1 s'"))
        assert await keys.find_key(conn, secret) is None


async def test_revoking_is_audited_and_final(db: AsyncEngine, account: Account, clock: Clock) -> None:
    async with db.begin() as conn:
        key, secret = await keys.create_key(conn, account.id, "ci", ["*"], 60, None, False)
        await keys.revoke(conn, account.id, key.id, "key_other", clock.now())
        assert await keys.find_key(conn, secret) is None
        (listed,) = await keys.list_keys(conn, account.id)
        (entry,) = await audit.page(conn, account.id, 10)
        with pytest.raises(NotFound):
            await keys.revoke(conn, account.id, key.id, "key_other", clock.now())
    assert listed.revoked_at is not None
    assert (entry.actor, entry.action, entry.subject) == ("key_other", "key.revoke", key.actor)


async def test_nobody_revokes_another_accounts_key(db: AsyncEngine, account: Account, clock: Clock) -> None:
    async with db.begin() as conn:
        other = await accounts.create(conn, "Other", clock.now())
        key, secret = await keys.create_key(conn, account.id, "ci", ["*"], 60, None, False)
        with pytest.raises(NotFound):
            await keys.revoke(conn, other.id, key.id, "key_other", clock.now())
        assert await keys.list_keys(conn, other.id) == []
        assert await keys.find_key(conn, secret)


async def test_an_accounts_agent(db: AsyncEngine, account: Account) -> None:
    agent = {"kind": "number", "e164": "+14155550100"}
    async with db.begin() as conn:
        await accounts.set_agent(conn, account.id, agent)
        found = await accounts.get(conn, account.id)
        assert found is not None
        assert found.agent == agent
        await accounts.set_agent(conn, account.id, None)
        assert await accounts.get(conn, account.id) == account
        assert await accounts.get(conn, 12345) is None


async def test_audit_pages_newest_first(db: AsyncEngine, account: Account, clock: Clock) -> None:
    async with db.begin() as conn:
        for n in range(5):
            await audit.record(conn, account.id, "operator", "thing.do", str(n), clock.now(), {"n": n})
        first = await audit.page(conn, account.id, 3)
        rest = await audit.page(conn, account.id, 3, before_id=first[-1].id)
    assert [entry.subject for entry in first + rest] == ["4", "3", "2", "1", "0"]
    assert first[0].detail == {"n": 4}


@pytest.mark.parametrize(
    ("user_id", "team_id", "found"),
    [(8, None, (8, 7)), (9, None, (9, None)), (None, 7, (None, 7)), (8, 6, (8, 6)), (5, None, (5, None))],
)
async def test_a_key_belongs_to_its_user_and_that_users_team(
    db: AsyncEngine, account: Account, user_id: int | None, team_id: int | None, found: tuple[int | None, int | None]
) -> None:
    """User 8 is in team 7, user 9 in none, and user 5 is gone: that key must not become the account's."""
    users = text("insert into users values (8, :account_id, 7, 'Ann', now()), (9, :account_id, null, 'Bob', now())")
    owned = text("update api_keys set user_id = :user_id, team_id = :team_id where id = :id")
    async with db.begin() as conn:
        key, secret = await keys.create_key(conn, account.id, "k", ["sms:read"], 60, None, False)
        await conn.execute(users, {"account_id": account.id})
        await conn.execute(owned, {"user_id": user_id, "team_id": team_id, "id": key.id})
        held = await keys.find_key(conn, secret)
    assert (key.user_id, key.team_id) == (None, None)
    assert held is not None
    assert (held.user_id, held.team_id) == found
