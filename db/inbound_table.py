"""The table of received mail; `db.mail_intake` says what becomes of it."""

from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import enum_type, now
from db.ids import new_id
from db.pages import DEFAULT_PAGE, Page, cut, decode_cursor, page_size
from schemas.inbound_mail import InboundKind


class InboundMail(SQLModel, table=True):
    """One received mail, kept once by its Message-ID.

    `mail_id` is the sent mail that it answers or tells of, `matched_by` how that was found
    (`message_id`, `address`, `run`); both are None where it is none of ours, and then nothing of
    its text is kept. `severity`, `status` (RFC 3463) and `recipient` are those of a bounce.
    """

    __tablename__ = "mail_inbound"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        sa.UniqueConstraint("workspace", "message_id"),
        sa.Index(None, "workspace", "created_at", "id"),
        sa.Index("ix_mail_inbound_mail", "mail_id"),
        sa.Index("ix_mail_inbound_lead", "lead_id"),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace: str
    inbox: str
    message_id: str
    kind: InboundKind = Field(sa_type=enum_type(InboundKind))
    from_address: str | None = None
    subject: str | None = None
    text: str | None = None
    mail_id: str | None = Field(default=None, foreign_key="mail_messages.id", ondelete="SET NULL")
    lead_id: str | None = Field(default=None, foreign_key="leads.id", ondelete="SET NULL")
    run_id: str | None = None
    step_path: str | None = None
    matched_by: str | None = None
    recipient: str | None = None
    severity: str | None = None
    status: str | None = None
    diagnostic: str | None = None
    created_at: datetime = Field(default_factory=now)


async def list_page(
    session: AsyncSession,
    workspace: str,
    *,
    kind: InboundKind | None = None,
    cursor: str | None = None,
    limit: int = DEFAULT_PAGE,
) -> Page[InboundMail]:
    """Give a page of received mail, newest first; InputError for a bad cursor or limit."""
    statement = select(InboundMail).where(InboundMail.workspace == workspace)
    if kind is not None:
        statement = statement.where(InboundMail.kind == kind)
    if cursor is not None:
        place = sa.tuple_(col(InboundMail.created_at), col(InboundMail.id))
        statement = statement.where(place < sa.tuple_(*decode_cursor(cursor)))
    statement = statement.order_by(
        col(InboundMail.created_at).desc(), col(InboundMail.id).desc()
    ).limit(page_size(limit) + 1)
    return cut((await session.exec(statement)).all(), limit)
