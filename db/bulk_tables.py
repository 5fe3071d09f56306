"""The tables of bulk jobs; `db.bulk` has the queries."""

from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from db.base import JSON_TEXT, enum_type, now
from db.ids import new_id
from schemas.bulk import BulkAction


class JobState(StrEnum):
    """Where a bulk job stands; the last two are final."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class ItemState(StrEnum):
    """What became of one item of a bulk job; `skipped`: the job was cancelled before its turn."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


class BulkJob(SQLModel, table=True):
    """One action on many runs or dead letters, `rate` of them a second.

    `parameters` are those of the action; `done` and `failed` count finished items of `total`.
    """

    __tablename__ = "bulk_jobs"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        sa.Index("ix_bulk_jobs_created", "workspace", "created_at", "id"),
        sa.Index(
            "ix_bulk_jobs_queued",
            "workspace",
            "due_at",
            postgresql_where=sa.text("state = 'queued'"),
        ),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace: str
    action: BulkAction = Field(sa_type=enum_type(BulkAction))
    parameters: dict[str, Any] = Field(default_factory=dict, sa_type=JSON_TEXT)
    rate: int
    state: JobState = Field(default=JobState.QUEUED, sa_type=enum_type(JobState))
    total: int = 0
    done: int = 0
    failed: int = 0
    actor: str
    due_at: datetime = Field(default_factory=now)
    created_at: datetime = Field(default_factory=now)
    started_at: datetime | None = None
    finished_at: datetime | None = None
    updated_at: datetime = Field(default_factory=now)


class BulkItem(SQLModel, table=True):
    """One run or dead letter of a bulk job; `run_id` is of the run that it was re-driven to."""

    __tablename__ = "bulk_items"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (sa.Index("ix_bulk_items_state", "job_id", "state", "position"),)

    job_id: str = Field(primary_key=True, foreign_key="bulk_jobs.id", ondelete="CASCADE")
    position: int = Field(primary_key=True)
    subject_id: str
    state: ItemState = Field(default=ItemState.PENDING, sa_type=enum_type(ItemState))
    run_id: str | None = None
    code: str | None = None
    message: str | None = None
    finished_at: datetime | None = None
