"""Who is calling: the key behind `Authorization: Bearer tk_…`, its scopes and its rate.

A key's row is remembered for at most `CACHE_S`, so a revoked key stops within a second on every process. The rate is a
token bucket in Redis, shared by all processes; with Redis away requests pass, since refusing them all would turn the
loss of something disposable into an outage (P8).
"""

import hashlib
import time
from dataclasses import dataclass

import structlog
from fastapi import Request, Security, params
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy.ext.asyncio import AsyncEngine

from engine import ids
from engine.errors import Forbidden, RateLimited, Unauthorized
from engine.store import keys

log = structlog.get_logger(__name__)

CACHE_S = 1.0
MOST_CACHED = 10_000

# KEYS[1] bucket; ARGV[1] capacity, also the refill a minute. Returns ms until the next token, 0 when taken. The time is
# Redis's: of hosts whose clocks differ, the one ahead would refill the difference whenever it follows the other.
_TAKE = """
local capacity, time = tonumber(ARGV[1]), redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens, at = tonumber(bucket[1]) or capacity, tonumber(bucket[2]) or now
tokens = math.min(capacity, tokens + math.max(0, now - at) * capacity / 60000)
local wait = 0
if tokens >= 1 then tokens = tokens - 1 else wait = math.ceil((1 - tokens) * 60000 / capacity) end
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', now)
redis.call('PEXPIRE', KEYS[1], 120000)
return wait
"""

_bearer = HTTPBearer(auto_error=False, scheme_name="API key", description="`tk_live_…` or `tk_test_…`")


@dataclass(frozen=True, slots=True)
class Caller:
    """The account and key behind a request."""

    key_id: int
    account_id: int
    scopes: frozenset[str]
    is_live: bool
    rate_limit: int  # requests a minute
    user: str = ""  # public ids of those whose numbers it sees; both empty: the whole account's
    team: str = ""

    @property
    def actor(self) -> str:
        """How the audit names it."""
        return ids.encode("key", self.key_id)

    def may(self, scope: str) -> bool:
        return scope in self.scopes or "*" in self.scopes


class KeyRing:
    """Looks keys up and holds their rate."""

    def __init__(self, reader: AsyncEngine, redis: Redis) -> None:
        self._reader = reader
        self._redis = redis
        self._take = redis.register_script(_TAKE)
        self._cached: dict[bytes, tuple[float, Caller]] = {}

    async def identify(self, key: str) -> Caller:
        """Raises Unauthorized for a key that is unknown, revoked or expired, and RateLimited over its rate."""
        caller = await self._find(key)
        await self._pace(caller)
        return caller

    def forget(self, key_id: int) -> None:
        """Drops a key from this process's memory, so that the one who revoked it sees it refused at once."""
        self._cached = {digest: held for digest, held in self._cached.items() if held[1].key_id != key_id}

    async def _find(self, key: str) -> Caller:
        digest = hashlib.sha256(key.encode()).digest()
        now = time.monotonic()
        if (held := self._cached.get(digest)) and held[0] > now:
            return held[1]
        async with self._reader.connect() as conn:
            row = await keys.find_key(conn, key)
        if row is None:
            self._cached.pop(digest, None)
            raise Unauthorized("this key is unknown, revoked or expired; create one with POST /api/keys")
        scopes, user, team = frozenset(row.scopes), ids.public("user", row.user_id), ids.public("team", row.team_id)
        caller = Caller(row.id, row.account_id, scopes, row.is_live, row.rate_limit, user, team)
        if len(self._cached) >= MOST_CACHED:
            self._cached.clear()
        self._cached[digest] = (now + CACHE_S, caller)
        return caller

    async def _pace(self, caller: Caller) -> None:
        try:
            wait_ms = int(await self._take(keys=[f"carillon:rate:{caller.key_id}"], args=[caller.rate_limit]))
        except RedisError as error:
            log.warning("rate.unchecked", error=str(error))
            return
        if wait_ms:
            raise RateLimited(f"over this key's {caller.rate_limit} requests a minute", wait_ms / 1000)


def bearer_key(request: Request) -> str:
    """The key in the Authorization header. Raises Unauthorized without one; a query is never looked at."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Unauthorized("send a key as Authorization: Bearer tk_…")
    return key.strip()


def _require(
    request: Request,
    wanted: SecurityScopes,
    _: HTTPAuthorizationCredentials | None = Security(_bearer),
) -> Caller:
    caller: Caller = request.state.caller  # put there by `routing.ApiRoute`, before the body was read
    for scope in wanted.scopes:
        if not caller.may(scope):
            raise Forbidden(f"this key lacks the scope {scope}", {"scope": scope})
    return caller


def needs(*scopes: str) -> params.Security:
    """For `Annotated[Caller, needs("campaigns:read")]`: the caller, or Forbidden that names the scope it lacks.

    Without a scope any key of the account will do.
    """
    security: params.Security = Security(_require, scopes=list(scopes))
    return security
