"""Flow control: ordered starts, slots, keys and rates."""

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | None = None
depends_on: str | None = None

_OPEN = "status IN ('queued', 'running', 'waiting', 'paused', 'compensating')"
_ORDERED = "trigger_id IS NOT NULL AND status = 'queued' AND temporal_run_id IS NULL"
_DUE = (
    "due_at IS NOT NULL AND admitted_at IS NOT NULL"
    " AND status = 'queued' AND temporal_run_id IS NULL"
)
_WAITING = "due_at IS NOT NULL AND admitted_at IS NULL AND status = 'queued'"
_INDEXES = {
    "ix_runs_due": (["workspace", "due_at"], _DUE),
    "ix_runs_waiting": (
        ["workspace", "definition", "priority", "created_at", "id"],
        _WAITING,
    ),
    "ix_runs_admitted": (
        ["workspace", "definition", "flow_key"],
        f"admitted_at IS NOT NULL AND {_OPEN}",
    ),
    "ix_runs_debounced": (
        ["workspace", "definition", "debounce_key"],
        f"debounce_key IS NOT NULL AND {_WAITING}",
    ),
}


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.create_table(
        "rate_buckets",
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("tokens", sa.Float(), nullable=False),
        sa.Column("filled_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "name", name="pk_rate_buckets"),
    )
    op.add_column("runs", sa.Column("due_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("runs", sa.Column("admitted_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("runs", sa.Column("flow_key", sa.String(), nullable=True))
    op.add_column("runs", sa.Column("debounce_key", sa.String(), nullable=True))
    op.add_column(
        "runs", sa.Column("rated", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    # What is ordered is started as before; what is open holds its slot.
    op.execute(
        "UPDATE runs SET due_at = now(), admitted_at = now(), rated = true"
        " WHERE trigger_id IS NOT NULL AND status = 'queued' AND temporal_run_id IS NULL"
    )
    op.execute(
        "UPDATE runs SET admitted_at = coalesce(started_at, created_at)"
        " WHERE temporal_run_id IS NOT NULL AND parent_run_id IS NULL"
        " AND status IN ('queued', 'running', 'waiting', 'paused', 'compensating')"
    )
    op.drop_index("ix_runs_ordered", table_name="runs")
    for name, (columns, where) in _INDEXES.items():
        op.create_index(name, "runs", columns, postgresql_where=sa.text(where))


def downgrade() -> None:
    """Take this revision back."""
    for name in _INDEXES:
        op.drop_index(name, table_name="runs")
    op.create_index("ix_runs_ordered", "runs", ["created_at"], postgresql_where=sa.text(_ORDERED))
    for column in ("rated", "debounce_key", "flow_key", "admitted_at", "due_at"):
        op.drop_column("runs", column)
    op.drop_table("rate_buckets")
