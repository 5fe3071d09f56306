"""The table of triggers; `db.triggers` has the queries."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from db.base import JSON_TEXT, enum_type, now
from db.ids import new_id
from schemas.trigger_base import TriggerKind

__all__ = ["Trigger", "TriggerKind"]


class Trigger(SQLModel, table=True):
    """What starts runs of a definition by itself.

    `config` holds what the kind alone knows (a webhook's verification, a schedule's times, a
    form's name); `event_type`, `where` and `input` are columns of their own. `token_hash` is the
    SHA-256, in hex, of a webhook's token. `last_error` says why the last time started nothing;
    `rejected` counts deliveries with a bad signature.
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
        sa.Index(
            "uq_triggers_token",
            "token_hash",
            unique=True,
            postgresql_where=sa.text("token_hash IS NOT NULL"),
        ),
        # A definition has one switch for people's starts and one for programs'.
        sa.Index(
            "uq_triggers_switch",
            "workspace",
            "definition",
            "kind",
            unique=True,
            postgresql_where=sa.text("kind IN ('manual', 'api')"),
        ),
        sa.Index(
            "uq_triggers_form",
            "workspace",
            sa.text("(config ->> 'form')"),
            unique=True,
            postgresql_where=sa.text("kind = 'form'"),
        ),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace: str
    definition: str
    kind: TriggerKind = Field(default=TriggerKind.EVENT, sa_type=enum_type(TriggerKind))
    event_type: str | None = None
    where: str | None = None
    input: dict[str, Any] = Field(default_factory=dict, sa_type=JSON_TEXT)
    config: dict[str, Any] = Field(default_factory=dict, sa_type=JSON_TEXT)
    enabled: bool = True
    token_hash: str | None = None
    created_at: datetime = Field(default_factory=now)
    updated_at: datetime = Field(default_factory=now)
    last_fired_at: datetime | None = None
    next_due_at: datetime | None = None
    last_error: str | None = None
    rejected: int = 0
    last_rejected_at: datetime | None = None
    last_rejection: str | None = None
