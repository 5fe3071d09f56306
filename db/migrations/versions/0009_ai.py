"""AI: breaker, cache, ledger, budgets.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

USD = sa.Numeric(18, 9)
STATES = sa.Enum("closed", "open", "half_open", name="circuitstate", native_enum=False, length=32)
CALLS = sa.Enum("reserved", "settled", "failed", name="callstate", native_enum=False, length=32)


def upgrade() -> None:
    """Bring the schema to this revision."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "ai_breakers",
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("endpoint", sa.String(), nullable=False),
        sa.Column("state", STATES, nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("window_at", moment, nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("open_until", moment, nullable=True),
        sa.Column("probes", sa.Integer(), nullable=False),
        sa.Column("passed", sa.Integer(), nullable=False),
        sa.Column("probe_until", moment, nullable=True),
        sa.Column("last_error", sa.String(), nullable=True),
        sa.Column("updated_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("workspace", "endpoint", name=op.f("pk_ai_breakers")),
    )
    op.create_table(
        "ai_budgets",
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("daily_usd", USD, nullable=True),
        sa.Column("daily_tokens", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("workspace", name=op.f("pk_ai_budgets")),
    )
    op.create_table(
        "ai_cache",
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("reply", sa.JSON(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("workspace", "key", name=op.f("pk_ai_cache")),
    )
    op.create_index(op.f("ix_ai_cache_expires_at"), "ai_cache", ["expires_at"])
    op.create_table(
        "ai_results",
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("step_key", sa.String(), nullable=False),
        sa.Column("call", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("reply", sa.JSON(), nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("workspace", "step_key", "call", name=op.f("pk_ai_results")),
    )
    op.create_index(op.f("ix_ai_results_expires_at"), "ai_results", ["expires_at"])
    op.create_table(
        "ai_spending",
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("cost", USD, nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("workspace", "scope", name=op.f("pk_ai_spending")),
    )
    op.create_table(
        "ai_usage",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("definition", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("budget_run_id", sa.String(), nullable=False),
        sa.Column("step_path", sa.String(), nullable=False),
        sa.Column("step_key", sa.String(), nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("state", CALLS, nullable=False),
        sa.Column("input_tokens", sa.Integer(), nullable=False),
        sa.Column("output_tokens", sa.Integer(), nullable=False),
        sa.Column("cost", USD, nullable=True),
        sa.Column("price_known", sa.Boolean(), nullable=False),
        sa.Column("held_cost", USD, nullable=False),
        sa.Column("held_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached", sa.Boolean(), nullable=False),
        sa.Column("repair", sa.Boolean(), nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("settled_at", moment, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ai_usage")),
    )
    op.create_index("ix_ai_usage_at", "ai_usage", ["workspace", "at"])
    op.create_index("ix_ai_usage_run", "ai_usage", ["budget_run_id", "at"])
    op.create_index("ix_ai_usage_definition", "ai_usage", ["workspace", "definition", "at"])


def downgrade() -> None:
    """Take this revision back."""
    for table in (
        "ai_usage",
        "ai_spending",
        "ai_results",
        "ai_cache",
        "ai_budgets",
        "ai_breakers",
    ):
        op.drop_table(table)
