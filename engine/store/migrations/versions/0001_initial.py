"""The first schema.

Revision ID: 0001
Revises:
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

PARTITIONS = 16
FILLFACTORS = {"prospects": 50, "attempts": 70}

SCHEMA = """
create sequence prospect_ids as bigint;

CREATE TABLE accounts (
    id BIGINT NOT NULL,
    name TEXT NOT NULL,
    settings JSONB DEFAULT '{}' NOT NULL,
    agent JSONB,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE api_keys (
    id BIGINT NOT NULL,
    account_id BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    prefix TEXT NOT NULL,
    name TEXT NOT NULL,
    scopes TEXT[] NOT NULL,
    rate_limit INTEGER NOT NULL,
    is_live BOOLEAN NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    revoked_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id),
    UNIQUE (hash)
);

CREATE INDEX api_keys_account ON api_keys (account_id);

CREATE TABLE attempts (
    prospect_id BIGINT NOT NULL,
    attempt SMALLINT NOT NULL,
    try SMALLINT DEFAULT 1 NOT NULL,
    campaign_id BIGINT NOT NULL,
    account_id BIGINT NOT NULL,
    phone TEXT NOT NULL,
    did_id BIGINT NOT NULL,
    from_number TEXT NOT NULL,
    carrier TEXT NOT NULL,
    carrier_id TEXT,
    state SMALLINT NOT NULL,
    agent_state SMALLINT DEFAULT 0 NOT NULL,
    amd TEXT,
    outcome SMALLINT,
    reason TEXT,
    intent_at TIMESTAMP WITH TIME ZONE NOT NULL,
    answered_at TIMESTAMP WITH TIME ZONE,
    greeting_ended_at TIMESTAMP WITH TIME ZONE,
    ended_at TIMESTAMP WITH TIME ZONE,
    duration_s INTEGER,
    rules_version TEXT NOT NULL,
    check_at TIMESTAMP WITH TIME ZONE,
    command JSONB,
    command_no SMALLINT DEFAULT 0 NOT NULL,
    PRIMARY KEY (prospect_id, attempt)
)
 PARTITION BY HASH (prospect_id);

CREATE INDEX attempts_check ON attempts (check_at) WHERE check_at is not null;

CREATE TABLE audit (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    account_id BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail JSONB DEFAULT '{}' NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (id)
);

CREATE INDEX audit_account ON audit (account_id, id);

CREATE TABLE campaign_counts (
    campaign_id BIGINT NOT NULL,
    minute INTEGER NOT NULL,
    writer INTEGER NOT NULL,
    total BIGINT DEFAULT 0 NOT NULL,
    queued BIGINT DEFAULT 0 NOT NULL,
    dialing BIGINT DEFAULT 0 NOT NULL,
    sending BIGINT DEFAULT 0 NOT NULL,
    sent BIGINT DEFAULT 0 NOT NULL,
    completed BIGINT DEFAULT 0 NOT NULL,
    cancelled BIGINT DEFAULT 0 NOT NULL,
    failed BIGINT DEFAULT 0 NOT NULL,
    no_answer BIGINT DEFAULT 0 NOT NULL,
    busy BIGINT DEFAULT 0 NOT NULL,
    voicemail BIGINT DEFAULT 0 NOT NULL,
    human_connected BIGINT DEFAULT 0 NOT NULL,
    delivered BIGINT DEFAULT 0 NOT NULL,
    abandoned BIGINT DEFAULT 0 NOT NULL,
    unknown BIGINT DEFAULT 0 NOT NULL,
    suppressed BIGINT DEFAULT 0 NOT NULL,
    retrying BIGINT DEFAULT 0 NOT NULL,
    PRIMARY KEY (campaign_id, minute, writer)
);

CREATE TABLE campaigns (
    id BIGINT NOT NULL,
    account_id BIGINT NOT NULL,
    is_direct BOOLEAN DEFAULT false NOT NULL,
    is_live BOOLEAN NOT NULL,
    name TEXT NOT NULL,
    channel TEXT NOT NULL,
    status TEXT NOT NULL,
    status_reason TEXT DEFAULT '' NOT NULL,
    carrier TEXT NOT NULL,
    mode JSONB NOT NULL,
    caller_ids JSONB NOT NULL,
    caller_id_strategy JSONB,
    schedule JSONB,
    calls_per_second FLOAT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE,
    ended_at TIMESTAMP WITH TIME ZONE,
    lease_owner TEXT DEFAULT '' NOT NULL,
    lease_epoch BIGINT DEFAULT 0 NOT NULL,
    lease_until TIMESTAMP WITH TIME ZONE DEFAULT '-infinity' NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT campaigns_status_known CHECK (status in ('created','dialing','paused','completed','cancelled','failed')),
    CONSTRAINT campaigns_channel_known CHECK (channel in ('voice','sms'))
);

CREATE INDEX campaigns_account ON campaigns (account_id, id);

CREATE INDEX campaigns_active ON campaigns (id) WHERE status in ('dialing','cancelled');

CREATE UNIQUE INDEX campaigns_one_direct ON campaigns (account_id, channel, is_live) WHERE is_direct;

CREATE TABLE carrier_callbacks (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    received_on DATE NOT NULL,
    carrier TEXT NOT NULL,
    event_key TEXT NOT NULL,
    campaign_id BIGINT NOT NULL,
    prospect_id BIGINT NOT NULL,
    attempt SMALLINT NOT NULL,
    event JSONB NOT NULL,
    received_at TIMESTAMP WITH TIME ZONE NOT NULL,
    processed_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id, received_on),
    CONSTRAINT carrier_callbacks_once UNIQUE (received_on, carrier, event_key)
)
 PARTITION BY RANGE (received_on);

CREATE INDEX carrier_callbacks_open ON carrier_callbacks (id) WHERE processed_at is null;

CREATE TABLE dids (
    id BIGINT NOT NULL,
    account_id BIGINT NOT NULL,
    number TEXT NOT NULL,
    capabilities TEXT[] NOT NULL,
    state TEXT NOT NULL,
    label TEXT DEFAULT '' NOT NULL,
    calls_per_minute INTEGER,
    sms_free_at TIMESTAMP WITH TIME ZONE DEFAULT '-infinity' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT dids_state_known CHECK (state in ('warming','active','cooling','burned','quarantine','released')),
    UNIQUE (number)
);

CREATE INDEX dids_account ON dids (account_id, id);

CREATE TABLE engine_clock (
    id SMALLINT NOT NULL,
    real_anchor FLOAT NOT NULL,
    engine_anchor FLOAT NOT NULL,
    speed FLOAT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT engine_clock_one_row CHECK (id = 1)
);

CREATE TABLE event_chunks (
    account_id BIGINT NOT NULL,
    last BIGINT NOT NULL,
    recorded_on DATE NOT NULL,
    first BIGINT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (account_id, last, recorded_on)
)
 PARTITION BY RANGE (recorded_on);

CREATE VIEW events AS
select account_id, first + place - 1 as seq, recorded_on, line::json as body
  from event_chunks cross join lateral string_to_table(body, chr(10)) with ordinality as event (line, place);

CREATE TABLE event_heads (
    account_id BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    kept_from BIGINT DEFAULT 1 NOT NULL,
    PRIMARY KEY (account_id)
);

CREATE TABLE idempotency_keys (
    key_id BIGINT NOT NULL,
    idempotency_key TEXT NOT NULL,
    request_hash BYTEA NOT NULL,
    path TEXT NOT NULL,
    status SMALLINT,
    body BYTEA,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (key_id, idempotency_key)
);

CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

CREATE TABLE leaders (
    name TEXT NOT NULL,
    owner TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE outbox (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    account_id BIGINT NOT NULL,
    count INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT outbox_row_is_a_chunk CHECK (count between 1 and 500)
);

CREATE TABLE prospects (
    campaign_id BIGINT NOT NULL,
    id BIGINT DEFAULT nextval('prospect_ids') NOT NULL,
    account_id BIGINT NOT NULL,
    phone TEXT NOT NULL,
    one_off BIGINT DEFAULT 0 NOT NULL,
    state SMALLINT DEFAULT 0 NOT NULL,
    attempt SMALLINT DEFAULT 1 NOT NULL,
    outcome SMALLINT,
    reason TEXT,
    next_attempt_at TIMESTAMP WITH TIME ZONE DEFAULT '-infinity' NOT NULL,
    data JSONB,
    CONSTRAINT prospects_phone UNIQUE (campaign_id, phone, one_off)
)
 PARTITION BY HASH (campaign_id);

CREATE INDEX prospects_due ON prospects (campaign_id, next_attempt_at, id) WHERE next_attempt_at < 'infinity';

-- After the other indexes: of those that seem alike, as all do on an empty table, the planner takes the youngest.
ALTER TABLE prospects ADD PRIMARY KEY (campaign_id, id);

CREATE TABLE suppressions (
    account_id BIGINT NOT NULL,
    phone TEXT NOT NULL,
    reason TEXT NOT NULL,
    source TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (account_id, phone)
);
"""


def upgrade() -> None:
    for statement in SCHEMA.split(";\n"):
        if statement.strip(" ;\n"):
            op.execute(statement.strip(" ;\n"))
    for table, fillfactor in FILLFACTORS.items():
        for index in range(PARTITIONS):
            # Rows are updated in place a few times each, whole pages of prospects at once: room on the page keeps those
            # updates HOT, and a low threshold keeps vacuum ahead of a campaign that rewrites a partition in minutes.
            op.execute(
                f"create table {table}_{index:02d} partition of {table}"
                f" for values with (modulus {PARTITIONS}, remainder {index})"
                f" with (fillfactor = {fillfactor},"
                " autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05)"
            )
    for table in ("event_chunks", "carrier_callbacks"):
        op.execute(f"create table {table}_default partition of {table} default")


def downgrade() -> None:
    raise NotImplementedError("the first schema has nothing before it")
