"""API keys: shown once, kept as SHA-256, revoked but never deleted."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.clock import real_now
from engine.errors import InvalidInput, Misconfigured, NotFound
from engine.ids import encode, new_id
from engine.store import audit, clock

SCOPES = (
    "sms:send",
    "sms:read",
    "voice:call",
    "voice:read",
    "campaigns:write",
    "campaigns:read",
    "dids:read",
    "dids:manage",
    "webhooks:manage",
    "*",
)
PREFIX_LENGTH = 12  # of `tk_live_a1b2`, which is what lists show of a key
_RANDOM_BYTES = 24  # 32 url-safe characters

_COLUMNS = """id, account_id, prefix, name, scopes, rate_limit, is_live, user_id, team_id, created_at, expires_at,
    revoked_at"""
_INSERT = text(f"""
    insert into api_keys (id, account_id, hash, prefix, name, scopes, rate_limit, is_live, user_id, team_id, created_at,
        expires_at)
    values (:id, :account_id, :hash, :prefix, :name, :scopes, :rate_limit, :is_live, :user_id, :team_id, :created_at,
        :expires_at)
    returning {_COLUMNS}
""")
# A key's team is its own, or its user's.
_FIND = text("""
    select k.id, k.account_id, k.prefix, k.name, k.scopes, k.rate_limit, k.is_live, k.user_id,
           coalesce(k.team_id, u.team_id) as team_id, k.created_at, k.expires_at, k.revoked_at
      from api_keys k left join users u on u.id = k.user_id
     where k.hash = :hash and k.revoked_at is null and (k.expires_at is null or k.expires_at > :real_now)
""")
_IS_ACCOUNT_WIDE = text("select user_id is null and team_id is null from api_keys where id = :id")
_HAS_LIVE = text("""
    select exists (select from api_keys where account_id = :account_id and is_live and revoked_at is null)
""")
_LIST = text(f"select {_COLUMNS} from api_keys where account_id = :account_id order by id")
_REVOKE = text("""
    update api_keys set revoked_at = :real_now
     where id = :id and account_id = :account_id and revoked_at is null returning prefix
""")


@dataclass(frozen=True, slots=True)
class Key:
    id: int
    account_id: int
    prefix: str
    name: str
    scopes: tuple[str, ...]
    rate_limit: int  # requests a minute
    is_live: bool
    user_id: int | None  # whose numbers it hears of on the streams of one's own; neither: it is account-wide
    team_id: int | None
    created_at: datetime  # real, as the two below
    expires_at: datetime | None
    revoked_at: datetime | None

    @property
    def actor(self) -> str:
        """How the audit names this key: its public id."""
        return encode("key", self.id)


async def create_key(
    conn: AsyncConnection,
    account_id: int,
    name: str,
    scopes: Sequence[str],
    rate_limit: int,
    expires_in_days: int | None,
    is_live: bool,
    *,
    user_id: int | None = None,
    team_id: int | None = None,
    secret: str | None = None,
) -> tuple[Key, str]:
    """A new key and its text, which is nowhere kept. `secret` brings a text of the caller's (development only).

    `user_id` or `team_id`, never both, must be held by the caller's transaction (`teams.hold`, `users.hold`).
    Raises InvalidInput for an unknown scope, no scope or a limit below 1, and Misconfigured for a live key while engine
    time is not wall time.
    """
    _check(scopes, rate_limit, expires_in_days)
    await clock.lock(conn)
    if is_live and not (await clock.read(conn)).is_real:
        raise Misconfigured("a live key needs wall time: delete the row of engine_clock and restart")
    secret = secret or ("tk_live_" if is_live else "tk_test_") + secrets.token_urlsafe(_RANDOM_BYTES)
    created_at = real_now()
    params = {
        "id": new_id(),
        "account_id": account_id,
        "hash": _hash(secret),
        "prefix": secret[:PREFIX_LENGTH],
        "name": name,
        "scopes": list(dict.fromkeys(scopes)),
        "rate_limit": rate_limit,
        "is_live": is_live,
        "user_id": user_id,
        "team_id": team_id,
        "created_at": created_at,
        "expires_at": None if expires_in_days is None else created_at + timedelta(days=expires_in_days),
    }
    return _key((await conn.execute(_INSERT, params)).one()), secret


async def find_key(conn: AsyncConnection, secret: str) -> Key | None:
    """The key of this text, or None when there is none, it is revoked, or its time is over."""
    row = (await conn.execute(_FIND, {"hash": _hash(secret), "real_now": real_now()})).one_or_none()
    return _key(row) if row else None


async def is_account_wide(conn: AsyncConnection, key_id: int) -> bool:
    """Whether a key hears of the whole account, and not only of a user's or a team's numbers."""
    return bool((await conn.execute(_IS_ACCOUNT_WIDE, {"id": key_id})).scalar())


async def has_live(conn: AsyncConnection, account_id: int) -> bool:
    """Whether the account has a live key that is not revoked, though its time may be over."""
    return bool((await conn.execute(_HAS_LIVE, {"account_id": account_id})).scalar())


async def list_keys(conn: AsyncConnection, account_id: int) -> list[Key]:
    """All keys of the account, the revoked ones too, oldest first."""
    return [_key(row) for row in await conn.execute(_LIST, {"account_id": account_id})]


async def revoke(conn: AsyncConnection, account_id: int, key_id: int, actor: str, now: datetime) -> None:
    """Ends a key; audited at `now` (engine time). Raises NotFound when the account has no such working key."""
    params = {"id": key_id, "account_id": account_id, "real_now": real_now()}
    prefix = (await conn.execute(_REVOKE, params)).scalar()
    if prefix is None:
        raise NotFound("there is no such key, or it is already revoked")
    await audit.record(conn, account_id, actor, "key.revoke", encode("key", key_id), now, {"prefix": prefix})


def _check(scopes: Sequence[str], rate_limit: int, expires_in_days: int | None) -> None:
    faults: dict[str, object] = {}
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        faults["scopes"] = f"{', '.join(unknown) or 'nothing'} given; give one or more of {' '.join(SCOPES)}"
    if rate_limit < 1:
        faults["rateLimit"] = f"{rate_limit} is not a number of requests a minute; give 1 or more"
    if expires_in_days is not None and expires_in_days < 1:
        faults["expiresInDays"] = f"{expires_in_days} is not a number of days; give 1 or more, or leave it out"
    if faults:
        raise InvalidInput("the key cannot be created", faults)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _key(row: Row[tuple[object, ...]]) -> Key:
    fields = dict(row._mapping)
    return Key(**fields | {"scopes": tuple(fields["scopes"])})
