"""Indexes and columns of analytics and retention.

Revision ID: 0017
Revises: 0016
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.create_index("ix_ai_spending_updated", "ai_spending", ["workspace", "updated_at"])


def downgrade() -> None:
    """Take this revision back."""
    op.drop_index("ix_ai_spending_updated", table_name="ai_spending")
