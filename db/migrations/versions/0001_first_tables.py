"""The first tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None


# A final status never changes; a version that is no longer a draft only moves to deprecated.
_TRIGGERS = """
CREATE FUNCTION sojourn_keep_final_status() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'run % is % for good', OLD.id, OLD.status USING ERRCODE = '23514';
END $$;

CREATE TRIGGER keep_final_status BEFORE UPDATE OF status ON runs FOR EACH ROW
WHEN (OLD.status IN ('completed', 'failed', 'cancelled', 'terminated', 'timed_out')
      AND NEW.status IS DISTINCT FROM OLD.status)
EXECUTE FUNCTION sojourn_keep_final_status();

CREATE FUNCTION sojourn_keep_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.definition_id, NEW.version, NEW.workspace, NEW.document::text, NEW.source,
        NEW.content_hash, NEW.created_at, NEW.published_at)
       IS DISTINCT FROM
       (OLD.definition_id, OLD.version, OLD.workspace, OLD.document::text, OLD.source,
        OLD.content_hash, OLD.created_at, OLD.published_at)
       OR NOT (NEW.status = OLD.status OR NEW.status = 'deprecated') THEN
        RAISE EXCEPTION 'version % is % and cannot be changed', OLD.version, OLD.status
        USING ERRCODE = '23514';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER keep_version BEFORE UPDATE ON definition_versions FOR EACH ROW
WHEN (OLD.status <> 'draft')
EXECUTE FUNCTION sojourn_keep_version();
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("data", postgresql.JSON(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_entries"),
    )
    op.create_index(
        "ix_audit_entries_workspace_created_at_id",
        "audit_entries",
        ["workspace", "created_at", "id"],
    )
    op.create_table(
        "definitions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=True),
        sa.Column("active_version", sa.Integer(), nullable=True),
        sa.Column("latest_version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_definitions"),
        sa.UniqueConstraint("workspace", "name", name="uq_definitions_workspace_name"),
    )
    op.create_index(
        "ix_definitions_workspace_created_at_id",
        "definitions",
        ["workspace", "created_at", "id"],
    )
    op.create_table(
        "forms",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("definition", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=True),
        sa.Column("fields", postgresql.JSON(), nullable=False),
        sa.Column("mapping", postgresql.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_forms"),
        sa.UniqueConstraint("workspace", "name", name="uq_forms_workspace_name"),
    )
    op.create_table(
        "leads",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=True),
        sa.Column("company", sa.String(), nullable=True),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("fields", postgresql.JSONB(), nullable=False),
        sa.Column("last_email_sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_email_opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_replied_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_activity_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_leads"),
        sa.UniqueConstraint("workspace", "email", name="uq_leads_workspace_email"),
    )
    op.create_index(
        "ix_leads_workspace_created_at_id", "leads", ["workspace", "created_at", "id"]
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("definition", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("input", postgresql.JSON(), nullable=False),
        sa.Column("output", postgresql.JSON(), nullable=True),
        sa.Column("error", postgresql.JSON(), nullable=True),
        sa.Column("lead_id", sa.String(), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("waiting_for", sa.String(), nullable=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("workflow_id", sa.String(), nullable=False),
        sa.Column("temporal_run_id", sa.String(), nullable=True),
        sa.Column("correlation_id", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
    )
    op.create_index("ix_runs_created", "runs", ["workspace", "created_at", "id"])
    op.create_index(
        "ix_runs_definition", "runs", ["workspace", "definition", "created_at", "id"]
    )
    op.create_index(
        "ix_runs_lead",
        "runs",
        ["workspace", "lead_id", "created_at", "id"],
        postgresql_where=sa.text("lead_id IS NOT NULL"),
    )
    op.create_index(
        "ix_runs_open",
        "runs",
        ["checked_at"],
        postgresql_where=sa.text(
            "status IN ('queued', 'running', 'waiting', 'paused', 'compensating')"
        ),
    )
    op.create_index(
        "ix_runs_status", "runs", ["workspace", "status", "created_at", "id"]
    )
    op.create_table(
        "templates",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("html", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_templates"),
        sa.UniqueConstraint("workspace", "name", name="uq_templates_workspace_name"),
    )
    op.create_table(
        "definition_versions",
        sa.Column("definition_id", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("document", postgresql.JSON(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("content_hash", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deprecated_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["definition_id"],
            ["definitions.id"],
            name="fk_definition_versions_definition_id_definitions",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "definition_id", "version", name="pk_definition_versions"
        ),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["runs.id"],
            name="fk_idempotency_keys_run_id_runs",
            ondelete="CASCADE",
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("workspace", "key", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_run_id", "idempotency_keys", ["run_id"])
    op.create_table(
        "lead_events",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("lead_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("data", postgresql.JSON(), nullable=True),
        sa.Column("run_id", sa.String(), nullable=True),
        sa.Column("step_path", sa.String(), nullable=True),
        sa.Column("key", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["lead_id"],
            ["leads.id"],
            name="fk_lead_events_lead_id_leads",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_lead_events"),
    )
    op.create_index(
        "ix_lead_events_created", "lead_events", ["lead_id", "created_at", "id"]
    )
    op.create_index("ix_lead_events_lead", "lead_events", ["lead_id", "kind", "at"])
    op.create_index(
        "uq_lead_events_key",
        "lead_events",
        ["lead_id", "kind", "key"],
        unique=True,
        postgresql_where=sa.text("key IS NOT NULL"),
    )
    op.create_table(
        "run_steps",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=True),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("input", postgresql.JSON(), nullable=True),
        sa.Column("output", postgresql.JSON(), nullable=True),
        sa.Column("error", postgresql.JSON(), nullable=True),
        sa.Column("error_code", sa.String(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("duration_ms", sa.BigInteger(), nullable=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("note", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name="fk_run_steps_run_id_runs", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "path", name="pk_run_steps"),
    )
    for statement in _TRIGGERS.split(";\n\n"):
        op.execute(statement)


def downgrade() -> None:
    """Take this revision back."""
    op.drop_table("run_steps")
    op.drop_index(
        "uq_lead_events_key",
        table_name="lead_events",
        postgresql_where=sa.text("key IS NOT NULL"),
    )
    op.drop_index("ix_lead_events_lead", table_name="lead_events")
    op.drop_index("ix_lead_events_created", table_name="lead_events")
    op.drop_table("lead_events")
    op.drop_index("ix_idempotency_keys_run_id", table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
    op.drop_table("definition_versions")
    op.drop_table("templates")
    op.drop_index("ix_runs_status", table_name="runs")
    op.drop_index(
        "ix_runs_open",
        table_name="runs",
        postgresql_where=sa.text(
            "status IN ('queued', 'running', 'waiting', 'paused', 'compensating')"
        ),
    )
    op.drop_index(
        "ix_runs_lead",
        table_name="runs",
        postgresql_where=sa.text("lead_id IS NOT NULL"),
    )
    op.drop_index("ix_runs_definition", table_name="runs")
    op.drop_index("ix_runs_created", table_name="runs")
    op.drop_table("runs")
    op.drop_index("ix_leads_workspace_created_at_id", table_name="leads")
    op.drop_table("leads")
    op.drop_table("forms")
    op.drop_index("ix_definitions_workspace_created_at_id", table_name="definitions")
    op.drop_table("definitions")
    op.drop_index(
        "ix_audit_entries_workspace_created_at_id", table_name="audit_entries"
    )
    op.drop_table("audit_entries")
    op.execute("DROP FUNCTION sojourn_keep_version")
    op.execute("DROP FUNCTION sojourn_keep_final_status")
