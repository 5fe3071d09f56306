"""What one click on a mail's unsubscribe link does, in one transaction."""

from sqlmodel.ext.asyncio.session import AsyncSession

from db import leads, mail_messages, suppressions
from db.base import now
from db.suppressions import SuppressionReason


async def unsubscribe(session: AsyncSession, tracking_id: str) -> bool:
    """Suppress the address that a mail went to, and note it on the mail and its lead.

    Doing it twice is the same as once. False, and nothing done, for an unknown id.
    """
    mail = await mail_messages.by_tracking_id(session, tracking_id, lock=True)
    if mail is None:
        return False
    moment = now()
    await suppressions.add(
        session,
        mail.workspace,
        mail.to_address,
        SuppressionReason.UNSUBSCRIBE,
        source=f"mail:{mail.id}",
    )
    if mail.unsubscribed_at is None:
        mail.unsubscribed_at = moment
        session.add(mail)
    lead_id = mail.lead_id
    if lead_id is None:
        lead = await leads.find_by_email(session, mail.workspace, mail.to_address)
        lead_id = None if lead is None else lead.id
    if lead_id is not None:
        await leads.add_event(
            session,
            mail.workspace,
            lead_id,
            leads.LeadEventKind.UNSUBSCRIBED,
            at=moment,
            data={"message_id": mail.message_id},
            run_id=mail.run_id,
            step_path=mail.step_path,
            key=mail.message_id,
        )
    return True
