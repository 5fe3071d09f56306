"""API keys, workspaces and grants.

Revision ID: 0014
Revises: 0013
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_FORM_KEY = sa.text("('form-' || replace(gen_random_uuid()::text, '-', ''))")


def upgrade() -> None:
    """Bring the schema to this revision."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "workspaces",
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=True),
        sa.Column("created_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("workspace", name=op.f("pk_workspaces")),
    )
    op.create_table(
        "members",
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("grants", postgresql.JSON(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("workspace", "subject", name=op.f("pk_members")),
    )
    op.create_index(op.f("ix_members_subject"), "members", ["subject"])
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("secret_hash", sa.String(), nullable=False),
        sa.Column("last4", sa.String(), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("scopes", postgresql.JSON(), nullable=False),
        sa.Column("grants", postgresql.JSON(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("expires_at", moment, nullable=True),
        sa.Column("revoked_at", moment, nullable=True),
        sa.Column("last_used_at", moment, nullable=True),
        sa.Column("rotated_to", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
    )
    op.create_index("ix_api_keys_list", "api_keys", ["workspace", "created_at", "id"])
    # Each form gets a key of its own: the default is computed for every row.
    op.add_column(
        "forms", sa.Column("public_key", sa.String(), nullable=False, server_default=_FORM_KEY)
    )
    op.create_index("uq_forms_public_key", "forms", ["public_key"], unique=True)


def downgrade() -> None:
    """Take this revision back."""
    op.drop_index("uq_forms_public_key", "forms")
    op.drop_column("forms", "public_key")
    op.drop_table("api_keys")
    op.drop_table("members")
    op.drop_table("workspaces")
