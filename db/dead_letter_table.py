"""The table of dead letters; `db.dead_letters` has the queries."""

from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from db.base import enum_type, now
from db.ids import new_id


class LetterKind(StrEnum):
    """What has failed for good: a run, the send of a mail, or the delivery of a webhook.

    A `blocked` run has not failed: Temporal cannot get it on until somebody mends the fault.
    """

    RUN = "run"
    SEND = "send"
    DELIVERY = "delivery"
    BLOCKED = "blocked"


class LetterState(StrEnum):
    """What became of a dead letter; the last three are final.

    `redriving`: a new run was ordered and has not ended. `redriven`: it has. When it has failed,
    it has a dead letter of its own. `resolved`: an operator has decided about a parked send.
    """

    OPEN = "open"
    REDRIVING = "redriving"
    REDRIVEN = "redriven"
    RESOLVED = "resolved"
    DISCARDED = "discarded"


class DeadLetter(SQLModel, table=True):
    """One thing that failed for good.

    `subject_id` is the id of the run, of the mail or of the webhook's delivery; `run_id` that of
    the run, where there is one. `redrives` counts how often it was tried again, also by the dead
    letters before it. `reason` is why it was discarded, `actor` who did the last deed.
    """

    __tablename__ = "dead_letters"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        sa.UniqueConstraint("kind", "subject_id"),
        sa.Index("ix_dead_letters_state", "workspace", "state", "created_at", "id"),
        sa.Index("ix_dead_letters_created", "workspace", "created_at", "id"),
        sa.Index(
            "ix_dead_letters_fingerprint",
            "workspace",
            "fingerprint",
            "state",
            "created_at",
            "id",
        ),
        sa.Index("ix_dead_letters_run", "run_id", postgresql_where=sa.text("run_id IS NOT NULL")),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace: str
    kind: LetterKind = Field(sa_type=enum_type(LetterKind))
    definition: str
    version: int | None = None
    subject_id: str
    run_id: str | None = None
    step_path: str | None = None
    code: str
    message: str
    fingerprint: str
    state: LetterState = Field(default=LetterState.OPEN, sa_type=enum_type(LetterState))
    redrives: int = 0
    new_run_id: str | None = None
    reason: str | None = None
    actor: str | None = None
    created_at: datetime = Field(default_factory=now)
    updated_at: datetime = Field(default_factory=now)
    settled_at: datetime | None = None
