"""What is known of a person besides the opt-out list: registries, consent, contacts, their own last message.

The look-ups are laterals that an intent's statement of facts takes in, one probe each, and none where a hint's flags
do not ask for it. `h` must have `account_id`, `phone`, `number` (the E.164 digits) and `wants`; `:channel` and `:since`
are parameters.

`account_id + 0`: consents are to be found by the phone. While they are few, the planner thinks as much of the index by
account, and a plan made then would read all that the account has.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.rules.attempt_caps import LONGEST_PERIOD_S
from engine.rules.consent import Consent
from engine.rules.registry import BLOCK_LINES
from engine.rules.whom import STILL, UNREMARKABLE, Kind, Person, Wants, wants
from engine.store import arrays, registries

_LISTED, _CONSENT, _CONTACTS, _WROTE, _LIVE = 1, 2, 4, 8, 16

# Until when the person wished to be left alone: there is no business relationship from before. Only of those listed.
_ENDED = f"""(select max(at) from (
    select recorded_at as at from consents where account_id + 0 = h.account_id and phone = h.phone and class = 0
    union all
    select lifted_at from lifted_suppressions where account_id = h.account_id and phone = h.phone
    union all
    select timestamptz '{STILL.isoformat()}' from suppressions
     where account_id = h.account_id and phone = h.phone) e)"""
_NOTHING = {_LISTED: "null, null"}  # columns of a look-up that nobody wants

# By flag: the columns, and their look-up.
_LOOKUPS: Mapping[int, tuple[str, str]] = {
    _LISTED: (
        f"w_r.listed, case when w_r.listed is not null then {_ENDED} end as ended_at",
        f"""left join lateral (select array_agg(c.registry) as listed
                           from registry_blocks b join registry_copies c on c.id = b.copy_id and c.is_current
                          where h.wants & {_LISTED} <> 0 and b.block = h.number / {BLOCK_LINES}
                            and {registries.names("h.number")}) w_r on true""",
    ),
    _CONSENT: (
        "w_c.class",
        f"""left join lateral (select max(class) as class from consents c
                          where h.wants & {_CONSENT} <> 0 and account_id + 0 = h.account_id and phone = h.phone
                            and revoked_at is null and channel in ('all', :channel)
                            and not exists (select from consents r
                                             where r.account_id + 0 = h.account_id and r.phone = h.phone and r.class = 0
                                               and r.channel in ('all', :channel) and r.recorded_at > c.given_at)
                         ) w_c on true""",
    ),
    _CONTACTS: (
        "w_a.contacts",
        f"""left join lateral (select array_agg(at) as contacts from person_contacts
                          where h.wants & {_CONTACTS} <> 0 and account_id = h.account_id and number = h.number
                            and at > :since and is_live = (h.wants & {_LIVE} <> 0)) w_a on true""",
    ),
    _WROTE: (
        "w_m.wrote_at",
        f"""left join lateral (select received_at as wrote_at from inbound_messages
                          where h.wants & {_WROTE} <> 0 and account_id = h.account_id and from_number = h.phone
                          order by id desc limit 1) w_m on true""",
    ),
}
_ANY = _LISTED | _CONSENT | _CONTACTS | _WROTE


class Lookups(NamedTuple):
    """Of a statement: the columns that `person` takes, and the joins that they come from."""

    columns: str
    joins: str


def lookups(wanted: int) -> Lookups:
    """Only what one of the hints wants, by the sum of their flags: a join costs some 0.3 µs each even where its
    condition is false."""
    some = [
        (columns, join) if wanted & flag else (_NOTHING.get(flag, "null"), "")
        for flag, (columns, join) in _LOOKUPS.items()
    ]
    return Lookups(", ".join(column for column, _ in some), "\n".join(join for _, join in some))


_READ = text(f"""
    select {lookups(_ANY).columns}
      from (select cast(:account_id as bigint) as account_id, cast(:phone as text) as phone,
                   cast(:number as bigint) as number, cast(:wants as int) as wants) h {lookups(_ANY).joins}
""")
_FORGET = text("""
    delete from person_contacts where ctid = any(array(select ctid from person_contacts where at < :before limit :most))
""")
_UNCOUNT = text("""
    delete from person_contacts c
     using unnest(cast(:accounts as bigint[]), cast(:numbers as bigint[]), cast(:at as timestamptz[]))
           as u(account_id, number, at)
     where c.account_id = u.account_id and c.number = u.number and c.at = u.at
""")


class Contact(NamedTuple):
    account_id: int
    phone: str
    at: datetime


def number_of(phone: str) -> int:
    """The digits of an E.164 number."""
    return int(phone[1:])


def flags(kind: Kind, is_live: bool) -> int:
    """`wants` of a hint."""
    return _flags(wants(kind)) | (_LIVE if is_live else 0)


def since(now: datetime) -> datetime:
    """Contacts before this count for no cap."""
    return now - timedelta(seconds=LONGEST_PERIOD_S)


def person(
    listed: Sequence[str] | None,
    ended_at: datetime | None,
    consent: int | None,
    contacts: Any,
    wrote_at: datetime | None,
) -> Person:
    """From the columns of `lookups`."""
    if listed is None and consent is None and contacts is None and wrote_at is None:
        return UNREMARKABLE
    return Person(tuple(listed or ()), Consent(consent or 0), tuple(contacts or ()), wrote_at, ended_at=ended_at)


async def read(conn: AsyncConnection, account_id: int, phone: str, kind: Kind, is_live: bool, now: datetime) -> Person:
    """One person, as this statement sees them: for whoever asks without an intent."""
    params = {
        "account_id": account_id,
        "phone": phone,
        "number": number_of(phone),
        "wants": flags(kind, is_live),
        "channel": kind.channel,
        "since": since(now),
    }
    return person(*(await conn.execute(_READ, params)).one())


async def uncount(conn: AsyncConnection, contacts: Iterable[Contact]) -> None:
    """Takes back contacts that were provably not made, before their attempt is made again."""
    taken = list(contacts)
    params = {
        "accounts": arrays.numbers([each.account_id for each in taken]),
        "numbers": arrays.numbers([number_of(each.phone) for each in taken]),
        "at": arrays.times([each.at for each in taken]),
    }
    await conn.execute(_UNCOUNT, params)


async def forget_contacts(conn: AsyncConnection, now: datetime, most: int = 50_000) -> int:
    """Drops contacts that count for no cap any more, at most so many; returns how many."""
    before = since(now) - timedelta(days=1)
    return (await conn.execute(_FORGET, {"before": before, "most": most})).rowcount


def _flags(wanted: Wants) -> int:
    bits = zip(wanted, (_LISTED, _CONSENT, _CONTACTS, _WROTE), strict=True)
    return sum(bit for is_wanted, bit in bits if is_wanted)
