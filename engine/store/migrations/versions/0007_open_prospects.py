"""The index of what is due holds open prospects only.

Who is over leaves it, so it stays as small as what is left to do, and ending an attempt writes one index less. And a
look-up by (campaign_id, id) cannot be planned on it any more: on statistics taken while a partition was empty the
planner did so, and then read the whole campaign for each row.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("DROP INDEX prospects_due")
    op.execute(
        "CREATE INDEX prospects_due ON prospects (campaign_id, next_attempt_at, id) WHERE next_attempt_at < 'infinity'"
    )


def downgrade() -> None:
    raise NotImplementedError("Carillon's migrations only go forward: restore a backup to go back")
