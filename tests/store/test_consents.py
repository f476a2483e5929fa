"""Consent records: what is in force after records, revocations, and old lists."""

from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.clock import Clock, starting_at
from engine.rules.compliance import Compliance
from engine.rules.consent import Consent
from engine.rules.purpose import Purpose
from engine.rules.whom import Kind
from engine.store import accounts, audit, consents, people
from engine.store.consents import NewConsent
from tests.conftest import LEGAL_HOUR

PHONE = "+12125550147"
STRICT = Compliance(requires_consent=True)


async def standing(conn: AsyncConnection, account_id: int, clock: Clock) -> tuple[Consent, Consent]:
    """By voice and by text, as an intent reads it."""
    found = []
    for channel in ("voice", "sms"):
        kind = Kind(channel, Purpose.MARKETING, is_automated=True, is_one_off=False, compliance=STRICT)
        found.append((await people.read(conn, account_id, PHONE, kind, False, clock.now())).consent)
    return found[0], found[1]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], ("none", "none")),
        ([("express", "all")], ("express", "express")),
        ([("express_written", "all"), ("express", "all")], ("express_written", "express_written")),  # the highest
        ([("express_written", "voice"), ("express", "sms")], ("express_written", "express")),
        ([("express_written", "all"), ("none", "all")], ("none", "none")),
        ([("express_written", "all"), ("none", "voice")], ("none", "express_written")),
        ([("none", "all"), ("express", "all")], ("express", "express")),  # asked again later
    ],
)
async def test_what_is_in_force(
    db: AsyncEngine, clock: Clock, given: list[tuple[str, str]], expected: tuple[str, str]
) -> None:
    async with db.begin() as conn:
        account = await accounts.create(conn, "a", clock.now())
        for class_, channel in given:
            new = NewConsent(PHONE, Consent[class_.upper()], channel)
            await consents.add(conn, account.id, [new], clock)
        assert tuple(each.label for each in await standing(conn, account.id, clock)) == expected


async def test_a_revocation_on_one_channel_leaves_the_other_its_record(db: AsyncEngine, clock: Clock) -> None:
    given_at = clock.now() - timedelta(days=3)
    async with db.begin() as conn:
        account = await accounts.create(conn, "a", clock.now())
        new = NewConsent(PHONE, Consent.EXPRESS_WRITTEN, "all", "form 12", "https://a", given_at)
        await consents.add(conn, account.id, [new], clock)
        assert await consents.revoke(conn, account.id, PHONE, "voice", "told our agent", "key_x", clock) == 1
        assert await standing(conn, account.id, clock) == (Consent.NONE, Consent.EXPRESS_WRITTEN)
        withdrawal, kept, revoked = await consents.of_phone(conn, account.id, PHONE)
        assert (kept.channel, kept.source, kept.proof, kept.given_at) == ("sms", "form 12", "https://a", given_at)
        assert (withdrawal.consent, withdrawal.channel, withdrawal.proof) == (Consent.NONE, "voice", "told our agent")
        assert (revoked.channel, revoked.revoked_for) == ("all", "told our agent")
        assert revoked.revoked_at is not None
        (entry,) = await audit.page(conn, account.id, 10)
        assert (entry.action, entry.subject, entry.actor) == ("consent.revoke", PHONE, "key_x")
        assert await consents.revoke(conn, account.id, PHONE, "voice", "", "key_x", clock) == 0


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("is_revoked", [True, False])
async def test_an_old_consent_does_not_come_back_after_its_withdrawal(
    db: AsyncEngine, clock: Clock, is_known: bool, is_revoked: bool
) -> None:
    async with db.begin() as conn:
        account = await accounts.create(conn, "a", clock.now())
        old = NewConsent(PHONE, Consent.EXPRESS_WRITTEN, given_at=clock.now() - timedelta(days=30))
        if is_known:
            await consents.add(conn, account.id, [old], clock)
        if is_revoked:
            await consents.revoke(conn, account.id, PHONE, "all", "", "key_x", clock)
        else:
            await consents.add(conn, account.id, [NewConsent(PHONE, Consent.NONE)], clock)
        await consents.add(conn, account.id, [old], clock)
        assert await standing(conn, account.id, clock) == (Consent.NONE, Consent.NONE)
        later = starting_at(LEGAL_HOUR + timedelta(days=1), 1.0)
        await consents.add(conn, account.id, [NewConsent(PHONE, Consent.EXPRESS)], later)
        assert await standing(conn, account.id, clock) == (Consent.EXPRESS, Consent.EXPRESS)


async def test_accounts_are_apart(db: AsyncEngine, clock: Clock) -> None:
    async with db.begin() as conn:
        one, other = [await accounts.create(conn, name, clock.now()) for name in "ab"]
        await consents.add(conn, one.id, [NewConsent(PHONE, Consent.EXPRESS)], clock)
        assert await standing(conn, other.id, clock) == (Consent.NONE, Consent.NONE)
        assert await consents.of_phone(conn, other.id, PHONE) == []
        assert await consents.page(conn, other.id, 10) == []
        assert await consents.revoke(conn, other.id, PHONE, "all", "", "key_x", clock) == 0
        assert await standing(conn, one.id, clock) == (Consent.EXPRESS, Consent.EXPRESS)


async def test_of_an_old_consent_the_channel_that_was_not_withdrawn_counts(db: AsyncEngine, clock: Clock) -> None:
    async with db.begin() as conn:
        account = await accounts.create(conn, "a", clock.now())
        await consents.revoke(conn, account.id, PHONE, "voice", "", "key_x", clock)
        old = NewConsent(PHONE, Consent.EXPRESS, given_at=clock.now() - timedelta(days=30))
        await consents.add(conn, account.id, [old], clock)
        assert await standing(conn, account.id, clock) == (Consent.NONE, Consent.EXPRESS)


async def test_an_import_that_does_not_see_a_revocation_brings_nothing_into_force(
    db: AsyncEngine, clock: Clock
) -> None:
    async with db.begin() as conn:
        account = await accounts.create(conn, "a", clock.now())
    async with db.connect() as importing, db.connect() as revoking:
        await importing.execute(consents.STAGE)
        given = "values (:phone, 2, cast(:at as timestamptz), 'form', '')"
        at = clock.now() - timedelta(days=30)
        await importing.execute(text(f"insert into import_consents {given}"), {"phone": PHONE, "at": at})
        assert await consents.move_staged(importing, account.id, clock.now()) == 1
        await consents.revoke(revoking, account.id, PHONE, "all", "", "key_x", clock)
        await revoking.commit()
        await importing.commit()
        await importing.execute(consents.UNSTAGE)
        assert await standing(importing, account.id, clock) == (Consent.NONE, Consent.NONE)
