"""Logs of runs and what analytics read.

Revision ID: 0013
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_DEFINITION = ["workspace", "definition", "created_at", "id"]


def upgrade() -> None:
    """Bring the schema to this revision."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "run_logs",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("step_path", sa.String(), nullable=True),
        sa.Column("at", moment, nullable=False),
        sa.Column("level", sa.String(length=32), nullable=False),
        sa.Column("source", sa.String(length=32), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("metadata", postgresql.JSON(), nullable=True),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name=op.f("fk_run_logs_run_id_runs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_logs")),
    )
    op.create_index("ix_run_logs_run", "run_logs", ["run_id", "id"])
    op.create_index("ix_run_logs_at", "run_logs", ["workspace", "at"])
    op.create_table(
        "analytics_step_days",
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("definition", sa.String(), nullable=False),
        sa.Column("ended_on", sa.Date(), nullable=False),
        sa.Column("created_on", sa.Date(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("error_code", sa.String(), nullable=False),
        sa.Column("steps", sa.BigInteger(), nullable=False),
        sa.Column("started", sa.BigInteger(), nullable=False),
        sa.Column("retried", sa.BigInteger(), nullable=False),
        sa.Column("retries", sa.BigInteger(), nullable=False),
        sa.Column("timed", sa.BigInteger(), nullable=False),
        sa.Column("duration_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "workspace",
            "definition",
            "ended_on",
            "created_on",
            "version",
            "step",
            "type",
            "status",
            "error_code",
            name=op.f("pk_analytics_step_days"),
        ),
    )
    op.create_table(
        "analytics_days",
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("runs", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", sa.BigInteger(), nullable=False),
        sa.Column("rolled_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("workspace", "day", name=op.f("pk_analytics_days")),
    )
    op.add_column("run_steps", sa.Column("choice", sa.String(), nullable=True))
    # Of splits that ended before there was the column.
    op.execute(
        "UPDATE run_steps SET choice = output ->> 'variant'"
        " WHERE type = 'split' AND json_typeof(output) = 'object'"
    )
    op.create_index(
        "ix_run_steps_waiting",
        "run_steps",
        ["run_id"],
        postgresql_include=["id", "type", "until", "started_at"],
        postgresql_where=sa.text("status = 'waiting'"),
    )
    op.create_index(
        "ix_run_steps_split",
        "run_steps",
        ["workspace", "id", "choice", "run_id"],
        postgresql_include=["started_at"],
        postgresql_where=sa.text("type = 'split' AND choice IS NOT NULL"),
    )
    op.drop_index("ix_runs_definition", table_name="runs")
    op.create_index(
        "ix_runs_definition",
        "runs",
        _DEFINITION,
        postgresql_include=["version", "status", "started_at", "finished_at", "parent_path"],
    )
    op.create_index(
        "ix_lead_events_kind",
        "lead_events",
        ["workspace", "kind", "at"],
        postgresql_include=["lead_id"],
    )
    op.create_index(
        "ix_mail_messages_definition",
        "mail_messages",
        ["workspace", "definition", "created_at"],
    )


def downgrade() -> None:
    """Take this revision back."""
    op.drop_index("ix_mail_messages_definition", table_name="mail_messages")
    op.drop_index("ix_lead_events_kind", table_name="lead_events")
    op.drop_index("ix_runs_definition", table_name="runs")
    op.create_index("ix_runs_definition", "runs", _DEFINITION)
    op.drop_index("ix_run_steps_split", table_name="run_steps")
    op.drop_index("ix_run_steps_waiting", table_name="run_steps")
    op.drop_column("run_steps", "choice")
    op.drop_table("analytics_days")
    op.drop_table("analytics_step_days")
    op.drop_table("run_logs")
