"""The table of triggers; `db.triggers` has the queries."""

from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from db.base import JSON_TEXT, enum_type, now
from db.ids import new_id


class TriggerKind(StrEnum):
    """What fires a trigger."""

    EVENT = "event"


class Trigger(SQLModel, table=True):
    """What starts runs of a definition by itself.

    Of kind `event`: each event of `event_type` for which `where` (CEL over `event`) holds; `input`
    may hold `{{ }}` over `event`. `last_error` says why an event that matched started nothing.
    """

    __tablename__ = "triggers"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["workspace", "definition"],
            ["definitions.workspace", "definitions.name"],
            ondelete="CASCADE",
        ),
        sa.Index("ix_triggers_definition", "workspace", "definition", "created_at", "id"),
        sa.Index(
            "ix_triggers_event",
            "workspace",
            "event_type",
            postgresql_where=sa.text("enabled AND kind = 'event'"),
        ),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace: str
    definition: str
    kind: TriggerKind = Field(default=TriggerKind.EVENT, sa_type=enum_type(TriggerKind))
    event_type: str | None = None
    where: str | None = None
    input: dict[str, Any] = Field(default_factory=dict, sa_type=JSON_TEXT)
    enabled: bool = True
    created_at: datetime = Field(default_factory=now)
    updated_at: datetime = Field(default_factory=now)
    last_fired_at: datetime | None = None
    last_error: str | None = None
