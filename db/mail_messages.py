"""Mails that steps send: one row a step key, claimed before the send and closed after it."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import JSON_TEXT, enum_type, now
from db.ids import new_id


class MailState(StrEnum):
    """What became of a mail.

    `waiting`: nothing was handed over, another attempt may. `sending`: handed over, or about to
    be; after a crash nobody knows. `suppressed` and `capped`: never sent, on purpose. `unknown`:
    parked, because it may have been delivered.
    """

    WAITING = "waiting"
    SENDING = "sending"
    SENT = "sent"
    SUPPRESSED = "suppressed"
    CAPPED = "capped"
    FAILED = "failed"
    UNKNOWN = "unknown"


CLOSED = frozenset({MailState.SENT, MailState.SUPPRESSED, MailState.CAPPED})


class MailMessage(SQLModel, table=True):
    """One mail of one step.

    `to_address` is the first recipient, normalised. `tracking_id` is random and opaque: links of
    the mail carry it, and it says nothing. `slot_at` is the place that the mail holds in the rate
    of its connection. `result` is what the step was given.
    """

    __tablename__ = "mail_messages"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        sa.UniqueConstraint("step_key"),
        sa.UniqueConstraint("tracking_id"),
        sa.UniqueConstraint("workspace", "message_id"),
        sa.Index(
            "ix_mail_messages_lead",
            "lead_id",
            "claimed_at",
            postgresql_where=sa.text("lead_id IS NOT NULL"),
        ),
        sa.Index(None, "workspace", "created_at", "id"),
        sa.Index("ix_mail_messages_definition", "workspace", "definition", "created_at"),
        sa.Index("ix_mail_messages_run", "run_id"),
        sa.Index("ix_mail_messages_to", "workspace", "to_address", "created_at"),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    workspace: str
    step_key: str
    run_id: str
    definition: str
    step_path: str
    lead_id: str | None = Field(default=None, foreign_key="leads.id", ondelete="SET NULL")
    template: str | None = None
    template_version: int | None = None
    connection: str | None = None
    to_address: str
    message_id: str
    subject: str | None = None
    state: MailState = Field(default=MailState.WAITING, sa_type=enum_type(MailState))
    attempts: int = 0
    slot_at: datetime | None = None
    claimed_at: datetime | None = None
    sent_at: datetime | None = None
    error: str | None = None
    result: dict[str, Any] | None = Field(default=None, sa_type=JSON_TEXT)
    tracking_id: str = Field(default_factory=lambda: secrets.token_urlsafe(16))
    opened_at: datetime | None = None
    clicked_at: datetime | None = None
    replied_at: datetime | None = None
    bounced_at: datetime | None = None
    unsubscribed_at: datetime | None = None
    created_at: datetime = Field(default_factory=now)


@dataclass(frozen=True, slots=True)
class NewMail:
    """What is known of a mail before it is claimed; `to_address` is normalised."""

    step_key: str
    run_id: str
    definition: str
    step_path: str
    to_address: str
    message_id: str
    lead_id: str | None = None
    template: str | None = None
    connection: str | None = None


async def open_message(session: AsyncSession, workspace: str, mail: NewMail) -> MailMessage:
    """Give the row of a step key, made where there is none, locked until the transaction ends.

    A row keeps the Message-ID and the tracking id of its first attempt.
    """
    row = MailMessage(
        workspace=workspace,
        step_key=mail.step_key,
        run_id=mail.run_id,
        definition=mail.definition,
        step_path=mail.step_path,
        lead_id=mail.lead_id,
        template=mail.template,
        connection=mail.connection,
        to_address=mail.to_address,
        message_id=mail.message_id,
    )
    inserting = insert(MailMessage).values(row.model_dump())
    statement = (
        inserting.on_conflict_do_update(
            index_elements=["step_key"],
            # Changes nothing once it is closed, and locks the row in any case.
            set_={
                "to_address": sa.case(
                    (col(MailMessage.state).in_(CLOSED), col(MailMessage.to_address)),
                    else_=inserting.excluded.to_address,
                ),
            },
        )
        .returning(MailMessage)
        .execution_options(populate_existing=True)
    )
    return (await session.exec(statement)).scalars().one()


async def sent_to_lead(
    session: AsyncSession, workspace: str, lead_id: str, *, besides: str, seconds: float
) -> int:
    """Count the mails handed over for a lead in the last `seconds`, besides the row `besides`.

    Locks the lead until the transaction ends: two mails at once must not both see room.
    """
    leads = SQLModel.metadata.tables["leads"]
    locking = sa.select(leads.c.id).where(leads.c.id == lead_id, leads.c.workspace == workspace)
    connection = await session.connection()
    await connection.execute(locking.with_for_update(key_share=True))
    since = sa.func.clock_timestamp() - sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)
    statement = (
        select(sa.func.count())
        .select_from(MailMessage)
        .where(
            MailMessage.workspace == workspace,
            MailMessage.lead_id == lead_id,
            MailMessage.id != besides,
            col(MailMessage.state).in_((MailState.SENDING, MailState.SENT, MailState.UNKNOWN)),
            col(MailMessage.claimed_at) > since,
        )
    )
    return (await session.exec(statement)).one()


async def close_message(
    session: AsyncSession,
    row_id: str,
    state: MailState,
    *,
    result: dict[str, Any] | None = None,
    error: str | None = None,
    slot_at: datetime | None = None,
) -> None:
    """Say what became of a claimed mail; one that is sent stays sent."""
    values: dict[str, Any] = {"state": state, "error": error, "slot_at": slot_at}
    if result is not None:
        values["result"] = result
    if state is MailState.SENT:
        values["sent_at"] = now()
    statement = (
        sa.update(MailMessage)
        .where(col(MailMessage.id) == row_id, col(MailMessage.state) != MailState.SENT)
        .values(values)
    )
    await session.exec(statement)


async def by_tracking_id(
    session: AsyncSession, tracking_id: str, *, lock: bool = False
) -> MailMessage | None:
    """Give the mail that a link of it names, of whatever workspace; None for an unknown id."""
    statement = select(MailMessage).where(MailMessage.tracking_id == tracking_id)
    if lock:
        statement = statement.with_for_update().execution_options(populate_existing=True)
    return (await session.exec(statement)).first()


async def by_message_id(
    session: AsyncSession, workspace: str, message_id: str
) -> MailMessage | None:
    """Give the mail with a Message-ID, in its angle brackets; None for an unknown one."""
    statement = select(MailMessage).where(
        MailMessage.workspace == workspace, MailMessage.message_id == message_id
    )
    return (await session.exec(statement)).first()
