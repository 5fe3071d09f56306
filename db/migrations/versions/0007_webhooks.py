"""Triggers of every kind, and what webhooks have received."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | None = None
depends_on: str | None = None

_TOKEN = sa.text("token_hash IS NOT NULL")
_SWITCH = sa.text("kind IN ('manual', 'api')")
_FORM = sa.text("kind = 'form'")


def upgrade() -> None:
    """Bring the schema to this revision."""
    # With defaults, so that the version before this one can still write rows.
    op.add_column(
        "triggers",
        sa.Column("config", postgresql.JSON(), nullable=False, server_default=sa.text("'{}'")),
    )
    op.add_column("triggers", sa.Column("token_hash", sa.String(), nullable=True))
    op.add_column("triggers", sa.Column("next_due_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "triggers",
        sa.Column("rejected", sa.Integer(), nullable=False, server_default=sa.text("0")),
    )
    op.add_column(
        "triggers", sa.Column("last_rejected_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.add_column("triggers", sa.Column("last_rejection", sa.String(), nullable=True))
    op.create_index(
        "uq_triggers_token", "triggers", ["token_hash"], unique=True, postgresql_where=_TOKEN
    )
    op.create_index(
        "uq_triggers_switch",
        "triggers",
        ["workspace", "definition", "kind"],
        unique=True,
        postgresql_where=_SWITCH,
    )
    op.create_index(
        "uq_triggers_form",
        "triggers",
        ["workspace", sa.text("(config ->> 'form')")],
        unique=True,
        postgresql_where=_FORM,
    )


def downgrade() -> None:
    """Take this revision back."""
    op.drop_index("uq_triggers_form", table_name="triggers", postgresql_where=_FORM)
    op.drop_index("uq_triggers_switch", table_name="triggers", postgresql_where=_SWITCH)
    op.drop_index("uq_triggers_token", table_name="triggers", postgresql_where=_TOKEN)
    for column in (
        "last_rejection",
        "last_rejected_at",
        "rejected",
        "next_due_at",
        "token_hash",
        "config",
    ):
        op.drop_column("triggers", column)
