"""The key of the inbox of callbacks begins with the person: the reports of one contact are neighbours.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# The carrier's own ids are random: by them every report meets another page of the day's largest index, which is read,
# and written whole into the log. The table waits meanwhile; processes of the version before can store no report then.
SCHEMA = """
ALTER TABLE carrier_callbacks DROP CONSTRAINT carrier_callbacks_once;
ALTER TABLE carrier_callbacks
    ADD CONSTRAINT carrier_callbacks_once UNIQUE (received_on, prospect_id, carrier, event_key)
"""


def upgrade() -> None:
    for statement in SCHEMA.split(";\n"):
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("Carillon's migrations only go forward: restore a backup to go back")
