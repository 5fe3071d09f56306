"""The table of run logs; `db.run_logs` writes and reads it."""

from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from db.base import JSON_TEXT, enum_type, now


class LogLevel(StrEnum):
    """How grave a line is, the least first."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogSource(StrEnum):
    """Who wrote a line: an action, a `code` step's print, an operator, or Sojourn itself."""

    ACTIVITY = "activity"
    CODE = "code"
    OPERATOR = "operator"
    SYSTEM = "system"


class RunLog(SQLModel, table=True):
    """One line of a run's log, masked before it is stored.

    Lines of one run are written one transaction at a time, so that `id` orders them as they can
    be read: who has read up to an id misses none below it.
    """

    __tablename__ = "run_logs"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        sa.Index("ix_run_logs_run", "run_id", "id"),
        sa.Index("ix_run_logs_at", "workspace", "at"),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=sa.BigInteger)
    workspace: str
    run_id: str = Field(foreign_key="runs.id", ondelete="CASCADE")
    step_path: str | None = None
    at: datetime = Field(default_factory=now)
    level: LogLevel = Field(sa_type=enum_type(LogLevel))
    source: LogSource = Field(sa_type=enum_type(LogSource))
    message: str
    # `metadata` is a word of SQLAlchemy's own.
    data: dict[str, Any] | None = Field(
        default=None, sa_type=JSON_TEXT, sa_column_kwargs={"name": "metadata"}
    )
