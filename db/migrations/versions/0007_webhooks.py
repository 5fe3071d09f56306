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
_DELIVERY_INDEXES = {
    "ix_webhook_deliveries_content": ["trigger_id", "content_hash"],
    "ix_webhook_deliveries_trigger": ["trigger_id", "received_at", "id"],
    "ix_webhook_deliveries_status": ["workspace", "status", "received_at", "id"],
    "ix_webhook_deliveries_received": ["workspace", "received_at", "id"],
}


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
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("trigger_id", sa.String(), nullable=False),
        sa.Column("delivery_key", sa.String(), nullable=False),
        sa.Column("sender_id", sa.String(), nullable=True),
        sa.Column("content_hash", sa.String(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("headers", postgresql.JSON(), nullable=False),
        sa.Column("query", sa.String(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("run_id", sa.String(), nullable=True),
        sa.Column("replays", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trigger_id"],
            ["triggers.id"],
            name="fk_webhook_deliveries_trigger_id_triggers",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_deliveries"),
        sa.UniqueConstraint(
            "trigger_id", "delivery_key", name="uq_webhook_deliveries_trigger_id_delivery_key"
        ),
    )
    for name, columns in _DELIVERY_INDEXES.items():
        op.create_index(name, "webhook_deliveries", columns)
    # What forms there are shows among the triggers of the definitions that they start.
    op.execute(
        sa.text(
            "INSERT INTO triggers (id, workspace, definition, kind, input, config, enabled,"
            " created_at, updated_at, rejected)"
            " SELECT gen_random_uuid()::text, f.workspace, f.definition, 'form', '{}',"
            " json_build_object('form', f.name), true, now(), now(), 0"
            " FROM forms f JOIN definitions d"
            " ON d.workspace = f.workspace AND d.name = f.definition"
        )
    )


def downgrade() -> None:
    """Take this revision back."""
    for name in _DELIVERY_INDEXES:
        op.drop_index(name, table_name="webhook_deliveries")
    op.drop_table("webhook_deliveries")
    # The version before knows triggers of events alone.
    op.execute(sa.text("DELETE FROM triggers WHERE kind <> 'event'"))
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
