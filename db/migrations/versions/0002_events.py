"""Events, the runs that wait for them, their deliveries, and triggers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.create_table(
        "event_waits",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("workflow_id", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("open", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "path", name="pk_event_waits"),
    )
    op.create_index(
        "ix_event_waits_topic",
        "event_waits",
        ["workspace", "type", "key"],
        postgresql_where=sa.text("open"),
    )
    op.create_table(
        "events",
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("data", postgresql.JSON(), nullable=True),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("matched", sa.Integer(), nullable=False),
        sa.Column("started", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_events"),
        sa.UniqueConstraint("workspace", "source", "id", name="uq_events_workspace_source_id"),
    )
    op.create_index("ix_events_received", "events", ["workspace", "received_at", "seq"])
    op.create_index("ix_events_topic", "events", ["workspace", "type", "key", "seq"])
    op.create_table(
        "event_deliveries",
        sa.Column("event_seq", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("workflow_id", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["event_seq"],
            ["events.seq"],
            name="fk_event_deliveries_event_seq_events",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("event_seq", "run_id", name="pk_event_deliveries"),
    )
    op.create_index(
        "ix_event_deliveries_due",
        "event_deliveries",
        ["due_at"],
        postgresql_where=sa.text("delivered_at IS NULL"),
    )
    op.create_table(
        "triggers",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("definition", sa.String(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("event_type", sa.String(), nullable=True),
        sa.Column("where", sa.String(), nullable=True),
        sa.Column("input", postgresql.JSON(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_fired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["workspace", "definition"],
            ["definitions.workspace", "definitions.name"],
            name="fk_triggers_workspace_definition_definitions",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_triggers"),
    )
    op.create_index(
        "ix_triggers_definition", "triggers", ["workspace", "definition", "created_at", "id"]
    )
    op.create_index(
        "ix_triggers_event",
        "triggers",
        ["workspace", "event_type"],
        postgresql_where=sa.text("enabled AND kind = 'event'"),
    )
    op.add_column("runs", sa.Column("trigger_id", sa.String(), nullable=True))
    op.create_index(
        "ix_runs_ordered",
        "runs",
        ["created_at"],
        postgresql_where=sa.text(
            "trigger_id IS NOT NULL AND status = 'queued' AND temporal_run_id IS NULL"
        ),
    )


def downgrade() -> None:
    """Take this revision back."""
    op.drop_index(
        "ix_runs_ordered",
        table_name="runs",
        postgresql_where=sa.text(
            "trigger_id IS NOT NULL AND status = 'queued' AND temporal_run_id IS NULL"
        ),
    )
    op.drop_column("runs", "trigger_id")
    op.drop_index(
        "ix_triggers_event",
        table_name="triggers",
        postgresql_where=sa.text("enabled AND kind = 'event'"),
    )
    op.drop_index("ix_triggers_definition", table_name="triggers")
    op.drop_table("triggers")
    op.drop_index(
        "ix_event_deliveries_due",
        table_name="event_deliveries",
        postgresql_where=sa.text("delivered_at IS NULL"),
    )
    op.drop_table("event_deliveries")
    op.drop_index("ix_events_topic", table_name="events")
    op.drop_index("ix_events_received", table_name="events")
    op.drop_table("events")
    op.drop_index(
        "ix_event_waits_topic", table_name="event_waits", postgresql_where=sa.text("open")
    )
    op.drop_table("event_waits")
