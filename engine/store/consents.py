"""Consent records: who allowed what, when, and by which proof. Nothing of it is ever deleted, only revoked.

In force is the highest class among a person's records that are not revoked and not older than a withdrawal. That is a
record of class none, which every revocation leaves: an old list brings nothing back, not even while it is imported. A
revocation takes the person's key, many at once the account's: an intent is either committed before, or sees it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.clock import Clock
from engine.ids import encode
from engine.rules.consent import Consent
from engine.rules.suppression import Scope
from engine.store import arrays, audit, locks
from engine.store.suppressions import keys

WITHDRAWN = "withdrawn"  # why a record is revoked when one of class none follows it; the source of a revocation's own

_COLUMNS = "id, account_id, phone, class, channel, source, proof, given_at, recorded_at, revoked_at, revoked_for"
_ADD = text("""
    insert into consents (account_id, phone, class, channel, source, proof, given_at, recorded_at)
    select :account_id, g.phone, g.class, g.channel, g.source, g.proof, g.given_at, :now
      from unnest(cast(:phones as text[]), cast(:classes as smallint[]), cast(:channels as text[]),
                  cast(:sources as text[]), cast(:proofs as text[]), cast(:given_at as timestamptz[]))
           with ordinality as g(phone, class, channel, source, proof, given_at, n) order by g.n
    returning id
""")
# Of a record for both channels that is revoked for one, what it says of the other goes on as a record of its own.
_SPLIT = text("""
    insert into consents (account_id, phone, class, channel, source, proof, given_at, recorded_at)
    select account_id, phone, class, :rest, source, proof, given_at, recorded_at from consents
     where account_id = :account_id and phone = any(cast(:phones as text[])) and channel = 'all' and class > 0
       and revoked_at is null
""")
_REVOKE = text("""
    update consents set revoked_at = :now, revoked_for = :reason
     where account_id = :account_id and phone = any(cast(:phones as text[])) and class > 0 and revoked_at is null
       and (:channel = 'all' or channel in ('all', :channel))
""")
# Of a file that is imported again nothing is recorded twice. A consent without a time may be older than its withdrawal.
_IMPORT = text("""
    insert into consents (account_id, phone, class, channel, source, proof, given_at, recorded_at)
    select :account_id, i.phone, i.class, 'all', i.source, i.proof, coalesce(i.given_at, :now), :now
      from import_consents i
     where not exists (select from consents c where c.account_id = :account_id and c.phone = i.phone
                          and ((c.class = 0 and c.recorded_at > coalesce(i.given_at, '-infinity'))
                               or (c.class = i.class and c.source = i.source and c.proof = i.proof
                                   and c.given_at = coalesce(i.given_at, c.given_at))))
""")
STAGE = text("""
    create temporary table import_consents (
        phone text not null, class smallint not null, given_at timestamptz, source text not null, proof text not null
    ) on commit preserve rows
""")
UNSTAGE = text("drop table import_consents")
COPY = "copy import_consents (phone, class, given_at, source, proof) from stdin"
_OF_PHONE = text(f"""
    select {_COLUMNS} from consents where account_id = :account_id and phone = :phone order by id desc
""")
_PAGE = text(f"""
    select {_COLUMNS} from consents where account_id = :account_id and id > :after order by id limit :limit
""")


@dataclass(frozen=True, slots=True)
class NewConsent:
    phone: str
    consent: Consent
    channel: str = Scope.ALL
    source: str = "api"
    proof: str = ""  # words, or the address of a record
    given_at: datetime | None = None  # None: now


@dataclass(frozen=True, slots=True)
class Record:
    id: int
    account_id: int
    phone: str
    consent: Consent
    channel: str
    source: str
    proof: str
    given_at: datetime
    recorded_at: datetime  # engine time, as the others
    revoked_at: datetime | None
    revoked_for: str

    @property
    def public_id(self) -> str:
        return encode("cons", self.id)


async def add(conn: AsyncConnection, account_id: int, new: Sequence[NewConsent], clock: Clock) -> list[int]:
    """Records consents and returns their ids. One of class none takes back what was given before on its channel; one
    that was given before a withdrawal is not in force.

    The caller's transaction should hold no lock of a later class yet.
    """
    await locks.lock_exclusive(conn, keys(account_id, sorted({each.phone for each in new})))
    now = clock.now()
    for channel in sorted({each.channel for each in new if each.consent is Consent.NONE}):
        phones = [each.phone for each in new if each.consent is Consent.NONE and each.channel == channel]
        await _revoke(conn, account_id, phones, channel, WITHDRAWN, now)
    return list((await conn.execute(_ADD, _params(account_id, new, now))).scalars())


async def move_staged(conn: AsyncConnection, account_id: int, now: datetime) -> int:
    """Records what an import has staged in `import_consents`; returns how many."""
    return (await conn.execute(_IMPORT, {"account_id": account_id, "now": now})).rowcount


async def revoke(
    conn: AsyncConnection, account_id: int, phone: str, channel: str, reason: str, actor: str, clock: Clock
) -> int:
    """Takes back what a person allowed on a channel, or on `all`; returns how many records that were. Audited.

    It holds also for what was allowed before and is recorded later.
    """
    await locks.lock_exclusive(conn, keys(account_id, [phone]))
    now = clock.now()
    revoked = await _revoke(conn, account_id, [phone], channel, reason, now)
    withdrawal = NewConsent(phone, Consent.NONE, channel, WITHDRAWN, reason)
    await conn.execute(_ADD, _params(account_id, [withdrawal], now))
    detail = {"channel": channel, "reason": reason, "records": revoked}
    await audit.record(conn, account_id, actor, "consent.revoke", phone, now, detail)
    return revoked


async def of_phone(conn: AsyncConnection, account_id: int, phone: str) -> list[Record]:
    """The newest first, the revoked ones among them."""
    return [_record(row) for row in await conn.execute(_OF_PHONE, {"account_id": account_id, "phone": phone})]


async def page(conn: AsyncConnection, account_id: int, limit: int, after_id: int = 0) -> list[Record]:
    params = {"account_id": account_id, "after": after_id, "limit": limit}
    return [_record(row) for row in await conn.execute(_PAGE, params)]


async def _revoke(
    conn: AsyncConnection, account_id: int, phones: Sequence[str], channel: str, reason: str, now: datetime
) -> int:
    params = {"account_id": account_id, "phones": list(phones), "channel": channel, "reason": reason, "now": now}
    if channel != Scope.ALL:
        await conn.execute(_SPLIT, params | {"rest": Scope.SMS if channel == Scope.VOICE else Scope.VOICE})
    return (await conn.execute(_REVOKE, params)).rowcount


def _params(account_id: int, new: Sequence[NewConsent], now: datetime) -> dict[str, object]:
    return {
        "account_id": account_id,
        "now": now,
        "phones": arrays.texts([each.phone for each in new]),
        "classes": arrays.numbers([each.consent for each in new]),
        "channels": arrays.texts([each.channel for each in new]),
        "sources": arrays.texts([each.source for each in new]),
        "proofs": arrays.texts([each.proof for each in new]),
        "given_at": arrays.times([each.given_at or now for each in new]),
    }


def _record(row: Row[tuple[object, ...]]) -> Record:
    fields = dict(row._mapping)
    fields["consent"] = Consent(fields.pop("class"))
    return Record(**fields)
