"""The composition root: what every process is built from, opened once and closed in reverse.

Nothing else makes a connection. Redis clients never retry by themselves: a retried push doubles a message, a retried
pop strands one. Callers decide what a failure means; a hint may be lost, PostgreSQL is the truth.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, ResponseError
from sqlalchemy.ext.asyncio import AsyncEngine

from engine import metrics
from engine.carriers import catalog, reputation
from engine.carriers.http import CreateTiming, HttpOptions
from engine.carriers.port import Carrier, Shape
from engine.carriers.reputation import ReputationProvider
from engine.clock import Clock
from engine.errors import InvalidInput, Misconfigured
from engine.rules.window import use_rows
from engine.rules.zones import use_packaged_tzdata
from engine.settings import Settings
from engine.store import clock as clock_store
from engine.store.database import autocommit, check_server, connect, reaching

REDIS_TIMEOUT_S = 2.0
_READ_ONLY_IN_SCRIPT = "-READONLY "  # before Redis 7 a script's error has no kind of its own


@dataclass(slots=True)
class Runtime:
    """The servers, the clock and the carriers of one process. Use `async with running(settings) as runtime`."""

    settings: Settings
    db: AsyncEngine
    redis: Redis  # buckets and streams
    queue: Redis  # Dramatiq's database
    clock: Clock
    _carriers: dict[str, Carrier] = field(default_factory=dict)
    _providers: dict[str, ReputationProvider] = field(default_factory=dict)
    # The database for reading: each statement is its own transaction, so that a process that stops between two of them
    # holds nothing, and is not cut off by the limit on idle transactions.
    reader: AsyncEngine = field(init=False)

    def __post_init__(self) -> None:
        self.reader = autocommit(self.db)

    @classmethod
    async def open(cls, settings: Settings, *, pool_size: int = 5, keyed: bool = False) -> Self:
        """`keyed` is for workers and coordinators: see `engine.store.database.connect`.

        Raises Misconfigured when the database server would break a promise, or the rules file cannot be used, and
        Unavailable when the server cannot be reached.
        """
        use_packaged_tzdata()
        load_rules(settings)
        db = connect(
            settings.sqlalchemy_url,
            pool_size=pool_size,
            keyed=keyed,
            idle_in_transaction_ms=settings.idle_in_transaction_ms,
        )
        try:
            with reaching():
                await check_server(db)
                clock = await clock_store.load(db)
        except BaseException:
            await db.dispose()
            raise
        redis, queue = connect_redis(settings.redis_url.get_secret_value()), connect_redis(settings.queue_url)
        return cls(settings, db, redis, queue, clock)

    async def close(self) -> None:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.db.dispose)
            stack.push_async_callback(self.queue.aclose)
            stack.push_async_callback(self.redis.aclose)
            for carrier in self._carriers.values():
                stack.push_async_callback(carrier.close)
            for provider in self._providers.values():
                stack.push_async_callback(provider.close)
            self._carriers, self._providers = {}, {}

    def carrier(self, name: str) -> Carrier:
        """The adapter called `name`, built at its first use. Raises Misconfigured for an unknown name."""
        if name not in self._carriers:
            self._carriers[name] = catalog.build(name, carrier_settings(self.settings), http_options(self.settings))
        return self._carriers[name]

    def reputation_provider(self, name: str) -> ReputationProvider:
        """The provider called `name`, built at its first use. Raises Misconfigured for an unknown name."""
        if name not in self._providers:
            settings, http = carrier_settings(self.settings), http_options(self.settings)
            self._providers[name] = reputation.build(name, settings, http)
        return self._providers[name]

    @property
    def document_carriers(self) -> frozenset[str]:
        """Names of the carriers that fetch their commands as documents."""
        return frozenset(name for name in catalog.CARRIERS if self.carrier(name).caps.shape is Shape.DOCUMENT)

    @property
    def simulated_carriers(self) -> frozenset[str]:
        """Names of the carriers behind which there are no people."""
        return frozenset(name for name in catalog.CARRIERS if self.carrier(name).caps.is_simulated)


@asynccontextmanager
async def running(settings: Settings, *, pool_size: int = 5, keyed: bool = False) -> AsyncIterator[Runtime]:
    """An open Runtime, closed at the end of the block."""
    runtime = await Runtime.open(settings, pool_size=pool_size, keyed=keyed)
    try:
        yield runtime
    finally:
        await runtime.close()


def load_rules(settings: Settings) -> int:
    """Adds the operator's rows for contact hours to those built in; answers how many. Raises Misconfigured."""
    path = settings.rules_file
    try:
        return use_rows(Path(path).read_text("utf-8") if path else "")
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"CARILLON_RULES_FILE: {path} cannot be read: {error}") from error
    except InvalidInput as error:
        raise Misconfigured(f"CARILLON_RULES_FILE: {path}: {error.message}; see `carillon rules check`") from error


def connect_redis(url: str) -> Redis:
    """A client that tries once, and answers or fails within `REDIS_TIMEOUT_S`. What it raises of an outage is a
    RedisError."""
    client = Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=REDIS_TIMEOUT_S,
        socket_connect_timeout=REDIS_TIMEOUT_S,
    )
    pool = client.connection_pool
    pool.connection_class = type("Connection", (_TellsOutages, pool.connection_class), {})
    return client


class _TellsOutages(AbstractConnection):
    """Two outages that the client does not see as such.

    uvloop says with a RuntimeError that a connection has just gone, and the client passes it on: a coordinator took it
    for a bug of ours, and ended. And a server that was made a replica keeps its connections: only new ones lead to the
    one in its place.
    """

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super().read_response(*args, **kwargs)
        except ResponseError as error:
            if isinstance(error, ReadOnlyError) or _READ_ONLY_IN_SCRIPT in str(error):
                self.mark_for_reconnect()  # type: ignore[no-untyped-call]
            raise

    async def send_packed_command(self, command: "bytes | str | Iterable[bytes]", check_health: bool = True) -> None:
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            raise RedisConnectionError(f"the connection has gone ({type(error).__name__})") from error


def carrier_settings(settings: Settings) -> Mapping[str, str]:
    """The account at the simulated carrier. Real carriers will need theirs from the account's own settings."""
    secret = settings.simulated_secret.get_secret_value()
    return {
        "base_url": settings.simulated_url,
        "account_id": "sim",
        "secret": secret,
        "signing_secret": secret,
    }


def http_options(settings: Settings) -> HttpOptions:
    return HttpOptions(
        connections=settings.carrier_connections, total_timeout_s=settings.carrier_timeout_s, on_create=_observe
    )


def _observe(timing: CreateTiming) -> None:
    if timing.latency_s is not None:
        metrics.CREATE_SECONDS.observe(timing.latency_s)
