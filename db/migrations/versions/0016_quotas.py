"""Quotas of runs, blocked runs, artifacts.

Revision ID: 0016
Revises: 0015
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.add_column("runs", sa.Column("blocked_at", _MOMENT, nullable=True))
    op.add_column("runs", sa.Column("blocked_reason", sa.String(), nullable=True))
    op.create_index(
        "ix_runs_blocked",
        "runs",
        ["workspace", "blocked_at"],
        postgresql_where=sa.text("blocked_at IS NOT NULL"),
    )
    op.create_table(
        "run_quotas",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("execution", sa.String(), nullable=True),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name=op.f("fk_run_quotas_run_id_runs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_run_quotas")),
    )
    op.create_table(
        "artifacts",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("step_path", sa.String(), nullable=False),
        sa.Column("content_type", sa.String(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name=op.f("fk_artifacts_run_id_runs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifacts")),
        sa.UniqueConstraint(
            "run_id", "step_path", "sha256", name=op.f("uq_artifacts_run_id_step_path_sha256")
        ),
    )


def downgrade() -> None:
    """Take this revision back."""
    op.drop_table("artifacts")
    op.drop_table("run_quotas")
    op.drop_index("ix_runs_blocked", table_name="runs")
    op.drop_column("runs", "blocked_reason")
    op.drop_column("runs", "blocked_at")
