"""The tables of what happened and who is told of it: events, what comes in, webhooks, carriers' reports."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
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

from engine.store.event_chunks import CHUNK_EVENTS
from engine.store.schema import at, metadata

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("account_id", BigInteger, nullable=False),
    Column("count", Integer, nullable=False),  # of events
    Column("body", Text, nullable=False),  # one event a line, in order, of one transaction and account
    CheckConstraint(f"count between 1 and {CHUNK_EVENTS}", name="outbox_row_is_a_chunk"),
)

# The view `events` (account_id, seq, recorded_on, body) has a row for each line.
event_chunks = Table(
    "event_chunks",
    metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("last", BigInteger, primary_key=True, autoincrement=False),  # number in it
    Column("recorded_on", Date, primary_key=True),  # real; the partition key
    Column("first", BigInteger, nullable=False),
    Column("body", Text, nullable=False),  # the events `first` to `last`, one a line
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
    at("received_at", nullable=False),
    # Real: when a worker asks the carrier for the media (again); null once all are here or given up.
    at("media_due_at"),
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
    at("received_at", nullable=False),
    at("answered_at"),
    at("ended_at"),
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
    at("previous_secret_until"),  # real, as all times of webhooks
    Column("ordered", Boolean, nullable=False, server_default=text("false")),
    Column("active", Boolean, nullable=False, server_default=text("true")),
    Column("disabled_reason", Text, nullable=False, server_default=""),
    Column("scanned", BigInteger, nullable=False),  # the newest event for which its deliveries are written
    Column("failures", Integer, nullable=False, server_default=text("0")),  # in a row, over all its deliveries
    at("parked_until", nullable=False, default="'-infinity'"),
    Column("lease_owner", Text, nullable=False, server_default=""),
    at("lease_until", nullable=False, default="'-infinity'"),
    at("created_at", nullable=False),
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
    at("next_attempt_at"),
    at("give_up_at", nullable=False),
    at("created_at", nullable=False),
    at("finished_at"),
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
    at("received_at", nullable=False),  # real
    at("processed_at"),  # real
    UniqueConstraint("received_on", "prospect_id", "carrier", "event_key", name="carrier_callbacks_once"),
    Index("carrier_callbacks_open", "id", postgresql_where=text("processed_at is null")),
    postgresql_partition_by="RANGE (received_on)",
)
