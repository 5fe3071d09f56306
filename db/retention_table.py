"""The table of retention policies; `db.retention` says what they mean."""

from datetime import datetime

from sqlmodel import Field, SQLModel

from db.base import now


class RetentionPolicy(SQLModel, table=True):
    """How long a workspace keeps one kind of rows, in days; None keeps them for ever."""

    __tablename__ = "retention_policies"  # pyright: ignore[reportAssignmentType]

    workspace: str = Field(primary_key=True)
    subject: str = Field(primary_key=True)
    days: int | None = None
    updated_at: datetime = Field(default_factory=now)
