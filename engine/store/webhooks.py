"""Webhooks: where an account wants its events sent. Their secrets are kept in clear, for each request is signed.

All times are real. An API change and the deliverer meet in the row: the deliverer reads it anew with every lease.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import Conflict, NotFound
from engine.ids import encode, new_id
from engine.store import locks

MOST_PER_ACCOUNT = 50
_HELD_DAYS = 3  # of what happens while a webhook is paused

COLUMNS = """id, account_id, url, events, secret, previous_secret, previous_secret_until, ordered, active,
    disabled_reason, failures, nullif(parked_until, '-infinity') as parked_until, created_at"""

_INSERT = text(f"""
    insert into webhooks (id, account_id, url, events, secret, ordered, scanned, created_at)
    values (:id, :account_id, :url, :events, :secret, :ordered,
            coalesce((select seq from event_heads where account_id = :account_id), 0), now())
    returning {COLUMNS}
""")
_COUNT = text("select count(*) from webhooks where account_id = :account_id")
_GET = text(f"select {COLUMNS} from webhooks where account_id = :account_id and id = :id")
_LOCK = text(f"select {COLUMNS} from webhooks where account_id = :account_id and id = :id for update")
_PAGE = text(f"""
    select {COLUMNS} from webhooks where account_id = :account_id and id > :after
     order by id limit cast(:limit as bigint)
""")
_DELETE = text("delete from webhooks where account_id = :account_id and id = :id")
_CHANGE = text(f"""
    update webhooks
       set url = coalesce(:url, url), events = coalesce(cast(:events as text[]), events),
           ordered = coalesce(:ordered, ordered), active = coalesce(:active, active),
           disabled_reason = case when cast(:active as boolean) is null then disabled_reason else '' end
     where id = :id returning {COLUMNS}
""")
_UNPARK = text("update webhooks set failures = 0, parked_until = '-infinity' where id = :id")
# What happened while it was paused is sent, but nothing that is older than a delivery would be kept alive for.
_SKIP_OLD = text("""
    update webhooks w set scanned = greatest(scanned, (
               select max(last) from event_chunks c
                where c.account_id = w.account_id and c.recorded_on < current_date - cast(:days as int)))
     where id = :id
""")
_REORDER = text("""
    update webhook_deliveries set next_attempt_at = case when :ordered then '-infinity'::timestamptz else now() end
     where webhook_id = :id and next_attempt_at is not null
""")
_ROTATE = text(f"""
    update webhooks
       set previous_secret = secret, previous_secret_until = now() + make_interval(secs => :overlap_s), secret = :secret
     where id = :id returning {COLUMNS}
""")


@dataclass(frozen=True, slots=True)
class Webhook:
    id: int
    account_id: int
    url: str
    events: tuple[str, ...]  # globs
    secret: str = field(repr=False)
    previous_secret: str | None = field(repr=False)
    previous_secret_until: datetime | None
    ordered: bool
    active: bool
    disabled_reason: str
    failures: int  # in a row
    parked_until: datetime | None
    created_at: datetime

    @property
    def public_id(self) -> str:
        return encode("whk", self.id)

    def secrets_at(self, now: datetime) -> list[str]:
        """The secrets that sign at `now` (real): two for a while after a rotation."""
        if self.previous_secret and self.previous_secret_until and now < self.previous_secret_until:
            return [self.secret, self.previous_secret]
        return [self.secret]


@dataclass(frozen=True, slots=True)
class Change:
    """None: as it was."""

    url: str | None = None
    events: Sequence[str] | None = None
    ordered: bool | None = None
    active: bool | None = None


async def create(
    conn: AsyncConnection, account_id: int, url: str, events: Sequence[str], secret: str, *, ordered: bool = False
) -> Webhook:
    """It is sent what happens from now on. Raises Conflict when the account has `MOST_PER_ACCOUNT`."""
    await locks.lock_exclusive(conn, [locks.named_key(f"webhooks:{account_id}")])
    if ((await conn.execute(_COUNT, {"account_id": account_id})).scalar() or 0) >= MOST_PER_ACCOUNT:
        raise Conflict(f"an account has at most {MOST_PER_ACCOUNT} webhooks; delete one first")
    params = {"id": new_id(), "account_id": account_id, "url": url, "events": list(events), "secret": secret}
    return of_row((await conn.execute(_INSERT, params | {"ordered": ordered})).one())


async def get(conn: AsyncConnection, account_id: int, webhook_id: int) -> Webhook:
    """Raises NotFound when the account has no such webhook."""
    return await _one(conn, account_id, webhook_id)


async def list_webhooks(
    conn: AsyncConnection, account_id: int, limit: int | None = None, after: int | None = None
) -> list[Webhook]:
    """Oldest first."""
    params = {"account_id": account_id, "after": after or 0, "limit": limit}
    return [of_row(row) for row in await conn.execute(_PAGE, params)]


async def change(conn: AsyncConnection, account_id: int, webhook_id: int, wanted: Change) -> Webhook:
    """A new address, or being made active, also ends its parking. Raises NotFound."""
    before = await _one(conn, account_id, webhook_id, is_locked=True)
    if wanted.active and not before.active:
        await conn.execute(_SKIP_OLD, {"id": webhook_id, "days": _HELD_DAYS})
    if wanted.active or wanted.url not in (None, before.url):
        await conn.execute(_UNPARK, {"id": webhook_id})
    if wanted.ordered not in (None, before.ordered):
        await conn.execute(_REORDER, {"id": webhook_id, "ordered": wanted.ordered})
    params = {
        "id": webhook_id,
        "url": wanted.url,
        "events": None if wanted.events is None else list(wanted.events),
        "ordered": wanted.ordered,
        "active": wanted.active,
    }
    return of_row((await conn.execute(_CHANGE, params)).one())


async def rotate(conn: AsyncConnection, account_id: int, webhook_id: int, secret: str, overlap_s: float) -> Webhook:
    """`secret` signs from now on, the one before beside it for `overlap_s`. Raises NotFound."""
    await _one(conn, account_id, webhook_id, is_locked=True)
    params = {"id": webhook_id, "secret": secret, "overlap_s": overlap_s}
    return of_row((await conn.execute(_ROTATE, params)).one())


async def unpark(conn: AsyncConnection, account_id: int, webhook_id: int) -> None:
    """It has shown that it works. Raises NotFound."""
    await _one(conn, account_id, webhook_id, is_locked=True)
    await conn.execute(_UNPARK, {"id": webhook_id})


async def delete(conn: AsyncConnection, account_id: int, webhook_id: int) -> None:
    """Nothing more is sent; its deliveries fade out of the log. Raises NotFound."""
    if not (await conn.execute(_DELETE, {"account_id": account_id, "id": webhook_id})).rowcount:
        raise NotFound("there is no such webhook")


def of_row(row: Row[tuple[object, ...]]) -> Webhook:
    """A row of `COLUMNS`, which may hold more."""
    values = row._mapping
    found = {name: values[name] for name in Webhook.__dataclass_fields__}
    return Webhook(**found | {"events": tuple(found["events"])})


async def _one(conn: AsyncConnection, account_id: int, webhook_id: int, *, is_locked: bool = False) -> Webhook:
    params = {"account_id": account_id, "id": webhook_id}
    row = (await conn.execute(_LOCK if is_locked else _GET, params)).one_or_none()
    if row is None:
        raise NotFound("there is no such webhook")
    return of_row(row)
