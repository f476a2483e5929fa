"""Pace: calls that may need an agent, what answered calls were like by the hour, and the caps of 10DLC.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SCHEMA = """
ALTER TABLE attempts ADD COLUMN needs_agent BOOLEAN DEFAULT false NOT NULL;
CREATE INDEX attempts_agents ON attempts (campaign_id) WHERE needs_agent and check_at is not null;

CREATE TABLE call_hours (
    campaign_id BIGINT NOT NULL,
    hour INTEGER NOT NULL,
    writer INTEGER NOT NULL,
    calls BIGINT DEFAULT 0 NOT NULL,
    persons BIGINT DEFAULT 0 NOT NULL,
    abandoned BIGINT DEFAULT 0 NOT NULL,
    connected BIGINT DEFAULT 0 NOT NULL,
    ring_ms BIGINT DEFAULT 0 NOT NULL,
    talk_ms BIGINT DEFAULT 0 NOT NULL,
    PRIMARY KEY (campaign_id, hour, writer)
);

CREATE TABLE call_forecasts (
    campaign_id BIGINT NOT NULL,
    stage SMALLINT NOT NULL,
    answer_rate DOUBLE PRECISION NOT NULL,
    ring_s DOUBLE PRECISION NOT NULL,
    talk_s DOUBLE PRECISION NOT NULL,
    persons BIGINT NOT NULL,
    abandoned BIGINT NOT NULL,
    most_up INTEGER NOT NULL,
    made_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (campaign_id)
);

CREATE TABLE ten_dlc_parts (
    account_id BIGINT NOT NULL,
    span TEXT NOT NULL,
    at BIGINT NOT NULL,
    parts BIGINT NOT NULL,
    PRIMARY KEY (account_id, span, at)
)
"""


def upgrade() -> None:
    for statement in SCHEMA.split(";\n"):
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("Carillon's migrations only go forward: restore a backup to go back")
