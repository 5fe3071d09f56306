"""Revisions after the one that set the rules expand the schema, or say that they contract it."""

import io
import re
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from dev.migration_rules import faults

FIRST = "0018"


def config(repository: Path) -> Config:
    """Alembic's, for this repository."""
    made = Config()
    made.set_main_option("script_location", str(repository / "db" / "migrations"))
    return made


def sql_of(repository: Path, before: str, revision: str) -> list[str]:
    """The statements of one revision."""
    made = config(repository)
    made.output_buffer = io.StringIO()
    command.upgrade(made, f"{before}:{revision}", sql=True)
    return made.output_buffer.getvalue().split(";\n")


def test_revisions_follow_the_rules(repository: Path) -> None:
    scripts = ScriptDirectory.from_config(config(repository))
    for script in scripts.walk_revisions():
        if script.revision <= FIRST:
            continue
        assert isinstance(script.down_revision, str)
        contract = getattr(script.module, "contract", False)
        found = faults(sql_of(repository, script.down_revision, script.revision), contract=contract)
        assert found == [], script.revision


def test_older_revisions_show_that_the_rules_find_something(repository: Path) -> None:
    found = faults(sql_of(repository, "0012", "0013"))
    assert any("ix_runs_definition" in fault for fault in found)


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("ALTER TABLE leads DROP COLUMN company", "drops"),
        ("DROP TABLE leads", "drops"),
        ("ALTER TABLE leads RENAME COLUMN company TO firm", "renames"),
        ("ALTER TABLE leads RENAME TO people", "renames"),
        ("ALTER TABLE leads ALTER COLUMN name SET NOT NULL", "refuses"),
        ("ALTER TABLE leads ALTER COLUMN name TYPE INTEGER", "type"),
        ("ALTER TABLE leads ADD COLUMN source VARCHAR NOT NULL", "default"),
        ("CREATE INDEX ix_leads_source ON leads (source)", "concurrently"),
        ("CREATE UNIQUE INDEX ix ON runs (id)", "concurrently"),
        ("ALTER TABLE runs ADD CONSTRAINT c FOREIGN KEY(a) REFERENCES b (id)", "NOT VALID"),
        ("ALTER TABLE leads ADD COLUMN source VARCHAR", None),
        ("ALTER TABLE leads ADD COLUMN source VARCHAR DEFAULT '' NOT NULL", None),
        ("CREATE INDEX CONCURRENTLY ix_leads_source ON leads (source)", None),
        ("CREATE INDEX ix_forms_title ON forms (title)", None),
        ("CREATE TABLE new (id INTEGER NOT NULL)", None),
    ],
)
def test_rules(statement: str, fault: str | None) -> None:
    found = faults([statement])
    assert found == [] if fault is None else re.search(fault, found[0])


def test_a_revision_that_contracts_may_drop_but_not_stop_writers() -> None:
    assert faults(["DROP TABLE leads"], contract=True) == []
    assert faults(["CREATE INDEX ix ON runs (id)"], contract=True) != []
    own = ["CREATE TABLE new (id INTEGER)", "ALTER TABLE new ALTER COLUMN id SET NOT NULL"]
    assert faults(own) == []
