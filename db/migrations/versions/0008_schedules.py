"""Schedule triggers, and how long rows are kept."""

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | None = None
depends_on: str | None = None

_TRIGGERED = sa.text(
    "trigger_id IS NOT NULL"
    " AND status IN ('queued', 'running', 'waiting', 'paused', 'compensating')"
)
_FINISHED = sa.text("finished_at IS NOT NULL")
_BUFFERED = sa.text("buffered_for IS NOT NULL")


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.create_table(
        "schedules",
        sa.Column("trigger_id", sa.String(), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("definition", sa.String(), nullable=False),
        sa.Column("written", sa.DateTime(timezone=True), nullable=True),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("buffered_for", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("trigger_id", name="pk_schedules"),
    )
    op.create_index("ix_schedules_workspace", "schedules", ["workspace"])
    op.create_index(
        "ix_schedules_buffered", "schedules", ["workspace"], postgresql_where=_BUFFERED
    )
    op.create_index("ix_runs_trigger", "runs", ["trigger_id"], postgresql_where=_TRIGGERED)
    op.create_index(
        "ix_runs_finished", "runs", ["workspace", "finished_at"], postgresql_where=_FINISHED
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    op.create_table(
        "retention_policies",
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("days", sa.Integer(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "subject", name="pk_retention_policies"),
    )


def downgrade() -> None:
    """Take this revision back."""
    op.drop_table("retention_policies")
    op.drop_index("ix_idempotency_keys_created_at", table_name="idempotency_keys")
    op.drop_index("ix_runs_finished", table_name="runs", postgresql_where=_FINISHED)
    op.drop_index("ix_runs_trigger", table_name="runs", postgresql_where=_TRIGGERED)
    op.drop_index("ix_schedules_buffered", table_name="schedules", postgresql_where=_BUFFERED)
    op.drop_index("ix_schedules_workspace", table_name="schedules")
    op.drop_table("schedules")
