"""Runs know which execution wrote their end.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("ended_by", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("runs", "ended_by")
