"""Indexes and columns of analytics and retention.

Revision ID: 0017
Revises: 0016
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.add_column(
        "runs", sa.Column("detached", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.add_column("ai_usage", sa.Column("budget_above", sa.JSON(none_as_null=True), nullable=True))
    op.create_index("ix_ai_spending_updated", "ai_spending", ["workspace", "updated_at"])


def downgrade() -> None:
    """Take this revision back."""
    op.drop_column("ai_usage", "budget_above")
    op.drop_column("runs", "detached")
    op.drop_index("ix_ai_spending_updated", table_name="ai_spending")
