"""What happened to leads: mails sent and opened, replies, bookings."""

from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import JSON_TEXT, enum_type, now
from db.ids import new_id
from db.pages import DEFAULT_PAGE, Page, cut, decode_cursor, page_size
from schemas.errors import NotFoundError


class LeadEventKind(StrEnum):
    """What can happen to a lead. Neither an opened mail nor an automatic answer is a reply."""

    SUBMITTED = "submitted"
    SENT = "sent"
    OPENED = "opened"
    CLICKED = "clicked"
    REPLIED = "replied"
    AUTO_REPLIED = "auto_replied"
    BOOKED = "booked"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"
    STATUS_CHANGED = "status_changed"


# The column of the lead that an event of this kind moves, beside last_activity_at.
_LAST = {
    LeadEventKind.SENT: "last_email_sent_at",
    LeadEventKind.OPENED: "last_email_opened_at",
    LeadEventKind.REPLIED: "last_replied_at",
}


class LeadEvent(SQLModel, table=True):
    """One event: it happened `at`, and was stored at `created_at`.

    `key` (a provider's id, a Message-ID) is unique for lead and kind, so that a second delivery of
    the same event counts once.
    """

    __tablename__ = "lead_events"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        sa.Index("ix_lead_events_lead", "lead_id", "kind", "at"),
        sa.Index("ix_lead_events_created", "lead_id", "created_at", "id"),
        sa.Index("ix_lead_events_kind", "workspace", "kind", "at", postgresql_include=["lead_id"]),
        sa.Index(
            "uq_lead_events_key",
            "lead_id",
            "kind",
            "key",
            unique=True,
            postgresql_where=sa.text("key IS NOT NULL"),
        ),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace: str
    lead_id: str = Field(foreign_key="leads.id", ondelete="CASCADE")
    kind: LeadEventKind = Field(sa_type=enum_type(LeadEventKind))
    at: datetime
    data: dict[str, Any] | None = Field(default=None, sa_type=JSON_TEXT)
    run_id: str | None = None
    step_path: str | None = None
    key: str | None = None
    created_at: datetime = Field(default_factory=now)


async def add_event(
    session: AsyncSession,
    workspace: str,
    lead_id: str,
    kind: LeadEventKind,
    *,
    at: datetime,
    data: dict[str, Any] | None = None,
    run_id: str | None = None,
    step_path: str | None = None,
    key: str | None = None,
) -> bool:
    """Store an event and move the lead's last_… columns, never back in time.

    Returns False, and changes nothing, if an event with this `key` is there; raises NotFoundError
    for an unknown lead.
    """
    leads = SQLModel.metadata.tables["leads"]
    known = sa.and_(leads.c.id == lead_id, leads.c.workspace == workspace)
    row = LeadEvent(
        workspace=workspace,
        lead_id=lead_id,
        kind=kind,
        at=at,
        data=data,
        run_id=run_id,
        step_path=step_path,
        key=key,
    )
    types = SQLModel.metadata.tables["lead_events"].c
    values = row.model_dump()
    source = sa.select(*(sa.literal(value, types[name].type) for name, value in values.items()))
    statement = (
        insert(LeadEvent)
        .from_select(list(values), source.where(sa.exists().where(known)))
        .on_conflict_do_nothing(
            index_elements=["lead_id", "kind", "key"],
            index_where=sa.text("key IS NOT NULL"),
        )
        .returning(col(LeadEvent.id))
    )
    if (await session.exec(statement)).first() is None:
        if (await session.exec(select(leads.c.id).where(known))).first() is None:
            raise NotFoundError(f"there is no lead {lead_id!r}")
        return False
    moved = ["last_activity_at"] + ([_LAST[kind]] if kind in _LAST else [])
    changes = {name: sa.func.greatest(leads.c[name], at) for name in moved}
    await session.exec(sa.update(leads).where(known).values(changes))
    return True


async def has_event(
    session: AsyncSession,
    workspace: str,
    lead_id: str,
    kind: LeadEventKind,
    *,
    since: datetime | None = None,
    run_id: str | None = None,
    step: str | None = None,
) -> bool:
    """Tell whether an event of `kind` happened: at or after `since`, in a run, of a step.

    `step` is a step's id or its whole path.
    """
    statement = select(LeadEvent.id).where(
        LeadEvent.workspace == workspace,
        LeadEvent.lead_id == lead_id,
        LeadEvent.kind == kind,
    )
    if since is not None:
        statement = statement.where(LeadEvent.at >= since)
    if run_id is not None:
        statement = statement.where(LeadEvent.run_id == run_id)
    if step is not None:
        path = col(LeadEvent.step_path)
        statement = statement.where(
            sa.or_(path == step, path.endswith(f".{step}", autoescape=True))
        )
    return (await session.exec(statement.limit(1))).first() is not None


async def events(
    session: AsyncSession,
    workspace: str,
    lead_id: str,
    *,
    cursor: str | None = None,
    limit: int = DEFAULT_PAGE,
) -> Page[LeadEvent]:
    """Return a page of a lead's events, the last stored first; an unknown lead has none."""
    statement = select(LeadEvent).where(
        LeadEvent.workspace == workspace, LeadEvent.lead_id == lead_id
    )
    if cursor is not None:
        place = sa.tuple_(col(LeadEvent.created_at), col(LeadEvent.id))
        statement = statement.where(place < sa.tuple_(*decode_cursor(cursor)))
    statement = statement.order_by(col(LeadEvent.created_at).desc(), col(LeadEvent.id).desc())
    return cut((await session.exec(statement.limit(page_size(limit) + 1))).all(), limit)
