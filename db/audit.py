"""Who did what: rows that are only ever added, in the transaction of the deed itself."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import JSON_TEXT, now
from db.ids import new_id


class AuditEntry(SQLModel, table=True):
    """One deed: `actor` did `action` (run.start) to `subject` (its id or name)."""

    __tablename__ = "audit_entries"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (sa.Index(None, "workspace", "created_at", "id"),)

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace: str
    actor: str
    action: str
    subject: str
    data: dict[str, Any] | None = Field(default=None, sa_type=JSON_TEXT)
    created_at: datetime = Field(default_factory=now)


def add(
    session: AsyncSession,
    workspace: str,
    *,
    actor: str,
    action: str,
    subject: str,
    data: dict[str, Any] | None = None,
) -> None:
    """Add an entry; it is written when the session is flushed or committed."""
    session.add(
        AuditEntry(workspace=workspace, actor=actor, action=action, subject=subject, data=data)
    )
