"""The ledger of effects that must not happen twice: one row a step key, written before the effect.

Mails have their row in `mail_messages` instead; both are settled here when an operator decides.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field, SQLModel, col
from sqlmodel.ext.asyncio.session import AsyncSession

from db.base import JSON_TEXT, clean_text, enum_type, now
from db.mail_messages import MailMessage, MailState

# What a step is told of an effect that an operator knows to have happened.
MARKED_SENT = "marked_sent"


class DeliveryState(StrEnum):
    """What is known of an effect.

    `sending`: begun, or about to; whoever finds it so does not know more. `sent`: it happened.
    `unknown`: parked until an operator decides. `failed`: it has not happened, and may be tried.
    """

    SENDING = "sending"
    SENT = "sent"
    UNKNOWN = "unknown"
    FAILED = "failed"


class Delivery(SQLModel, table=True):
    """The effect of one step with `delivery: at_most_once`.

    `reference` is what the other side knows it by: the request's Idempotency-Key. `attempts`
    counts claims. `result` is what the step was given.
    """

    __tablename__ = "deliveries"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        sa.Index(None, "workspace", "created_at", "step_key"),
        sa.Index("ix_deliveries_run", "run_id"),
    )

    step_key: str = Field(primary_key=True)
    workspace: str
    run_id: str
    definition: str
    step_path: str
    action: str
    reference: str
    state: DeliveryState = Field(default=DeliveryState.SENDING, sa_type=enum_type(DeliveryState))
    attempts: int = 1
    result: dict[str, Any] | None = Field(default=None, sa_type=JSON_TEXT)
    error: str | None = None
    claimed_at: datetime = Field(default_factory=now)
    sent_at: datetime | None = None
    created_at: datetime = Field(default_factory=now)

    @property
    def id(self) -> str:
        """What its dead letter is about."""
        return self.step_key


async def claim(session: AsyncSession, new: Delivery) -> Delivery | None:
    """Claim an effect for this attempt: None once it may begin, when the transaction is committed.

    Else gives the row that is in the way, locked: it is `sending`, `unknown` or `sent`.
    """
    inserting = insert(Delivery).values(new.model_dump())
    statement = inserting.on_conflict_do_update(
        index_elements=["step_key"],
        set_={
            "state": DeliveryState.SENDING,
            "attempts": col(Delivery.attempts) + 1,
            "claimed_at": inserting.excluded.claimed_at,
            "error": None,
        },
        where=col(Delivery.state) == DeliveryState.FAILED,
    ).returning(col(Delivery.step_key))
    if (await (await session.connection()).execute(statement)).first() is not None:
        return None
    return await find(session, new.step_key)


async def find(session: AsyncSession, step_key: str) -> Delivery | None:
    """Give the row of a step key, locked until the transaction ends."""
    return await session.get(Delivery, step_key, with_for_update=True, populate_existing=True)


async def close(
    session: AsyncSession,
    step_key: str,
    state: DeliveryState,
    *,
    result: dict[str, Any] | None = None,
    error: str | None = None,
) -> None:
    """Say what became of a claimed effect; one that is sent stays sent."""
    values: dict[str, Any] = {"state": state, "error": clean_text(error)}
    if state is DeliveryState.SENT:
        values |= {"result": result, "sent_at": now()}
    statement = (
        sa.update(Delivery)
        .where(col(Delivery.step_key) == step_key, col(Delivery.state) != DeliveryState.SENT)
        .values(values)
        .execution_options(synchronize_session=False)
    )
    await session.exec(statement)


async def decide(
    session: AsyncSession, subject_id: str, *, sent: bool, output: dict[str, Any]
) -> bool:
    """Settle a parked effect, of a mail or another: it was sent, or may be tried again.

    `output` adds to what the step is given where it was sent. False where nothing is parked.
    """
    mail = await session.get(MailMessage, subject_id, with_for_update=True, populate_existing=True)
    if mail is not None:
        return _decide_mail(session, mail, sent=sent, output=output)
    row = await find(session, subject_id)
    if row is None or row.state is not DeliveryState.UNKNOWN:
        return False
    row.state = DeliveryState.SENT if sent else DeliveryState.FAILED
    if sent:
        row.result, row.sent_at = {**output, "delivery": MARKED_SENT}, now()
    session.add(row)
    return True


def _decide_mail(
    session: AsyncSession, mail: MailMessage, *, sent: bool, output: dict[str, Any]
) -> bool:
    if mail.state is not MailState.UNKNOWN:
        return False
    mail.state = MailState.SENT if sent else MailState.WAITING
    if sent:
        known = {
            "message_id": mail.message_id,
            "to": [mail.to_address],
            "subject": mail.subject or "",
            "accepted": [mail.to_address],
        }
        mail.result, mail.sent_at = {**known, **output, "delivery": MARKED_SENT}, now()
    session.add(mail)
    return True
