"""The tables of who may be contacted: copies of registries, consents, and how often each person was.

`suppressions` is in `tables`. Registries are kept by exchange, a row for its ten thousand lines: two bytes for each
that is listed where they are few, 1,250 bytes where they are many. So a look-up is one probe, ten million numbers take
some 40 MB, and no list more than 400.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Identity,
    Index,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from engine.store.schema import at, metadata

# Each load is a copy of its own. The one in use is swapped for another in one transaction.
registry_copies = Table(
    "registry_copies",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("registry", Text, nullable=False),  # rules.registry: `US`, `US-PA`
    Column("as_of", Date, nullable=False),
    Column("numbers", BigInteger, nullable=False, server_default=text("0")),
    Column("sha256", LargeBinary),  # of the file: the proof of which version was used
    Column("is_current", Boolean, nullable=False, server_default=text("false")),
    at("loaded_at", nullable=False),
    Index("registry_copies_current", "registry", unique=True, postgresql_where=text("is_current")),
)

registry_blocks = Table(
    "registry_blocks",
    metadata,
    Column("block", BigInteger, primary_key=True, autoincrement=False),  # E.164 digits without the last four
    Column("copy_id", BigInteger, primary_key=True, autoincrement=False),
    Column("lines", ARRAY(SmallInteger)),  # rules.registry.Block: either this
    Column("bits", LargeBinary),  # or this
    CheckConstraint("(lines is null) <> (bits is null)", name="registry_blocks_one_form"),
)

consents = Table(
    "consents",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("account_id", BigInteger, nullable=False),
    Column("phone", Text, nullable=False),
    Column("class", SmallInteger, nullable=False),  # rules.consent.Consent
    Column("channel", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("proof", Text, nullable=False, server_default=""),
    at("given_at", nullable=False),
    at("recorded_at", nullable=False),
    at("revoked_at"),
    Column("revoked_for", Text, nullable=False, server_default=""),
    CheckConstraint("channel in ('all','voice','sms')", name="consents_channel_known"),
    Index("consents_phone", "phone", "account_id", "id"),
    Index("consents_account", "account_id", "id"),
)

# Of numbers that may be contacted again: which wish to be left alone was lifted last.
lifted_suppressions = Table(
    "lifted_suppressions",
    metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("phone", Text, primary_key=True),
    at("suppressed_at", nullable=False),
    at("lifted_at", nullable=False),
)

# One row per marketing contact, written with its intent and kept for as long as a cap reaches back.
person_contacts = Table(
    "person_contacts",
    metadata,
    Column("account_id", BigInteger, nullable=False),
    Column("number", BigInteger, nullable=False),  # E.164 digits
    at("at", nullable=False),
    Column("is_live", Boolean, nullable=False),  # what a test key does keeps nobody from being called
    Index("person_contacts_of", "account_id", "number", "at"),
    Index("person_contacts_at", "at", postgresql_using="brin"),  # rows come in the order of time: a few pages
)
