"""The tables of numbers: what an account owns, how each is used, how healthy and how well reputed it is, and trades."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    Identity,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from engine.store.schema import at, metadata

dids = Table(
    "dids",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, nullable=False),
    Column("number", Text, nullable=False),  # E.164
    Column("capabilities", ARRAY(Text), nullable=False),  # voice, sms
    Column("state", Text, nullable=False),  # rules.did_pool.DidState
    Column("state_reason", Text, nullable=False, server_default=""),  # rules.did_pool.Cause
    at("state_until"),  # when the state ends by itself
    at("warming_since"),
    Column("flags", SmallInteger, nullable=False, server_default=text("0")),  # labels, spam codes, network blocks
    Column("carrier", Text, nullable=False, server_default=""),  # where it was bought; empty: registered by hand
    Column("carrier_number_id", Text),  # the carrier's own id of it
    Column("label", Text, nullable=False, server_default=""),
    Column("line_id", BigInteger),  # null: it belongs to the whole account
    Column("calls_per_minute", Integer),  # engine minutes; null: the setting
    # The SMS gap, decided with the intent: unreachable while a message is under way, then answer + gap + jitter.
    at("sms_free_at", nullable=False, default="'-infinity'"),
    at("created_at", nullable=False),
    CheckConstraint(
        "state in ('warming','active','cooling','burned','quarantine','released')", name="dids_state_known"
    ),
    Index("dids_account", "account_id", "id"),
    # A released number may come back, to this account or another.
    Index("dids_number_held", "number", unique=True, postgresql_where=text("state <> 'released'")),
    Index("dids_state_ends", "state_until", postgresql_where=text("state_until is not null")),
)

# Calls of a DID in its sliding hour and day (rules.did_caps): slot numbers and counts in turn. Times are engine time,
# epoch seconds. The row's lock decides between two intents that want the last call of an hour.
did_usage = Table(
    "did_usage",
    metadata,
    Column("did_id", BigInteger, primary_key=True, autoincrement=False),
    Column("hour", ARRAY(Integer), nullable=False),
    Column("day", ARRAY(Integer), nullable=False),
    Column("last_at", Float, nullable=False),
    Column("free_at", Float, nullable=False),
    Column("room", Integer, nullable=False),  # how many calls may be made from `free_at` on
)

# What became of calls and texts, one row per settled batch: written in its transaction, consumed by the health duty.
did_outcomes = Table(
    "did_outcomes",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    at("at", nullable=False),
    Column("did_ids", ARRAY(BigInteger), nullable=False),
    Column("codes", ARRAY(Integer), nullable=False),  # rules.did_health.encode
)

did_health = Table(
    "did_health",
    metadata,
    Column("did_id", BigInteger, primary_key=True, autoincrement=False),
    Column("calls", ARRAY(Integer), nullable=False, server_default="{}"),  # the last 50, oldest first
    Column("fresh", Integer, nullable=False, server_default=text("0")),  # calls since it came to its state
    Column("texts", JSONB, nullable=False, server_default=text("'{}'")),  # counts by day, of seven days
    Column("score", Float),
    Column("sms_score", Float),
    at("sms_low_at"),  # since when the SMS score is low
    Column("flag", Text, nullable=False, server_default=""),  # a Cause that is still to be acted on
    Column("is_to_judge", Boolean, nullable=False, server_default=text("false")),
    at("used_at"),
    Index("did_health_to_judge", "did_id", postgresql_where=text("is_to_judge")),
)

did_reputation = Table(
    "did_reputation",
    metadata,
    Column("did_id", BigInteger, primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, nullable=False),
    Column("flagged", Boolean, nullable=False),
    Column("overall_score", Float, nullable=False),
    Column("providers", JSONB, nullable=False),
    at("checked_at", nullable=False),
    Index("did_reputation_account", "account_id", "did_id"),
)

# What the API has a worker do at a carrier.
operations = Table(
    "operations",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),  # rules.operation.Kind
    Column("actor", Text, nullable=False),
    Column("carrier", Text, nullable=False),  # or the reputation provider
    Column("request", JSONB, nullable=False),
    Column("once", Text),  # at most one operation of this name
    Column("status", Text, nullable=False, server_default="pending"),
    Column("result", JSONB),
    Column("error", JSONB),
    Column("tries", SmallInteger, nullable=False, server_default=text("0")),
    at("next_try_at"),  # real, as the two times below with a comment; null once it is over
    at("queued_at", nullable=False, default="now()"),  # real
    at("created_at", nullable=False),
    at("finished_at"),  # real
    CheckConstraint("status in ('pending','done','failed')", name="operations_status_known"),
    Index("operations_once", "account_id", "once", unique=True, postgresql_where=text("once is not null")),
    Index("operations_due", "next_try_at", postgresql_where=text("next_try_at is not null")),
    Index("operations_age", "finished_at", postgresql_where=text("finished_at is not null")),
)
