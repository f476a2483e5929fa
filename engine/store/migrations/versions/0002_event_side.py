"""The event side: who owns a number, messages and calls that come in, webhooks, usage.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SCHEMA = """
CREATE TABLE teams (
    id BIGINT NOT NULL,
    account_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX teams_account ON teams (account_id, id);

CREATE TABLE users (
    id BIGINT NOT NULL,
    account_id BIGINT NOT NULL,
    team_id BIGINT,
    name TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX users_account ON users (account_id, id);

CREATE TABLE lines (
    id BIGINT NOT NULL,
    account_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    user_id BIGINT,
    team_id BIGINT,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX lines_account ON lines (account_id, id);

ALTER TABLE dids ADD COLUMN line_id BIGINT;
ALTER TABLE api_keys ADD COLUMN user_id BIGINT;
ALTER TABLE api_keys ADD COLUMN team_id BIGINT;

ALTER TABLE campaigns ADD COLUMN is_system BOOLEAN DEFAULT false NOT NULL;
CREATE UNIQUE INDEX campaigns_one_hidden ON campaigns (account_id, channel, is_live, is_system, carrier)
    WHERE is_direct;
DROP INDEX campaigns_one_direct;

ALTER TABLE attempts ADD COLUMN segments SMALLINT;
ALTER TABLE attempts ADD COLUMN encoding TEXT;
ALTER TABLE attempts ADD COLUMN error_code TEXT;
CREATE INDEX prospects_sender ON prospects (campaign_id, (data ->> 'from'), id) WHERE one_off <> 0;

CREATE TABLE inbound_messages (
    id BIGINT NOT NULL,
    account_id BIGINT NOT NULL,
    did_id BIGINT NOT NULL,
    line_id BIGINT,
    from_number TEXT NOT NULL,
    to_number TEXT NOT NULL,
    body TEXT NOT NULL,
    segments SMALLINT NOT NULL,
    components JSONB NOT NULL DEFAULT '[]',
    carrier TEXT NOT NULL,
    carrier_id TEXT NOT NULL,
    meaning TEXT NOT NULL DEFAULT '',
    campaign_id BIGINT,
    prospect_id BIGINT,
    received_at TIMESTAMP WITH TIME ZONE NOT NULL,
    media_due_at TIMESTAMP WITH TIME ZONE,
    media_tries SMALLINT DEFAULT 0 NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT inbound_messages_once UNIQUE (carrier, carrier_id)
);
CREATE INDEX inbound_messages_account ON inbound_messages (account_id, id);
CREATE INDEX inbound_messages_from ON inbound_messages (account_id, from_number, id);
CREATE INDEX inbound_messages_to ON inbound_messages (account_id, to_number, id);
CREATE INDEX inbound_messages_campaign ON inbound_messages (account_id, campaign_id, id)
    WHERE campaign_id is not null;
CREATE INDEX inbound_messages_media ON inbound_messages (media_due_at) WHERE media_due_at is not null;

CREATE TABLE inbound_media (
    message_id BIGINT NOT NULL,
    component SMALLINT NOT NULL,
    account_id BIGINT NOT NULL,
    content_type TEXT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (message_id, component)
);

CREATE TABLE inbound_calls (
    id BIGINT NOT NULL,
    account_id BIGINT NOT NULL,
    did_id BIGINT NOT NULL,
    line_id BIGINT,
    from_number TEXT NOT NULL,
    to_number TEXT NOT NULL,
    carrier TEXT NOT NULL,
    carrier_id TEXT NOT NULL,
    state SMALLINT NOT NULL DEFAULT 0,
    received_at TIMESTAMP WITH TIME ZONE NOT NULL,
    answered_at TIMESTAMP WITH TIME ZONE,
    ended_at TIMESTAMP WITH TIME ZONE,
    duration_s INTEGER,
    PRIMARY KEY (id),
    CONSTRAINT inbound_calls_once UNIQUE (carrier, carrier_id)
);
CREATE INDEX inbound_calls_account ON inbound_calls (account_id, id);

CREATE TABLE webhooks (
    id BIGINT NOT NULL,
    account_id BIGINT NOT NULL,
    url TEXT NOT NULL,
    events TEXT[] NOT NULL,
    secret TEXT NOT NULL,
    previous_secret TEXT,
    previous_secret_until TIMESTAMP WITH TIME ZONE,
    ordered BOOLEAN DEFAULT false NOT NULL,
    active BOOLEAN DEFAULT true NOT NULL,
    disabled_reason TEXT DEFAULT '' NOT NULL,
    scanned BIGINT NOT NULL,
    failures INTEGER DEFAULT 0 NOT NULL,
    parked_until TIMESTAMP WITH TIME ZONE DEFAULT '-infinity' NOT NULL,
    lease_owner TEXT DEFAULT '' NOT NULL,
    lease_until TIMESTAMP WITH TIME ZONE DEFAULT '-infinity' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX webhooks_account ON webhooks (account_id, id);

CREATE TABLE webhook_deliveries (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    webhook_id BIGINT NOT NULL,
    account_id BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    event_type TEXT NOT NULL,
    body TEXT,
    status TEXT DEFAULT 'pending' NOT NULL,
    attempts SMALLINT DEFAULT 0 NOT NULL,
    response_code SMALLINT,
    error TEXT,
    next_attempt_at TIMESTAMP WITH TIME ZONE,
    give_up_at TIMESTAMP WITH TIME ZONE NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    finished_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id),
    CONSTRAINT webhook_deliveries_status_known CHECK (status in ('pending','delivered','failed'))
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook_id, next_attempt_at, seq)
    WHERE next_attempt_at is not null;
CREATE INDEX webhook_deliveries_log ON webhook_deliveries (webhook_id, id);

CREATE TABLE usage_counts (
    account_id BIGINT NOT NULL,
    day DATE NOT NULL,
    meter TEXT NOT NULL,
    writer INTEGER NOT NULL,
    quantity BIGINT NOT NULL,
    PRIMARY KEY (account_id, day, meter, writer)
);

CREATE TABLE usage_told (
    account_id BIGINT NOT NULL,
    day DATE NOT NULL,
    meter TEXT NOT NULL,
    quantity BIGINT NOT NULL,
    PRIMARY KEY (account_id, day, meter)
);

CREATE TABLE event_drops (
    account_id BIGINT NOT NULL,
    type TEXT NOT NULL,
    owner TEXT NOT NULL,
    seq BIGINT NOT NULL,
    PRIMARY KEY (account_id, type, owner)
)
"""


def upgrade() -> None:
    for statement in SCHEMA.split(";\n"):
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("Carillon's migrations only go forward: restore a backup to go back")
