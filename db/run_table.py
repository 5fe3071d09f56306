"""The table of runs; `db.runs` has the queries."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from db.base import JSON_TEXT, enum_type, now
from db.ids import new_id
from schemas.run import TERMINAL, RunStatus

OPEN = tuple(status for status in RunStatus if status not in TERMINAL)
_OPEN_SQL = sa.text("status IN ('queued', 'running', 'waiting', 'paused', 'compensating')")

# Ordered, and free to start, but not started as far as the row knows.
DUE_SQL = sa.text(
    "due_at IS NOT NULL AND admitted_at IS NOT NULL"
    " AND status = 'queued' AND temporal_run_id IS NULL"
)
# Ordered, and waiting for a slot, for its time or for a rate.
WAITING_SQL = sa.text("due_at IS NOT NULL AND admitted_at IS NULL AND status = 'queued'")
ADMITTED_SQL = sa.text(f"admitted_at IS NOT NULL AND {_OPEN_SQL.text}")
_TRIGGERED_SQL = sa.text(f"trigger_id IS NOT NULL AND {_OPEN_SQL.text}")
_DEBOUNCED_SQL = sa.text(f"debounce_key IS NOT NULL AND {WAITING_SQL.text}")


class Run(SQLModel, table=True):
    """One run. `error` is {code, message, step, details}; `until` is when its next timer ends.

    `due_at` marks an ordered run, which is started however late; it says when the API looks at it
    next: before it is admitted not earlier than this, after that again from this time on.
    `admitted_at` marks one that may start: it holds a slot of its definition until its end.
    `flow_key` and `debounce_key` are the values of the definition's keys; `rated` says that its
    start was counted by the rates. `trigger_id` is of the trigger that ordered it.
    `parent_path` is the step of the run above that started it, `each[200]` for a batch of items.
    Nobody waits for a `detached` one.
    `temporal_run_id` is the first execution's id, `ended_by` that of the one that wrote the end.
    `redrive_of` is the dead letter that it was re-driven from, `resumes_from` the run whose
    finished results it begins with.
    `blocked_at` is since when Temporal cannot get it on, `blocked_reason` what its worker says.
    A trigger refuses to change a final status.
    """

    __tablename__ = "runs"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        sa.Index("ix_runs_created", "workspace", "created_at", "id"),
        # What is included is what analytics count: they read nothing else of the rows.
        sa.Index(
            "ix_runs_definition",
            "workspace",
            "definition",
            "created_at",
            "id",
            postgresql_include=["version", "status", "started_at", "finished_at", "parent_path"],
        ),
        sa.Index("ix_runs_status", "workspace", "status", "created_at", "id"),
        sa.Index(
            "ix_runs_lead",
            "workspace",
            "lead_id",
            "created_at",
            "id",
            postgresql_where=sa.text("lead_id IS NOT NULL"),
        ),
        sa.Index("ix_runs_open", "checked_at", postgresql_where=_OPEN_SQL),
        sa.Index("ix_runs_due", "workspace", "due_at", postgresql_where=DUE_SQL),
        sa.Index(
            "ix_runs_waiting",
            "workspace",
            "definition",
            "priority",
            "created_at",
            "id",
            postgresql_where=WAITING_SQL,
        ),
        sa.Index(
            "ix_runs_admitted",
            "workspace",
            "definition",
            "flow_key",
            postgresql_where=ADMITTED_SQL,
        ),
        sa.Index(
            "ix_runs_debounced",
            "workspace",
            "definition",
            "debounce_key",
            postgresql_where=_DEBOUNCED_SQL,
        ),
        sa.Index(
            "ix_runs_finished",
            "workspace",
            "finished_at",
            postgresql_where=sa.text("finished_at IS NOT NULL"),
        ),
        sa.Index(
            "ix_runs_blocked",
            "workspace",
            "blocked_at",
            postgresql_where=sa.text("blocked_at IS NOT NULL"),
        ),
        sa.Index("ix_runs_trigger", "trigger_id", postgresql_where=_TRIGGERED_SQL),
        sa.Index(
            "ix_runs_parent",
            "parent_run_id",
            "created_at",
            "id",
            postgresql_where=sa.text("parent_run_id IS NOT NULL"),
        ),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace: str
    definition: str
    version: int
    status: RunStatus = Field(default=RunStatus.QUEUED, sa_type=enum_type(RunStatus))
    input: dict[str, Any] = Field(default_factory=dict, sa_type=JSON_TEXT)
    output: Any = Field(default=None, sa_type=JSON_TEXT, nullable=True)
    error: dict[str, Any] | None = Field(default=None, sa_type=JSON_TEXT)
    lead_id: str | None = None
    trigger_id: str | None = None
    due_at: datetime | None = None
    admitted_at: datetime | None = None
    flow_key: str | None = None
    debounce_key: str | None = None
    rated: bool = Field(default=False, sa_column_kwargs={"server_default": sa.false()})
    parent_run_id: str | None = None
    parent_path: str | None = None
    detached: bool = Field(default=False, sa_column_kwargs={"server_default": sa.false()})
    redrive_of: str | None = None
    resumes_from: str | None = None
    priority: int = 3
    seq: int = 0
    waiting_for: str | None = None
    until: datetime | None = None
    workflow_id: str
    temporal_run_id: str | None = None
    ended_by: str | None = None
    correlation_id: str | None = None
    blocked_at: datetime | None = None
    blocked_reason: str | None = None
    created_at: datetime = Field(default_factory=now)
    started_at: datetime | None = None
    finished_at: datetime | None = None
    updated_at: datetime = Field(default_factory=now)
    checked_at: datetime = Field(default_factory=now)
