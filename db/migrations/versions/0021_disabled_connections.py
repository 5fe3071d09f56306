"""Connections that are disabled.

Revision ID: 0021
Revises: 0018
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.add_column("connections", sa.Column("disabled_at", sa.DateTime(timezone=True)))
    op.add_column("connections", sa.Column("disabled_reason", sa.String()))


def downgrade() -> None:
    """Take this revision back."""
    op.drop_column("connections", "disabled_reason")
    op.drop_column("connections", "disabled_at")
