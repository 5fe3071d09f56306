"""Which run, and which of its steps, started a run."""

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.add_column("runs", sa.Column("parent_run_id", sa.String(), nullable=True))
    op.add_column("runs", sa.Column("parent_path", sa.String(), nullable=True))
    op.create_index(
        "ix_runs_parent",
        "runs",
        ["parent_run_id", "created_at", "id"],
        postgresql_where=sa.text("parent_run_id IS NOT NULL"),
    )


def downgrade() -> None:
    """Take this revision back."""
    op.drop_index(
        "ix_runs_parent",
        table_name="runs",
        postgresql_where=sa.text("parent_run_id IS NOT NULL"),
    )
    op.drop_column("runs", "parent_path")
    op.drop_column("runs", "parent_run_id")
