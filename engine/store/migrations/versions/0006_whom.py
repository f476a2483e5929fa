"""Who may be contacted: channels of suppressions, registries, consents, contacts per person, caps of campaigns.

Revision ID: 0006
Revises: 0005
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# Only additions: processes of the version before go on, and suppress for all channels, as they always did.
SCHEMA = """
ALTER TABLE suppressions ADD COLUMN channel TEXT DEFAULT 'all' NOT NULL;
ALTER TABLE suppressions ADD COLUMN renewed_at TIMESTAMP WITH TIME ZONE;
CREATE INDEX suppressions_term ON suppressions (greatest(created_at, renewed_at));
ALTER TABLE campaigns ADD COLUMN frequency_cap JSONB;
ALTER TABLE attempts ADD COLUMN allowed_by TEXT;

CREATE TABLE registry_copies (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    registry TEXT NOT NULL,
    as_of DATE NOT NULL,
    numbers BIGINT DEFAULT 0 NOT NULL,
    sha256 BYTEA,
    is_current BOOLEAN DEFAULT false NOT NULL,
    loaded_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (id)
);
CREATE UNIQUE INDEX registry_copies_current ON registry_copies (registry) WHERE is_current;

CREATE TABLE registry_blocks (
    block BIGINT NOT NULL,
    copy_id BIGINT NOT NULL,
    lines SMALLINT[],
    bits BYTEA,
    PRIMARY KEY (block, copy_id),
    CONSTRAINT registry_blocks_one_form CHECK ((lines is null) <> (bits is null))
);

CREATE TABLE consents (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    account_id BIGINT NOT NULL,
    phone TEXT NOT NULL,
    class SMALLINT NOT NULL,
    channel TEXT NOT NULL,
    source TEXT NOT NULL,
    proof TEXT DEFAULT '' NOT NULL,
    given_at TIMESTAMP WITH TIME ZONE NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE NOT NULL,
    revoked_at TIMESTAMP WITH TIME ZONE,
    revoked_for TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT consents_channel_known CHECK (channel in ('all','voice','sms'))
);
CREATE INDEX consents_phone ON consents (phone, account_id, id);
CREATE INDEX consents_account ON consents (account_id, id);

CREATE TABLE lifted_suppressions (
    account_id BIGINT NOT NULL,
    phone TEXT NOT NULL,
    suppressed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    lifted_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (account_id, phone)
);

CREATE TABLE person_contacts (
    account_id BIGINT NOT NULL,
    number BIGINT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    is_live BOOLEAN NOT NULL
);
CREATE INDEX person_contacts_of ON person_contacts (account_id, number, at);
CREATE INDEX person_contacts_at ON person_contacts USING brin (at);

ALTER TABLE suppressions
    ADD CONSTRAINT suppressions_channel_known CHECK (channel in ('all','voice','sms')) NOT VALID;
ALTER TABLE suppressions VALIDATE CONSTRAINT suppressions_channel_known
"""


def upgrade() -> None:
    for statement in SCHEMA.split(";\n"):
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("Carillon's migrations only go forward: restore a backup to go back")
