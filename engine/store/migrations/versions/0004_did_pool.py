"""The DID pool: states with their ends, caps, health, reputation; operations at carriers that the API asks for.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SCHEMA = """
ALTER TABLE dids ADD COLUMN state_reason TEXT DEFAULT '' NOT NULL;
ALTER TABLE dids ADD COLUMN state_until TIMESTAMP WITH TIME ZONE;
ALTER TABLE dids ADD COLUMN warming_since TIMESTAMP WITH TIME ZONE;
ALTER TABLE dids ADD COLUMN flags SMALLINT DEFAULT 0 NOT NULL;
ALTER TABLE dids ADD COLUMN carrier TEXT DEFAULT '' NOT NULL;
ALTER TABLE dids ADD COLUMN carrier_number_id TEXT;
ALTER TABLE dids DROP CONSTRAINT dids_number_key;
CREATE UNIQUE INDEX dids_number_held ON dids (number) WHERE state <> 'released';
CREATE INDEX dids_state_ends ON dids (state_until) WHERE state_until is not null;

CREATE TABLE did_usage (
    did_id BIGINT NOT NULL,
    hour INTEGER[] NOT NULL,
    day INTEGER[] NOT NULL,
    last_at DOUBLE PRECISION NOT NULL,
    free_at DOUBLE PRECISION NOT NULL,
    room INTEGER NOT NULL,
    PRIMARY KEY (did_id)
);

CREATE TABLE did_outcomes (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    did_ids BIGINT[] NOT NULL,
    codes INTEGER[] NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE did_health (
    did_id BIGINT NOT NULL,
    calls INTEGER[] DEFAULT '{}' NOT NULL,
    fresh INTEGER DEFAULT 0 NOT NULL,
    texts JSONB DEFAULT '{}' NOT NULL,
    score DOUBLE PRECISION,
    sms_score DOUBLE PRECISION,
    sms_low_at TIMESTAMP WITH TIME ZONE,
    flag TEXT DEFAULT '' NOT NULL,
    is_to_judge BOOLEAN DEFAULT false NOT NULL,
    used_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (did_id)
);
CREATE INDEX did_health_to_judge ON did_health (did_id) WHERE is_to_judge;

CREATE TABLE did_reputation (
    did_id BIGINT NOT NULL,
    account_id BIGINT NOT NULL,
    flagged BOOLEAN NOT NULL,
    overall_score DOUBLE PRECISION NOT NULL,
    providers JSONB NOT NULL,
    checked_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (did_id)
);
CREATE INDEX did_reputation_account ON did_reputation (account_id, did_id);

CREATE TABLE operations (
    id BIGINT NOT NULL,
    account_id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    actor TEXT NOT NULL,
    carrier TEXT NOT NULL,
    request JSONB NOT NULL,
    once TEXT,
    status TEXT DEFAULT 'pending' NOT NULL,
    result JSONB,
    error JSONB,
    tries SMALLINT DEFAULT 0 NOT NULL,
    next_try_at TIMESTAMP WITH TIME ZONE,
    queued_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    finished_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id),
    CONSTRAINT operations_status_known CHECK (status in ('pending','done','failed'))
);
CREATE UNIQUE INDEX operations_once ON operations (account_id, once) WHERE once is not null;
CREATE INDEX operations_due ON operations (next_try_at) WHERE next_try_at is not null;
CREATE INDEX operations_age ON operations (finished_at) WHERE finished_at is not null
"""


def upgrade() -> None:
    for statement in SCHEMA.split(";\n"):
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("Carillon's migrations only go forward: restore a backup to go back")
