"""The schema. PostgreSQL is the truth (P8); it and the sum of the migrations are proven equal by a test.

Hot tables (`prospects`, `attempts`, `campaign_counts`, `outbox`, `event_chunks`, `carrier_callbacks`) carry no foreign
keys: each write would pay for them, and `engine.checks` finds orphans instead. Their keys are bigint, and indexes stay
off the columns that change, so that most updates are HOT. `prospects` is partitioned by campaign, `attempts` by
prospect: never by time, or one attempt could be accepted on both sides of midnight. Logs are partitioned by time and
dropped.

Times named `_at` are engine time unless the comment says real: real ones serve tickets, leases and timeouts.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Float,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from engine.rules.pacing import HOUR_SUMS
from engine.rules.stats import COUNTERS
from engine.store import schema, tables_events, tables_numbers, tables_whom  # noqa: F401 — the latter for `metadata`
from engine.store.schema import at

metadata = schema.metadata

accounts = Table(
    "accounts",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("settings", JSONB, nullable=False, server_default=text("'{}'")),
    Column("agent", JSONB),  # the default agent target of its campaigns
    at("created_at", nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False, unique=True),  # SHA-256 of the key; the key itself is shown once
    Column("prefix", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("rate_limit", Integer, nullable=False),  # requests a minute
    Column("is_live", Boolean, nullable=False),
    # Whose numbers' messages the key hears of; both null: it is account-wide.
    Column("user_id", BigInteger),
    Column("team_id", BigInteger),
    at("created_at", nullable=False),  # real
    at("expires_at"),  # real
    at("revoked_at"),  # real
    Index("api_keys_account", "account_id"),
)

teams = Table(
    "teams",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    at("created_at", nullable=False),  # real
    Index("teams_account", "account_id", "id"),
)

users = Table(
    "users",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, nullable=False),
    Column("team_id", BigInteger),
    Column("name", Text, nullable=False),
    at("created_at", nullable=False),  # real
    Index("users_account", "account_id", "id"),
)

# A number belongs to a line; a line belongs to a user, to a team, or to the whole account.
lines = Table(
    "lines",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("user_id", BigInteger),
    Column("team_id", BigInteger),
    at("created_at", nullable=False),  # real
    Index("lines_account", "account_id", "id"),
)

campaigns = Table(
    "campaigns",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, nullable=False),
    # Holds an account's one-off calls or messages; with `is_system` the answers that the law asks for (rules.contact).
    Column("is_direct", Boolean, nullable=False, server_default=text("false")),
    Column("is_system", Boolean, nullable=False, server_default=text("false")),
    Column("is_live", Boolean, nullable=False),  # made with a live key
    Column("name", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("purpose", Text, nullable=False, server_default="marketing"),
    Column("status", Text, nullable=False),
    Column("status_reason", Text, nullable=False, server_default=""),
    Column("carrier", Text, nullable=False),  # a name of the carrier catalog
    Column("mode", JSONB, nullable=False),
    Column("caller_ids", JSONB, nullable=False),
    Column("caller_id_strategy", JSONB),
    Column("schedule", JSONB),
    Column("frequency_cap", JSONB),  # rules.attempt_caps
    Column("calls_per_second", Float, nullable=False),
    at("created_at", nullable=False),
    at("started_at"),
    at("ended_at"),
    # The coordinator's lease: no promise rests on it, it only keeps two coordinators from doing the same work.
    Column("lease_owner", Text, nullable=False, server_default=""),
    Column("lease_epoch", BigInteger, nullable=False, server_default=text("0")),
    at("lease_until", nullable=False, default="'-infinity'"),  # real
    CheckConstraint(
        "status in ('created','dialing','paused','completed','cancelled','failed')", name="campaigns_status_known"
    ),
    CheckConstraint("channel in ('voice','sms')", name="campaigns_channel_known"),
    CheckConstraint("purpose in ('marketing','informational','emergency')", name="campaigns_purpose_known"),
    Index("campaigns_account", "account_id", "id"),
    Index("campaigns_active", "id", postgresql_where=text("status in ('dialing','cancelled')")),
    Index(
        "campaigns_one_hidden",
        "account_id",
        "channel",
        "is_live",
        "is_system",
        "carrier",
        unique=True,
        postgresql_where=text("is_direct"),
    ),
)

prospects = Table(
    "prospects",
    metadata,
    Column("campaign_id", BigInteger, primary_key=True, autoincrement=False),
    Column("id", BigInteger, primary_key=True, autoincrement=False, server_default=text("nextval('prospect_ids')")),
    Column("account_id", BigInteger, nullable=False),
    Column("phone", Text, nullable=False),  # E.164
    Column("one_off", BigInteger, nullable=False, server_default=text("0")),  # tells one-off calls to one number apart
    Column("state", SmallInteger, nullable=False, server_default=text("0")),  # rules.prospect.ProspectState
    Column(
        "attempt", SmallInteger, nullable=False, server_default=text("1")
    ),  # the next, or the open, attempt's number
    Column("outcome", SmallInteger),  # rules.prospect.Outcome, when completed
    Column("reason", Text),  # why it is held, cancelled, or failed
    # When it is due; 'infinity' once it is over. The claim index has the open ones only: what is to use it must say
    # `< 'infinity'`, and no look-up by id is planned on it by mistake.
    at("next_attempt_at", nullable=False, default="'-infinity'"),
    Column("data", JSONB),  # further columns of an import; the parameters of a one-off call
    UniqueConstraint("campaign_id", "phone", "one_off", name="prospects_phone"),
    Index(
        "prospects_due",
        "campaign_id",
        "next_attempt_at",
        "id",
        postgresql_where=text("next_attempt_at < 'infinity'"),
    ),
    # One-off messages are listed by their sender; the rows of campaigns are not in it.
    Index("prospects_sender", "campaign_id", text("(data ->> 'from')"), "id", postgresql_where=text("one_off <> 0")),
    postgresql_partition_by="HASH (campaign_id)",
)

attempts = Table(
    "attempts",
    metadata,
    Column("prospect_id", BigInteger, primary_key=True, autoincrement=False),
    Column("attempt", SmallInteger, primary_key=True, autoincrement=False),
    Column("try", SmallInteger, nullable=False, server_default=text("1")),  # intents of this attempt, counted
    Column("campaign_id", BigInteger, nullable=False),
    Column("account_id", BigInteger, nullable=False),
    Column("phone", Text, nullable=False),
    Column("did_id", BigInteger, nullable=False),
    Column("from_number", Text, nullable=False),
    Column("carrier", Text, nullable=False),
    Column("carrier_id", Text),  # the carrier's own id, once known
    Column("state", SmallInteger, nullable=False),  # rules.attempt.AttemptState
    Column("agent_state", SmallInteger, nullable=False, server_default=text("0")),
    Column("amd", Text),
    Column("outcome", SmallInteger),
    Column("reason", Text),
    at("intent_at", nullable=False),
    at("answered_at"),
    at("greeting_ended_at"),
    at("ended_at"),
    Column("duration_s", Integer),
    Column("segments", SmallInteger),  # parts of an SMS, known at its intent; 1 for an MMS
    Column("encoding", Text),  # of an SMS: GSM-7 or UCS-2
    Column("error_code", Text),  # the carrier's, of a text that failed
    Column("rules_version", Text, nullable=False),  # of the contact rules that allowed it
    Column("allowed_by", Text),  # of somebody on a registry: consent, or which relationship
    at("check_at"),  # real: when the watch looks at it next; null once it is over
    Column("command", JSONB),  # the command that the carrier has yet to carry out; a document carrier's plan
    Column("command_no", SmallInteger, nullable=False, server_default=text("0")),
    Column("needs_agent", Boolean, nullable=False, server_default=text("false")),  # of a campaign that paces by agents
    Index("attempts_check", "check_at", postgresql_where=text("check_at is not null")),
    Index("attempts_agents", "campaign_id", postgresql_where=text("needs_agent and check_at is not null")),
    postgresql_partition_by="HASH (prospect_id)",
)

# What became of the calls of campaigns with agents, by the engine hour in which they ended. Real milliseconds.
call_hours = Table(
    "call_hours",
    metadata,
    Column("campaign_id", BigInteger, primary_key=True, autoincrement=False),
    Column("hour", Integer, primary_key=True, autoincrement=False),  # of the epoch
    Column("writer", Integer, primary_key=True, autoincrement=False),
    *(Column(name, BigInteger, nullable=False, server_default=text("0")) for name in HOUR_SUMS),
)

# rules.pacing.Forecast of each campaign that calls ahead of its agents.
call_forecasts = Table(
    "call_forecasts",
    metadata,
    Column("campaign_id", BigInteger, primary_key=True, autoincrement=False),
    Column("stage", SmallInteger, nullable=False),
    Column("answer_rate", Float, nullable=False),
    Column("ring_s", Float, nullable=False),
    Column("talk_s", Float, nullable=False),
    Column("persons", BigInteger, nullable=False),
    Column("abandoned", BigInteger, nullable=False),
    Column("most_up", Integer, nullable=False),
    at("made_at", nullable=False),  # real, by the database's clock
)

# Message parts of an account: by engine second for the cap per minute, by Pacific day for the cap per day.
ten_dlc_parts = Table(
    "ten_dlc_parts",
    metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("span", Text, primary_key=True),  # second, day
    Column("at", BigInteger, primary_key=True, autoincrement=False),
    Column("parts", BigInteger, nullable=False),
)

suppressions = Table(
    "suppressions",
    metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("phone", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("source", Text, nullable=False),
    at("created_at", nullable=False),
    Column("channel", Text, nullable=False, server_default="all"),
    at("renewed_at"),  # suppressed again, for no more than before
    CheckConstraint("channel in ('all','voice','sms')", name="suppressions_channel_known"),
    Index("suppressions_term", text("greatest(created_at, renewed_at)")),
)

campaign_counts = Table(
    "campaign_counts",
    metadata,
    Column("campaign_id", BigInteger, primary_key=True, autoincrement=False),
    Column("minute", Integer, primary_key=True, autoincrement=False),  # real; 0 is the folded base
    Column("writer", Integer, primary_key=True, autoincrement=False),
    *(Column(name, BigInteger, nullable=False, server_default=text("0")) for name in COUNTERS),
)

usage_counts = Table(
    "usage_counts",
    metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("day", Date, primary_key=True),  # engine time, UTC
    Column("meter", Text, primary_key=True),
    Column("writer", Integer, primary_key=True, autoincrement=False),
    Column("quantity", BigInteger, nullable=False),
)

# What `billing.usage` has told of each day, so that its quantities add up to the day's total whoever tells them.
usage_told = Table(
    "usage_told",
    metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("day", Date, primary_key=True),
    Column("meter", Text, primary_key=True),
    Column("quantity", BigInteger, nullable=False),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key_id", BigInteger, primary_key=True, autoincrement=False),
    Column("idempotency_key", Text, primary_key=True),
    Column("request_hash", LargeBinary, nullable=False),
    Column("path", Text, nullable=False),
    Column("status", SmallInteger),  # null while the first request is still under way
    Column("body", LargeBinary),
    at("created_at", nullable=False),  # real
    Index("idempotency_keys_age", "created_at"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("account_id", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),  # `key_…` or `operator`
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", JSONB, nullable=False, server_default=text("'{}'")),
    at("at", nullable=False),
    Index("audit_account", "account_id", "id"),
)

engine_clock = Table(
    "engine_clock",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("real_anchor", Float, nullable=False),
    Column("engine_anchor", Float, nullable=False),
    Column("speed", Float, nullable=False),
    CheckConstraint("id = 1", name="engine_clock_one_row"),
)

leaders = Table(
    "leaders",
    metadata,
    Column("name", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    at("expires_at", nullable=False),  # real, by the database's clock
)
