"""What became of a mail is told twice: to its lead, and to the runs that wait for it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from db import events, leads
from db.events import Published
from db.lead_events import LeadEventKind
from db.mail_messages import MailMessage
from schemas.events import NewEvent

SOURCE = "sojourn/mail"
# What waits and triggers name; a kind that is not here is the lead's alone.
EVENT_TYPES = {
    LeadEventKind.OPENED: "email.opened",
    LeadEventKind.CLICKED: "email.clicked",
    LeadEventKind.REPLIED: "email.replied",
    LeadEventKind.BOUNCED: "email.bounced",
    LeadEventKind.COMPLAINED: "email.complained",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom and which step an outcome is about; `address` is normalised."""

    workspace: str
    address: str
    lead_id: str | None = None
    run_id: str | None = None
    step_path: str | None = None
    definition: str | None = None
    message_id: str | None = None

    def data(self) -> dict[str, Any]:
        """Give what an event says of it; `step` is the id at the end of the path."""
        step = self.step_path.rpartition(".")[2] if self.step_path else None
        return {
            "message_id": self.message_id,
            "run_id": self.run_id,
            "definition": self.definition,
            "step": step,
            "step_path": self.step_path,
        }


async def subject_of(session: AsyncSession, mail: MailMessage) -> Subject:
    """Give whom a mail is about: its lead, else the lead with its address, else only that."""
    lead = None
    if mail.lead_id is None:
        lead = await leads.find_by_email(session, mail.workspace, mail.to_address)
    else:
        lead = await leads.get(session, mail.workspace, mail.lead_id)
    return Subject(
        workspace=mail.workspace,
        address=mail.to_address if lead is None else lead.email,
        lead_id=None if lead is None else lead.id,
        run_id=mail.run_id,
        step_path=mail.step_path,
        definition=mail.definition,
        message_id=mail.message_id,
    )


async def tell(
    session: AsyncSession,
    subject: Subject,
    kind: LeadEventKind,
    *,
    key: str,
    at: datetime,
    data: dict[str, Any],
    correlation_id: str | None = None,
) -> Published | None:
    """Publish an outcome under the lead's address and note it with the lead, once for a `key`.

    Gives what is left to be done after the commit; None if there is nothing, or `key` was told.
    """
    published: Published | None = None
    # The topic's lock is taken before the lead's row, as everywhere.
    if kind in EVENT_TYPES:
        event = NewEvent(
            id=f"{kind.value}:{key}",
            source=SOURCE,
            type=EVENT_TYPES[kind],
            key=subject.address,
            data=subject.data() | data,
            time=at,
        )
        published = await events.publish(
            session, subject.workspace, event, correlation_id=correlation_id
        )
        if published.duplicate:
            return None
    if subject.lead_id is not None:
        await leads.add_event(
            session,
            subject.workspace,
            subject.lead_id,
            kind,
            at=at,
            data={"message_id": subject.message_id} | data,
            run_id=subject.run_id,
            step_path=subject.step_path,
            key=key,
        )
    return published
