"""Row-level security, the service's role, the audit trail.

Revision ID: 0018
Revises: 0017
"""

import sqlalchemy as sa
from alembic import op

from db.policies import (
    PROTECT_ALL,
    UNPROTECT_ALL,
    protect_child,
    share,
    unprotect_child,
    unshare,
)

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

# Roles belong to the cluster, not to the database: another one may have made it meanwhile. Being
# able to take the role is tried, because what membership gives differs between versions.
_ROLE = """
DO $$
DECLARE previous text := current_setting('role');
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'sojourn_service') THEN
    BEGIN
      CREATE ROLE sojourn_service NOLOGIN;
    EXCEPTION
      WHEN duplicate_object OR unique_violation THEN NULL;
      WHEN insufficient_privilege THEN
        RAISE insufficient_privilege USING
          MESSAGE = format('%I may not create the role sojourn_service', current_user),
          HINT = format('as an administrator: CREATE ROLE sojourn_service NOLOGIN;'
                        ' GRANT sojourn_service TO %I', current_user);
    END;
  END IF;
  BEGIN
    SET LOCAL ROLE sojourn_service;
    PERFORM set_config('role', previous, true);
  EXCEPTION WHEN insufficient_privilege THEN
    BEGIN
      EXECUTE format('GRANT sojourn_service TO %I', current_user);
    EXCEPTION WHEN insufficient_privilege THEN
      RAISE insufficient_privilege USING
        MESSAGE = format('%I may not take the role sojourn_service', current_user),
        HINT = format('as an administrator: GRANT sojourn_service TO %I', current_user);
    END;
  END;
END $$
"""
# By name of the schema that the tables are in: it need not be `public`.
_GRANTS = """
DO $$
DECLARE place text := current_schema();
BEGIN
  EXECUTE format('GRANT USAGE ON SCHEMA %I TO sojourn_service', place);
  EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I'
                 ' TO sojourn_service', place);
  EXECUTE format('GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA %I TO sojourn_service', place);
  EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT, INSERT, UPDATE, DELETE'
                 ' ON TABLES TO sojourn_service', place);
  EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT USAGE, SELECT ON SEQUENCES'
                 ' TO sojourn_service', place);
END $$
"""
_REVOKES = """
DO $$
DECLARE place text := current_schema();
BEGIN
  EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I REVOKE ALL ON TABLES FROM sojourn_service',
                 place);
  EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I REVOKE ALL ON SEQUENCES'
                 ' FROM sojourn_service', place);
  EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM sojourn_service', place);
  EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA %I FROM sojourn_service', place);
  EXECUTE format('REVOKE ALL ON SCHEMA %I FROM sojourn_service', place);
END $$
"""
# What the service may not do itself, the owner does for it: only rows that are at least thirty
# days old, only in the workspace of the transaction. Seals whose entries go are marked.
_PRUNE = """
CREATE FUNCTION sojourn_prune_audit(mine text, cutoff timestamptz, most integer)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
  last_gone bigint;
  gone integer;
BEGIN
  IF coalesce(current_setting('app.workspace', true), '') NOT IN (mine, '*') THEN
    RAISE insufficient_privilege USING MESSAGE = 'the audit of another workspace';
  END IF;
  IF cutoff > clock_timestamp() - interval '30 days' THEN
    RAISE insufficient_privilege USING
      MESSAGE = 'entries of the audit are kept for thirty days at least';
  END IF;
  WITH oldest AS (
    SELECT id FROM audit_entries
    WHERE workspace = mine AND created_at < cutoff
    ORDER BY created_at LIMIT most
  ), deleted AS (
    DELETE FROM audit_entries USING oldest WHERE audit_entries.id = oldest.id
    RETURNING audit_entries.seq
  )
  -- Entries without a number are in the first seal.
  SELECT count(*), max(coalesce(seq, 1)) INTO gone, last_gone FROM deleted;
  UPDATE audit_seals SET pruned_at = clock_timestamp()
  WHERE workspace = mine AND first_seq <= last_gone AND pruned_at IS NULL;
  RETURN gone;
END $$
"""
_OWN = """
DO $$ BEGIN
  EXECUTE format('ALTER FUNCTION sojourn_prune_audit SET search_path = %I, pg_temp',
                 current_schema());
END $$
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.execute(_ROLE)
    op.execute("CREATE SEQUENCE audit_entries_seq")
    op.add_column("audit_entries", sa.Column("request_id", sa.String(), nullable=True))
    op.add_column("audit_entries", sa.Column("ip", sa.String(), nullable=True))
    op.add_column("audit_entries", sa.Column("before_hash", sa.String(), nullable=True))
    op.add_column("audit_entries", sa.Column("after_hash", sa.String(), nullable=True))
    # The default comes apart from the column: together they would write the whole table anew.
    op.add_column("audit_entries", sa.Column("seq", sa.BigInteger(), nullable=True))
    op.alter_column(
        "audit_entries", "seq", server_default=sa.text("nextval('audit_entries_seq'::regclass)")
    )
    op.execute("ALTER SEQUENCE audit_entries_seq OWNED BY audit_entries.seq")
    op.create_index("ix_audit_entries_seq", "audit_entries", ["seq"])
    op.create_table(
        "audit_seals",
        sa.Column("workspace", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("previous", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("sealed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("pruned_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("workspace", "number", name="pk_audit_seals"),
    )
    op.create_index("ix_audit_seals_last_seq", "audit_seals", ["last_seq"])
    op.execute(_PRUNE)
    op.execute(_OWN)
    op.execute(PROTECT_ALL)
    # Circuits of endpoints that all workspaces use with the operator's key.
    share("ai_breakers")
    protect_child("bulk_items", "job_id", "bulk_jobs")
    protect_child("template_versions", "template_id", "templates")
    op.execute(_GRANTS)
    op.execute("REVOKE ALL ON alembic_version, audit_entries, audit_seals FROM sojourn_service")
    op.execute("GRANT SELECT ON alembic_version TO sojourn_service")
    op.execute("GRANT SELECT, INSERT ON audit_entries, audit_seals TO sojourn_service")
    op.execute("REVOKE ALL ON FUNCTION sojourn_prune_audit FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION sojourn_prune_audit TO sojourn_service")


def downgrade() -> None:
    """Take this revision back; the role stays, for other databases of the cluster."""
    op.execute("DROP FUNCTION sojourn_prune_audit")
    op.execute(_REVOKES)
    unprotect_child("template_versions")
    unprotect_child("bulk_items")
    unshare("ai_breakers")
    op.execute(UNPROTECT_ALL)
    op.drop_table("audit_seals")
    for column in ("seq", "after_hash", "before_hash", "ip", "request_id"):
        op.drop_column("audit_entries", column)
