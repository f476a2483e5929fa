"""The schema. PostgreSQL is the truth (P8); this file and the sum of the migrations are proven equal by a test.

Hot tables (`prospects`, `attempts`, `campaign_counts`, `outbox`, `events`, `carrier_callbacks`) carry no foreign keys:
each write would pay for them, and `engine.checks` finds orphans instead. Their keys are bigint, and indexes stay off
the columns that change, so that most updates are HOT. `prospects` is partitioned by campaign, `attempts` by prospect:
never by time, or one attempt could be accepted on both sides of midnight. Logs are partitioned by time and dropped.

Times named `_at` are engine time unless the comment says real: real ones serve tickets, leases and timeouts.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Float,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSON, JSONB

from engine.rules.stats import COUNTERS

metadata = MetaData()

PROSPECT_PARTITIONS = 16
ATTEMPT_PARTITIONS = 16


def _at(name: str, *, nullable: bool = True, default: str | None = None) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=text(default) if default else None)


accounts = Table(
    "accounts",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("settings", JSONB, nullable=False, server_default=text("'{}'")),
    Column("agent", JSONB),  # the default agent target of its campaigns
    _at("created_at", nullable=False),
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
    _at("created_at", nullable=False),  # real
    _at("expires_at"),  # real
    _at("revoked_at"),  # real
    Index("api_keys_account", "account_id"),
)

teams = Table(
    "teams",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    _at("created_at", nullable=False),  # real
    Index("teams_account", "account_id", "id"),
)

users = Table(
    "users",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, nullable=False),
    Column("team_id", BigInteger),
    Column("name", Text, nullable=False),
    _at("created_at", nullable=False),  # real
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
    _at("created_at", nullable=False),  # real
    Index("lines_account", "account_id", "id"),
)

dids = Table(
    "dids",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, nullable=False),
    Column("number", Text, nullable=False, unique=True),  # E.164
    Column("capabilities", ARRAY(Text), nullable=False),  # voice, sms
    Column("state", Text, nullable=False),
    Column("label", Text, nullable=False, server_default=""),
    Column("line_id", BigInteger),  # null: it belongs to the whole account
    Column("calls_per_minute", Integer),  # engine minutes; null: the setting
    # The SMS gap, decided with the intent: unreachable while a message is under way, then answer + gap + jitter.
    _at("sms_free_at", nullable=False, default="'-infinity'"),
    _at("created_at", nullable=False),
    CheckConstraint(
        "state in ('warming','active','cooling','burned','quarantine','released')", name="dids_state_known"
    ),
    Index("dids_account", "account_id", "id"),
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
    Column("calls_per_second", Float, nullable=False),
    _at("created_at", nullable=False),
    _at("started_at"),
    _at("ended_at"),
    # The coordinator's lease: no promise rests on it, it only keeps two coordinators from doing the same work.
    Column("lease_owner", Text, nullable=False, server_default=""),
    Column("lease_epoch", BigInteger, nullable=False, server_default=text("0")),
    _at("lease_until", nullable=False, default="'-infinity'"),  # real
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
    # When it is due. 'infinity' once it is over: `< 'infinity'` finds the open ones through the claim index.
    _at("next_attempt_at", nullable=False, default="'-infinity'"),
    Column("data", JSONB),  # further columns of an import; the parameters of a one-off call
    UniqueConstraint("campaign_id", "phone", "one_off", name="prospects_phone"),
    Index("prospects_due", "campaign_id", "next_attempt_at", "id"),
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
    _at("intent_at", nullable=False),
    _at("answered_at"),
    _at("greeting_ended_at"),
    _at("ended_at"),
    Column("duration_s", Integer),
    Column("segments", SmallInteger),  # parts of an SMS, known at its intent; 1 for an MMS
    Column("encoding", Text),  # of an SMS: GSM-7 or UCS-2
    Column("error_code", Text),  # the carrier's, of a text that failed
    Column("rules_version", Text, nullable=False),  # of the contact rules that allowed it
    _at("check_at"),  # real: when the watch looks at it next; null once it is over
    Column("command", JSONB),  # the command that the carrier has yet to carry out; a document carrier's plan
    Column("command_no", SmallInteger, nullable=False, server_default=text("0")),
    Index("attempts_check", "check_at", postgresql_where=text("check_at is not null")),
    postgresql_partition_by="HASH (prospect_id)",
)

suppressions = Table(
    "suppressions",
    metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("phone", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("source", Text, nullable=False),
    _at("created_at", nullable=False),
)

campaign_counts = Table(
    "campaign_counts",
    metadata,
    Column("campaign_id", BigInteger, primary_key=True, autoincrement=False),
    Column("minute", Integer, primary_key=True, autoincrement=False),  # real; 0 is the folded base
    Column("writer", Integer, primary_key=True, autoincrement=False),
    *(Column(name, BigInteger, nullable=False, server_default=text("0")) for name in COUNTERS),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("account_id", BigInteger, nullable=False),
    Column("events", ARRAY(Text), nullable=False),  # JSON texts, in order: one row per transaction and account
)

events = Table(
    "events",
    metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("recorded_on", Date, primary_key=True),  # real; the partition key
    Column("body", JSON, nullable=False),
    postgresql_partition_by="RANGE (recorded_on)",
)

event_heads = Table(
    "event_heads",
    metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),  # of the newest event
    Column("kept_from", BigInteger, nullable=False, server_default=text("1")),  # of the oldest that was not dropped
)

# For each type of event and owner the newest number that retention has dropped: who follows a quiet channel, or numbers
# of its own, is told of no loss of others'.
event_drops = Table(
    "event_drops",
    metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("type", Text, primary_key=True),
    Column("owner", Text, primary_key=True),  # as in the event, `["line_…","user_…","team_…"]`; empty: it has none
    Column("seq", BigInteger, nullable=False),
)

inbound_messages = Table(
    "inbound_messages",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, nullable=False),
    Column("did_id", BigInteger, nullable=False),
    Column("line_id", BigInteger),
    Column("from_number", Text, nullable=False),
    Column("to_number", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("segments", SmallInteger, nullable=False),
    Column("components", JSONB, nullable=False, server_default=text("'[]'")),  # media: url, contentType, fault
    Column("carrier", Text, nullable=False),
    Column("carrier_id", Text, nullable=False),
    Column("meaning", Text, nullable=False, server_default=""),  # rules.opt_out.Meaning; empty: ordinary words
    Column("campaign_id", BigInteger),  # the campaign and prospect that last wrote to this person
    Column("prospect_id", BigInteger),
    _at("received_at", nullable=False),
    # Real: when a worker asks the carrier for the media (again); null once all are here or given up.
    _at("media_due_at"),
    Column("media_tries", SmallInteger, nullable=False, server_default=text("0")),
    UniqueConstraint("carrier", "carrier_id", name="inbound_messages_once"),
    Index("inbound_messages_account", "account_id", "id"),
    Index("inbound_messages_from", "account_id", "from_number", "id"),
    Index("inbound_messages_to", "account_id", "to_number", "id"),
    Index(
        "inbound_messages_campaign",
        "account_id",
        "campaign_id",
        "id",
        postgresql_where=text("campaign_id is not null"),
    ),
    Index("inbound_messages_media", "media_due_at", postgresql_where=text("media_due_at is not null")),
)

inbound_media = Table(
    "inbound_media",
    metadata,
    Column("message_id", BigInteger, primary_key=True, autoincrement=False),
    Column("component", SmallInteger, primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

inbound_calls = Table(
    "inbound_calls",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, nullable=False),
    Column("did_id", BigInteger, nullable=False),
    Column("line_id", BigInteger),
    Column("from_number", Text, nullable=False),
    Column("to_number", Text, nullable=False),
    Column("carrier", Text, nullable=False),
    Column("carrier_id", Text, nullable=False),
    Column("state", SmallInteger, nullable=False, server_default=text("0")),
    _at("received_at", nullable=False),
    _at("answered_at"),
    _at("ended_at"),
    Column("duration_s", Integer),
    UniqueConstraint("carrier", "carrier_id", name="inbound_calls_once"),
    Index("inbound_calls_account", "account_id", "id"),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, nullable=False),
    Column("url", Text, nullable=False),
    Column("events", ARRAY(Text), nullable=False),  # globs
    Column("secret", Text, nullable=False),  # `whsec_…`: needed in clear to sign with
    Column("previous_secret", Text),  # signs beside the new one until `previous_secret_until`
    _at("previous_secret_until"),  # real, as all times of webhooks
    Column("ordered", Boolean, nullable=False, server_default=text("false")),
    Column("active", Boolean, nullable=False, server_default=text("true")),
    Column("disabled_reason", Text, nullable=False, server_default=""),
    Column("scanned", BigInteger, nullable=False),  # the newest event for which its deliveries are written
    Column("failures", Integer, nullable=False, server_default=text("0")),  # in a row, over all its deliveries
    _at("parked_until", nullable=False, default="'-infinity'"),
    Column("lease_owner", Text, nullable=False, server_default=""),
    _at("lease_until", nullable=False, default="'-infinity'"),
    _at("created_at", nullable=False),
    Index("webhooks_account", "account_id", "id"),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("webhook_id", BigInteger, nullable=False),
    Column("account_id", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),  # of the event; a test has an `ids.new_id`, beyond any event's
    Column("event_type", Text, nullable=False),
    Column("body", Text),  # the canonical event, kept so that a delivery survives the log's retention
    Column("status", Text, nullable=False, server_default="pending"),
    Column("attempts", SmallInteger, nullable=False, server_default=text("0")),
    Column("response_code", SmallInteger),
    Column("error", Text),
    # When it is due; null once it is over. '-infinity' for ordered webhooks, whose waits are `parked_until`: the index
    # then yields their deliveries in the order of the events.
    _at("next_attempt_at"),
    _at("give_up_at", nullable=False),
    _at("created_at", nullable=False),
    _at("finished_at"),
    CheckConstraint("status in ('pending','delivered','failed')", name="webhook_deliveries_status_known"),
    Index(
        "webhook_deliveries_due",
        "webhook_id",
        "next_attempt_at",
        "seq",
        postgresql_where=text("next_attempt_at is not null"),
    ),
    Index("webhook_deliveries_log", "webhook_id", "id"),
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

carrier_callbacks = Table(
    "carrier_callbacks",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("received_on", Date, primary_key=True),  # real; the partition key
    Column("carrier", Text, nullable=False),
    Column("event_key", Text, nullable=False),
    Column("campaign_id", BigInteger, nullable=False),
    Column("prospect_id", BigInteger, nullable=False),
    Column("attempt", SmallInteger, nullable=False),
    Column("event", JSONB, nullable=False),  # the normalised CarrierEvent, its raw report beside it
    _at("received_at", nullable=False),  # real
    _at("processed_at"),  # real
    UniqueConstraint("received_on", "carrier", "event_key", name="carrier_callbacks_once"),
    Index("carrier_callbacks_open", "id", postgresql_where=text("processed_at is null")),
    postgresql_partition_by="RANGE (received_on)",
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
    _at("created_at", nullable=False),  # real
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
    _at("at", nullable=False),
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
    _at("expires_at", nullable=False),  # real, by the database's clock
)
