"""Tables of events: what came, which runs wait for what, and what is still to be delivered."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from db.base import JSON_TEXT, now


class StoredEvent(SQLModel, table=True):
    """One event, stored once: `id` is its sender's and unique for workspace and source.

    `seq` grows in the order of receipt among events of one type and key. `matched` counts the
    waiting runs that it met, `started` the runs that it started.
    """

    __tablename__ = "events"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        sa.UniqueConstraint("workspace", "source", "id"),
        sa.Index("ix_events_topic", "workspace", "type", "key", "seq"),
        sa.Index("ix_events_received", "workspace", "received_at", "seq"),
    )

    seq: int | None = Field(
        default=None,
        sa_column=sa.Column(sa.BigInteger, sa.Identity(always=True), primary_key=True),
    )
    workspace: str
    id: str
    source: str
    type: str
    key: str
    data: Any = Field(default=None, sa_type=JSON_TEXT, nullable=True)
    time: datetime
    received_at: datetime = Field(default_factory=now)
    matched: int = 0
    started: int = 0


class EventWait(SQLModel, table=True):
    """A run's interest in the events of a type and key; `step` is the path of the waiting step.

    There is no foreign key to the run: a run may wait before its row is there.
    """

    __tablename__ = "event_waits"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        sa.Index(
            "ix_event_waits_topic", "workspace", "type", "key", postgresql_where=sa.text("open")
        ),
    )

    run_id: str = Field(primary_key=True)
    path: str = Field(primary_key=True)
    step: str
    workspace: str
    workflow_id: str
    type: str
    key: str
    open: bool = True
    created_at: datetime = Field(default_factory=now)


class EventDelivery(SQLModel, table=True):
    """An event on its way to a run, which gets it once however many of its steps wait for it.

    `due_at` is when the next attempt may be made; whoever takes the row moves it on.
    """

    __tablename__ = "event_deliveries"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        sa.Index(
            "ix_event_deliveries_due",
            "due_at",
            postgresql_where=sa.text("delivered_at IS NULL"),
        ),
    )

    event_seq: int = Field(
        sa_column=sa.Column(
            sa.BigInteger, sa.ForeignKey("events.seq", ondelete="CASCADE"), primary_key=True
        )
    )
    run_id: str = Field(primary_key=True)
    workspace: str
    workflow_id: str
    path: str
    due_at: datetime
    delivered_at: datetime | None = None
