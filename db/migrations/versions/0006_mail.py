"""Mail: messages, suppressions, template versions.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "mail_messages",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("step_key", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("definition", sa.String(), nullable=False),
        sa.Column("step_path", sa.String(), nullable=False),
        sa.Column("lead_id", sa.String(), nullable=True),
        sa.Column("template", sa.String(), nullable=True),
        sa.Column("template_version", sa.Integer(), nullable=True),
        sa.Column("connection", sa.String(), nullable=True),
        sa.Column("to_address", sa.String(), nullable=False),
        sa.Column("message_id", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=True),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("slot_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("result", postgresql.JSON(), nullable=True),
        sa.Column("tracking_id", sa.String(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("clicked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("replied_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("bounced_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("unsubscribed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["lead_id"], ["leads.id"], name="fk_mail_messages_lead_id_leads", ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_mail_messages"),
        sa.UniqueConstraint("step_key", name="uq_mail_messages_step_key"),
        sa.UniqueConstraint("tracking_id", name="uq_mail_messages_tracking_id"),
        sa.UniqueConstraint(
            "workspace", "message_id", name="uq_mail_messages_workspace_message_id"
        ),
    )
    op.create_index(
        "ix_mail_messages_lead",
        "mail_messages",
        ["lead_id", "claimed_at"],
        postgresql_where=sa.text("lead_id IS NOT NULL"),
    )
    op.create_index("ix_mail_messages_run", "mail_messages", ["run_id"])
    op.create_index(
        "ix_mail_messages_to", "mail_messages", ["workspace", "to_address", "created_at"]
    )
    op.create_index(
        "ix_mail_messages_workspace_created_at_id",
        "mail_messages",
        ["workspace", "created_at", "id"],
    )
    op.create_table(
        "mail_links",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("message_id", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"],
            ["mail_messages.id"],
            name="fk_mail_links_message_id_mail_messages",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_mail_links"),
    )
    op.create_index("ix_mail_links_message_id", "mail_links", ["message_id"])
    op.create_table(
        "mail_rates",
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("connection", sa.String(), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "connection", name="pk_mail_rates"),
    )
    op.create_table(
        "suppressions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_suppressions"),
        sa.UniqueConstraint("workspace", "address", name="uq_suppressions_workspace_address"),
    )
    op.create_index(
        "ix_suppressions_workspace_created_at_id", "suppressions", ["workspace", "created_at", "id"]
    )
    op.add_column(
        "templates", sa.Column("version", sa.Integer(), nullable=False, server_default="1")
    )
    op.create_table(
        "template_versions",
        sa.Column("template_id", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("html", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["template_id"],
            ["templates.id"],
            name="fk_template_versions_template_id_templates",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("template_id", "version", name="pk_template_versions"),
    )
    # What is stored already is its own first version.
    op.execute(
        "INSERT INTO template_versions (template_id, version, subject, text, html, created_at)"
        " SELECT id, 1, subject, text, html, updated_at FROM templates"
    )


def downgrade() -> None:
    op.drop_table("template_versions")
    op.drop_column("templates", "version")
    op.drop_table("suppressions")
    op.drop_table("mail_rates")
    op.drop_table("mail_links")
    op.drop_table("mail_messages")
