"""Leads: people that runs are about. What happened to them is in `db.lead_events`."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import JSON_BINARY, now
from db.ids import new_id
from db.lead_events import LeadEvent, LeadEventKind, add_event, events, has_event
from db.pages import DEFAULT_PAGE, Page, cut, decode_cursor, page_size
from schemas.errors import NotFoundError

__all__ = [
    "Lead",
    "LeadEvent",
    "LeadEventKind",
    "add_event",
    "events",
    "find_by_email",
    "get",
    "has_event",
    "list_page",
    "normalise_email",
    "set_status_and_fields",
    "upsert",
]


class Lead(SQLModel, table=True):
    """One lead; `fields` holds all else that forms and steps have stored about it."""

    __tablename__ = "leads"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        sa.UniqueConstraint("workspace", "email"),
        sa.Index(None, "workspace", "created_at", "id"),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace: str
    email: str
    name: str | None = None
    company: str | None = None
    status: str = "new"
    fields: dict[str, Any] = Field(default_factory=dict, sa_type=JSON_BINARY)
    last_email_sent_at: datetime | None = None
    last_email_opened_at: datetime | None = None
    last_replied_at: datetime | None = None
    last_activity_at: datetime | None = None
    created_at: datetime = Field(default_factory=now)
    updated_at: datetime = Field(default_factory=now)


def normalise_email(email: str) -> str:
    """Return the form in which addresses are compared: trimmed, lower case."""
    return email.strip().lower()


async def get(session: AsyncSession, workspace: str, lead_id: str) -> Lead:
    """Return a lead; raises NotFoundError."""
    statement = select(Lead).where(Lead.id == lead_id, Lead.workspace == workspace)
    lead = (await session.exec(statement)).first()
    if lead is None:
        raise _no_lead(lead_id)
    return lead


async def find_by_email(session: AsyncSession, workspace: str, email: str) -> Lead | None:
    """Return the lead with this address, in whatever case it is written."""
    statement = select(Lead).where(
        Lead.workspace == workspace, Lead.email == normalise_email(email)
    )
    return (await session.exec(statement)).first()


async def upsert(
    session: AsyncSession,
    workspace: str,
    email: str,
    *,
    name: str | None = None,
    company: str | None = None,
    fields: dict[str, Any] | None = None,
) -> Lead:
    """Create the lead with this address or update it.

    What is None stays as it is; `fields` are merged over those stored.
    """
    moment = now()
    row = Lead(
        workspace=workspace,
        email=normalise_email(email),
        name=name,
        company=company,
        fields=fields or {},
        created_at=moment,
        updated_at=moment,
    )
    inserting = insert(Lead).values(row.model_dump())
    statement = (
        inserting.on_conflict_do_update(
            index_elements=["workspace", "email"],
            set_={
                "name": sa.func.coalesce(inserting.excluded.name, col(Lead.name)),
                "company": sa.func.coalesce(inserting.excluded.company, col(Lead.company)),
                "fields": col(Lead.fields).op("||")(inserting.excluded.fields),
                "updated_at": moment,
            },
        )
        .returning(Lead)
        .execution_options(populate_existing=True)
    )
    return (await session.exec(statement)).scalars().one()


async def set_status_and_fields(
    session: AsyncSession,
    workspace: str,
    lead_id: str,
    status: str | None = None,
    fields: dict[str, Any] | None = None,
    *,
    run_id: str | None = None,
    step_path: str | None = None,
) -> Lead:
    """Set what is given: `fields` are merged; a changed status is noted as an event.

    Raises NotFoundError. Doing it twice is the same as once.
    """
    statement = (
        select(Lead)
        .where(Lead.id == lead_id, Lead.workspace == workspace)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    lead = (await session.exec(statement)).first()
    if lead is None:
        raise _no_lead(lead_id)
    moment = now()
    if fields:
        lead.fields = {**lead.fields, **fields}
    if status is not None and status != lead.status:
        session.add(
            LeadEvent(
                workspace=workspace,
                lead_id=lead_id,
                kind=LeadEventKind.STATUS_CHANGED,
                at=moment,
                data={"from": lead.status, "to": status},
                run_id=run_id,
                step_path=step_path,
            )
        )
        lead.status = status
        lead.last_activity_at = moment
    lead.updated_at = moment
    session.add(lead)
    await session.flush()
    return lead


async def list_page(
    session: AsyncSession,
    workspace: str,
    *,
    status: str | None = None,
    cursor: str | None = None,
    limit: int = DEFAULT_PAGE,
) -> Page[Lead]:
    """Return a page of leads, newest first; InputError for a bad cursor or limit."""
    statement = select(Lead).where(Lead.workspace == workspace)
    if status is not None:
        statement = statement.where(Lead.status == status)
    if cursor is not None:
        place = sa.tuple_(col(Lead.created_at), col(Lead.id))
        statement = statement.where(place < sa.tuple_(*decode_cursor(cursor)))
    statement = statement.order_by(col(Lead.created_at).desc(), col(Lead.id).desc())
    return cut((await session.exec(statement.limit(page_size(limit) + 1))).all(), limit)


def _no_lead(lead_id: str) -> NotFoundError:
    return NotFoundError(f"there is no lead {lead_id!r}")
