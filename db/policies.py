"""Row-level security: the statements that give a table its policy, for migrations.

A row is seen, and may be written, where its workspace is the transaction's scope (`db.tenancy`) or
the scope is all of them. The owner of the tables, who migrates, is not bound by policies; the
service is, because it runs as a role that owns nothing.
"""

from alembic import op

POLICY = "sojourn_workspace"
SHARED = "sojourn_shared"
# A subquery is evaluated once for a statement, not for each row.
_SCOPE = "(SELECT nullif(current_setting('app.workspace', true), ''))"
_RULE = f"{_SCOPE} IN (workspace, '*')"

# Every table that has the column, so that none is forgotten.
_TABLES = """
SELECT c.relname FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
  AND a.attname = 'workspace' AND NOT a.attisdropped
"""
_QUOTED_RULE = _RULE.replace("'", "''")
PROTECT_ALL = f"""
DO $$
DECLARE name text;
BEGIN
  FOR name IN {_TABLES} LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY {POLICY} ON %I USING ({_QUOTED_RULE})'
                   ' WITH CHECK ({_QUOTED_RULE})', name);
  END LOOP;
END $$
"""
UNPROTECT_ALL = f"""
DO $$
DECLARE name text;
BEGIN
  FOR name IN {_TABLES} LOOP
    EXECUTE format('DROP POLICY {POLICY} ON %I', name);
    EXECUTE format('ALTER TABLE %I DISABLE ROW LEVEL SECURITY', name);
  END LOOP;
END $$
"""


def protect(table: str) -> None:
    """Give a new table with a column `workspace` its policy."""
    _protect(table, _RULE)


def share(table: str) -> None:
    """Let every scope, but not the lack of one, use a table's rows of the workspace ""."""
    op.execute(
        f"CREATE POLICY {SHARED} ON {table} USING (workspace = '' AND {_SCOPE} IS NOT NULL)"
        f" WITH CHECK (workspace = '' AND {_SCOPE} IS NOT NULL)"
    )


def unshare(table: str) -> None:
    """Take that back."""
    op.execute(f"DROP POLICY {SHARED} ON {table}")


def protect_child(table: str, column: str, parent: str) -> None:
    """Give a table without the column a policy: a row is seen where its parent's row is."""
    _protect(table, f"EXISTS (SELECT FROM {parent} WHERE {parent}.id = {table}.{column})")


def unprotect_child(table: str) -> None:
    """Take a table's policy away."""
    op.execute(f"DROP POLICY {POLICY} ON {table}")
    op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")


def _protect(table: str, rule: str) -> None:
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY {POLICY} ON {table} USING ({rule}) WITH CHECK ({rule})")
