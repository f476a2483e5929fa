"""What a campaign is for, which decides the law's hours.

Revision ID: 0005
Revises: 0004
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE campaigns ADD COLUMN purpose TEXT DEFAULT 'marketing' NOT NULL")
    # Checked for rows to come at once, for those there in the next statement: neither stops the running processes.
    op.execute(
        "ALTER TABLE campaigns ADD CONSTRAINT campaigns_purpose_known"
        " CHECK (purpose in ('marketing','informational','emergency')) NOT VALID"
    )
    op.execute("ALTER TABLE campaigns VALIDATE CONSTRAINT campaigns_purpose_known")


def downgrade() -> None:
    op.execute("ALTER TABLE campaigns DROP COLUMN purpose")
