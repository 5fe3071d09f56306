"""The ledger of effects.

Revision ID: 0015
Revises: 0014
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

STATES = sa.Enum(
    "sending", "sent", "unknown", "failed", name="deliverystate", native_enum=False, length=32
)


def upgrade() -> None:
    """Bring the schema to this revision."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "deliveries",
        sa.Column("step_key", sa.String(), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("definition", sa.String(), nullable=False),
        sa.Column("step_path", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("reference", sa.String(), nullable=False),
        sa.Column("state", STATES, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("claimed_at", moment, nullable=False),
        sa.Column("sent_at", moment, nullable=True),
        sa.Column("created_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("step_key", name=op.f("pk_deliveries")),
    )
    op.create_index(
        op.f("ix_deliveries_workspace_created_at_step_key"),
        "deliveries",
        ["workspace", "created_at", "step_key"],
    )
    op.create_index("ix_deliveries_run", "deliveries", ["run_id"])


def downgrade() -> None:
    """Take this revision back."""
    op.drop_table("deliveries")
