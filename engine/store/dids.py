"""DIDs: an account's own telephone numbers, and what they can carry."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import Conflict, InvalidInput
from engine.ids import new_id
from engine.rules.phone import is_e164
from engine.rules.telephony import Channel

# Infinity is a valid timestamp in PostgreSQL and none in Python: as an epoch it is a float's own.
_COLUMNS = """id, account_id, number, capabilities, state, label, line_id, calls_per_minute,
    extract(epoch from sms_free_at)::float8 as sms_free_epoch, created_at"""
_INSERT = text(f"""
    insert into dids (id, account_id, number, capabilities, state, label, line_id, created_at)
    values (:id, :account_id, :number, :capabilities, 'active', :label, :line_id, :now)
    on conflict (number) where state <> 'released' do nothing returning {_COLUMNS}
""")
_LIST = text(f"""
    select {_COLUMNS} from dids
     where account_id = :account_id and id > :after and state <> 'released' order by id limit :limit
""")
_CHANGE = text(f"""
    update dids set label = :label, line_id = :line_id where account_id = :account_id and id = :id returning {_COLUMNS}
""")
_LOCK = text(f"""
    select {_COLUMNS} from dids
     where account_id = :account_id and number = :number and state <> 'released' for update
""")
_FIND = text(f"""
    select {_COLUMNS} from dids where account_id = :account_id and number = :number and state <> 'released'
""")


@dataclass(frozen=True, slots=True)
class NewDid:
    number: str  # E.164
    capabilities: tuple[str, ...] = ("voice", "sms")
    label: str = ""
    line_id: int | None = None  # held by the caller's transaction


@dataclass(frozen=True, slots=True)
class Did:
    id: int
    account_id: int
    number: str
    capabilities: tuple[str, ...]
    state: str
    label: str
    line_id: int | None  # None: it belongs to the whole account
    calls_per_minute: int | None  # engine minutes; None: the setting
    sms_free_epoch: float  # engine time as epoch seconds; -inf: never used, inf: a message is under way
    created_at: datetime


async def add(conn: AsyncConnection, account_id: int, new: Sequence[NewDid], now: datetime) -> list[Did]:
    """Registers numbers as active, all or none (the caller's transaction).

    Raises InvalidInput naming each faulty number, and Conflict naming a number that someone already registered.
    """
    _check(new)
    added = []
    for did in sorted(new, key=lambda each: each.number):
        params = {"id": new_id(), "account_id": account_id, "number": did.number, "label": did.label, "now": now}
        params |= {"capabilities": list(dict.fromkeys(did.capabilities)), "line_id": did.line_id}
        row = (await conn.execute(_INSERT, params)).one_or_none()
        if row is None:
            raise Conflict(f"the number {did.number} is already registered", {"number": did.number})
        added.append(_did(row))
    return added


async def list_dids(
    conn: AsyncConnection, account_id: int, limit: int | None = None, after_id: int | None = None
) -> list[Did]:
    params = {"account_id": account_id, "limit": limit, "after": after_id or 0}
    return [_did(row) for row in await conn.execute(_LIST, params)]


async def find(conn: AsyncConnection, account_id: int, number: str) -> Did | None:
    """The account's own DID with this number; None for anybody else's."""
    row = (await conn.execute(_FIND, {"account_id": account_id, "number": number})).one_or_none()
    return _did(row) if row else None


async def lock(conn: AsyncConnection, account_id: int, number: str) -> Did | None:
    """As `find`; nobody else changes it until the transaction ends."""
    row = (await conn.execute(_LOCK, {"account_id": account_id, "number": number})).one_or_none()
    return _did(row) if row else None


async def change(conn: AsyncConnection, did: Did, label: str, line_id: int | None) -> Did:
    """Gives a locked DID another label and line; the line must be held by the same transaction."""
    params = {"account_id": did.account_id, "id": did.id, "label": label, "line_id": line_id}
    return _did((await conn.execute(_CHANGE, params)).one())


def _check(new: Sequence[NewDid]) -> None:
    faults: dict[str, object] = {}
    seen: set[str] = set()
    for index, did in enumerate(new):
        if not is_e164(did.number):
            faults[f"numbers[{index}]"] = f"'{did.number[:40]}' is not an E.164 number such as +14155550123"
        elif did.number in seen:
            faults[f"numbers[{index}]"] = f"{did.number} is given twice"
        elif not did.capabilities or not set(did.capabilities) <= set(Channel):
            given = ", ".join(did.capabilities) or "nothing"
            faults[f"capabilities[{index}]"] = f"{given} given; give voice, sms or both"
        seen.add(did.number)
    if faults:
        raise InvalidInput("the numbers cannot be registered", faults)


def _did(row: Row[tuple[object, ...]]) -> Did:
    fields = dict(row._mapping)
    return Did(**fields | {"capabilities": tuple(fields["capabilities"])})
