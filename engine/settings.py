"""Every setting, read from the environment once, by the composition root. Names are `CARILLON_<FIELD>`.

`DATABASE_URL`, `REDIS_URL` (buckets and streams) and `REDIS_QUEUE_URL` (Dramatiq's own database, which must hold
nothing else: its recovery script lists keys) carry no prefix because every platform sets them so.
"""

from functools import cached_property
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="CARILLON_", extra="ignore", frozen=True)

    database_url: SecretStr = Field(validation_alias=AliasChoices("DATABASE_URL", "CARILLON_DATABASE_URL"))
    redis_url: SecretStr = Field(validation_alias=AliasChoices("REDIS_URL", "CARILLON_REDIS_URL"))
    redis_queue_url: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("REDIS_QUEUE_URL", "CARILLON_REDIS_QUEUE_URL")
    )

    environment: str = "production"  # "development" turns on console logs and allows a scaled clock
    log_level: str = "info"
    public_url: str = "http://127.0.0.1:8000"  # where carriers reach our callbacks
    host: str = "127.0.0.1"
    port: int = 8000
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 0  # 0: a free port, logged at start

    rules_file: str = ""  # CSV with an operator's rows for the law's hours; read once at the start

    secret: SecretStr = SecretStr("")  # signs agent tokens; required with real carriers

    # carriers: the default for new campaigns of test keys, and where the simulated network listens
    test_carrier: str = "simulated-command"
    simulated_url: str = "http://127.0.0.1:8100"
    simulated_secret: SecretStr = SecretStr("simulated-secret")
    carrier_timeout_s: float = 5.0
    carrier_connections: int = 512

    # the intent and its ticket (DESIGN 2a): a create is begun within `ticket_s` of BEGIN or not at all
    ticket_s: float = 2.0
    batch_size: int = 1000  # contacts decided, or attempts settled, in one transaction: at most
    batch_wait_s: float = 0.05
    settle_wait_s: float = 0.04  # the same for what is learned of attempts, such as that somebody answered
    idle_in_transaction_ms: int = 500  # a session that stops inside a transaction would block a pause for longer
    prefetch: int = 3000  # hints under way in a worker: three batches, decided, waiting for their slots, and settled

    # deadlines, real seconds unless they say otherwise
    # First look-up of a doubtful create, after ticket and request timeout are over: so late may a busy carrier read
    # what lies in its socket, of which a look-up knows nothing.
    reconcile_after_s: float = 15.0
    reconcile_give_up_s: float = 120.0
    delivery_deadline_s: float = 72 * 3600.0  # engine seconds; a text without a delivery report by then is `unknown`
    abandon_after_s: float = 2.0  # no agent this long after the greeting's end: abandoned

    # the coordinator
    lease_s: float = 3.0
    tick_s: float = 0.05
    queue_depth_s: float = 3.0
    hint_lease_s: float = 15.0  # an enqueued prospect still queued after this is enqueued again
    did_calls_per_minute: int = 60  # engine minutes; a DID may carry its own
    did_caps: Literal["live", "all"] = "live"  # whose calls count against the hourly and daily caps of numbers
    did_health: Literal["live", "all"] = "live"  # whose calls and texts count for the health of numbers
    did_policy: str = ""  # JSON that changes `rules.did_policy`'s table
    reputation_provider: str = "simulated"  # empty: none is asked
    sms_gap_s: int = Field(default=900, ge=900)  # engine seconds; that a number sends four in an hour rests on it alone
    sms_jitter_s: int = Field(default=120, ge=0)
    sms_per_second: float = 20.0  # one-off texts of one number; campaigns keep the gap instead
    max_calls_per_second: float = 1000.0

    # what an account may ask of its carrier, when it says nothing itself (`limits` in its settings); 0: no limit here
    carrier_calls_per_second: float = 0.0
    carrier_messages_per_second: float = 0.0
    carrier_concurrent_calls: int = 0

    # the event side
    stream_keep: int = 10_000  # newest events per account kept in Redis
    replay_limit: int = 1000
    heartbeat_s: float = 30.0
    sms_stream_least_s: float = 240.0  # a connection of the SMS stream lives for a random time between the two
    sms_stream_most_s: float = 300.0
    slow_reader_bytes: int = 262_144
    relay_poll_s: float = 0.005
    event_keep_days: int = 30
    media_max_bytes: int = 5_000_000  # of one file of an incoming MMS; larger ones are not kept

    # webhooks
    webhook_allow_private: bool = False  # http and addresses of our own network, for development
    webhook_timeout_s: float = 10.0
    webhook_give_up_s: float = 3 * 86_400.0
    webhook_width: int = 8  # requests under way to one endpoint that is not ordered
    webhook_connections: int = 1000  # requests under way in one process
    webhook_poll_s: float = 0.02
    webhook_keep_days: int = 7  # of finished deliveries, in the log

    # the API
    operation_wait_s: float = 10.0  # for what a worker does at a carrier; then 202
    key_rate_limit: int = 6000  # requests a minute for a key that says nothing else
    max_body_bytes: int = 2_000_000

    @property
    def is_development(self) -> bool:
        return self.environment == "development"

    @cached_property
    def sqlalchemy_url(self) -> str:
        """The database URL with psycopg 3 as its driver."""
        url = self.database_url.get_secret_value()
        scheme, _, rest = url.partition("://")
        return f"postgresql+psycopg://{rest}" if scheme in {"postgres", "postgresql"} else url

    @property
    def queue_url(self) -> str:
        return (self.redis_queue_url or self.redis_url).get_secret_value()
