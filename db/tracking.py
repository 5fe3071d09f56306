"""What a request for a mail's pixel or link does, in one transaction."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from db import mail_messages
from db.events import Published
from db.lead_events import LeadEventKind
from db.mail_hits import HitKind, MailHit
from db.mail_links import MailLink
from db.mail_messages import MailMessage
from db.mail_outcomes import subject_of, tell
from schemas.inbound_mail import clean
from schemas.scanners import why_bot

# The same again within this time counts once.
AGAIN = timedelta(minutes=10)
MAX_AGENT = 300
# A mail that is being sent has left at most this long after its claim, as far as one knows.
_IN_DOUBT = timedelta(seconds=10)


async def record_open(
    session: AsyncSession,
    tracking_id: str,
    *,
    method: str,
    headers: Mapping[str, str],
    at: datetime,
    correlation_id: str | None = None,
) -> Published | None:
    """Keep a request for a mail's pixel; one of a person opens the mail.

    `headers` has lower-case names. Nothing happens for an unknown id. Gives what is left to be
    done after the commit.
    """
    mail = await mail_messages.by_tracking_id(session, tracking_id)
    if mail is None or not await _count(session, mail, HitKind.OPENED, method, headers, at):
        return None
    return await _tell(session, mail, LeadEventKind.OPENED, at, "", {}, correlation_id)


async def record_click(
    session: AsyncSession,
    link: MailLink,
    *,
    method: str,
    headers: Mapping[str, str],
    at: datetime,
    correlation_id: str | None = None,
) -> Published | None:
    """Keep a request for a mail's link; one of a person is a click."""
    mail = await session.get(MailMessage, link.message_id)
    if mail is None or not await _count(
        session, mail, HitKind.CLICKED, method, headers, at, link.id
    ):
        return None
    data = {"url": link.url, "link": link.position}
    return await _tell(
        session, mail, LeadEventKind.CLICKED, at, f":{link.position}", data, correlation_id
    )


async def _count(
    session: AsyncSession,
    mail: MailMessage,
    kind: HitKind,
    method: str,
    headers: Mapping[str, str],
    at: datetime,
    link_id: str | None = None,
) -> bool:
    """Store a request; False for one that counts for nothing."""
    sent_at = mail.sent_at
    if sent_at is None and mail.claimed_at is not None:
        sent_at = mail.claimed_at + _IN_DOUBT
    bot = why_bot(method, headers, at=at, sent_at=sent_at)
    session.add(
        MailHit(
            workspace=mail.workspace,
            message_id=mail.id,
            kind=kind,
            link_id=link_id,
            at=at,
            bot=bot,
            user_agent=clean(headers.get("user-agent"), MAX_AGENT),
        )
    )
    return bot is None


async def _tell(
    session: AsyncSession,
    mail: MailMessage,
    kind: LeadEventKind,
    at: datetime,
    what: str,
    data: dict[str, Any],
    correlation_id: str | None,
) -> Published | None:
    subject = await subject_of(session, mail)
    period = int(at.timestamp() // AGAIN.total_seconds())
    told = await tell(
        session,
        subject,
        kind,
        key=f"{mail.id}{what}:{period}",
        at=at,
        data=data,
        correlation_id=correlation_id,
    )
    name = "opened_at" if kind is LeadEventKind.OPENED else "clicked_at"
    statement = (
        sa.update(MailMessage)
        .where(col(MailMessage.id) == mail.id, sa.column(name).is_(None))
        .values({name: at})
        .execution_options(synchronize_session=False)
    )
    await session.exec(statement)
    return told
