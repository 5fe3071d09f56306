"""What a received mail does, in one transaction: it is kept, matched, judged and told."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from db import leads, mail_inboxes, suppressions
from db.base import now
from db.events import Published
from db.inbound_table import InboundMail
from db.lead_events import LeadEventKind
from db.mail_inboxes import MailInbox
from db.mail_messages import MailMessage, MailState
from db.mail_outcomes import Subject, subject_of, tell
from db.run_table import OPEN, Run
from db.suppressions import SuppressionReason
from schemas.inbound_mail import Failure, InboundKind, Received

# A bounce without the mail that it is about is held to be about one sent to its address since.
BY_ADDRESS = timedelta(days=14)
_SENT = (MailState.SENDING, MailState.SENT, MailState.UNKNOWN)


@dataclass
class Taken:
    """What became of a received mail; a `duplicate` came before, and changed nothing.

    `forward` is what is left to be done after the commit.
    """

    mail: InboundMail
    duplicate: bool = False
    suppressed: list[str] = field(default_factory=list)
    forward: list[Published] = field(default_factory=list)


async def take(
    session: AsyncSession,
    inbox: MailInbox,
    received: Received,
    *,
    correlation_id: str | None = None,
) -> Taken:
    """Keep a received mail once by its Message-ID, and do what follows from it.

    A reply, an automatic answer and a bounce are noted with the mail that they are about, its lead
    and the runs that wait for it. An address that fails for good, or complains, is suppressed.
    """
    row = InboundMail(
        workspace=inbox.workspace,
        inbox=inbox.name,
        message_id=received.identity,
        kind=received.kind,
        from_address=received.from_address,
        subject=received.subject,
    )
    storing = (
        insert(InboundMail)
        .values(row.model_dump())
        .on_conflict_do_nothing(index_elements=["workspace", "message_id"])
        .returning(InboundMail)
    )
    stored = (await session.exec(storing)).scalars().first()
    if stored is None:
        first = select(InboundMail).where(
            InboundMail.workspace == row.workspace, InboundMail.message_id == row.message_id
        )
        return Taken((await session.exec(first)).one(), duplicate=True)
    await mail_inboxes.note_received(session, inbox.id)
    taken = Taken(stored)
    at = min(received.at or now(), now())
    if received.kind in (InboundKind.BOUNCE, InboundKind.COMPLAINT):
        await _take_report(session, taken, received, at, correlation_id)
    else:
        await _take_answer(session, taken, received, at, correlation_id)
    session.add(stored)
    await session.flush()
    return taken


async def _take_answer(
    session: AsyncSession,
    taken: Taken,
    received: Received,
    at: datetime,
    correlation_id: str | None,
) -> None:
    row = taken.mail
    mail = await _referred(session, row.workspace, received.references)
    subject: Subject | None = None
    if mail is not None:
        if _is_own(mail, received):
            row.kind = InboundKind.UNMATCHED
            return
        subject, row.matched_by = await subject_of(session, mail), "message_id"
    elif received.kind in (InboundKind.REPLY, InboundKind.AUTO_REPLY):
        mail, subject = await _of_open_run(session, row.workspace, received.from_address)
        row.matched_by = None if subject is None else "run"
    if subject is None:
        row.kind = InboundKind.UNMATCHED
        return
    _note(row, mail, subject)
    row.text = received.text
    kinds = {
        InboundKind.REPLY: LeadEventKind.REPLIED,
        InboundKind.AUTO_REPLY: LeadEventKind.AUTO_REPLIED,
    }
    if row.kind not in kinds:
        return
    data = {"inbound_id": row.id, "subject": row.subject, "text": (row.text or "")[:2000]}
    if row.from_address and leads.normalise_email(row.from_address) != subject.address:
        data["from"] = row.from_address
    told = await tell(
        session,
        subject,
        kinds[row.kind],
        key=row.id,
        at=at,
        data=data,
        correlation_id=correlation_id,
    )
    taken.forward += [told] if told else []
    if mail is not None and row.kind is InboundKind.REPLY:
        await _mark(session, mail, "replied_at", at)


async def _take_report(
    session: AsyncSession,
    taken: Taken,
    received: Received,
    at: datetime,
    correlation_id: str | None,
) -> None:
    """Note each failure that is of a mail of ours; anybody can write a report, about anyone."""
    row = taken.mail
    known = await _referred(session, row.workspace, received.references)
    # In one order, or two reports could wait for each other.
    failures = sorted(received.failures, key=lambda one: one.recipient or "")
    for place, failure in enumerate(failures):
        mail, address, how = await _failed(session, row.workspace, known, failure)
        if mail is None or address is None:
            continue
        subject = await subject_of(session, mail)
        if row.mail_id is None:
            _note(row, mail, subject)
            row.matched_by, row.recipient = how, address
            row.severity = failure.severity if row.kind is InboundKind.BOUNCE else None
            row.status, row.diagnostic = failure.status, failure.diagnostic
        complaint = row.kind is InboundKind.COMPLAINT
        final = complaint or failure.severity == "hard"
        if final:
            reason = SuppressionReason.COMPLAINT if complaint else SuppressionReason.BOUNCE
            source = f"mail:{mail.id}"
            if await suppressions.add(session, row.workspace, address, reason, source=source):
                taken.suppressed.append(address)
        data = {
            "inbound_id": row.id,
            "recipient": address,
            "severity": None if complaint else failure.severity,
            "status": failure.status,
            "diagnostic": failure.diagnostic,
        }
        told = await tell(
            session,
            subject,
            LeadEventKind.COMPLAINED if complaint else LeadEventKind.BOUNCED,
            key=f"{row.id}:{place}",
            at=at,
            data=data,
            correlation_id=correlation_id,
        )
        taken.forward += [told] if told else []
        if final and not complaint:
            await _mark(session, mail, "bounced_at", at)
    if row.mail_id is None:
        row.kind = InboundKind.UNMATCHED


async def _failed(
    session: AsyncSession, workspace: str, known: MailMessage | None, failure: Failure
) -> tuple[MailMessage | None, str | None, str]:
    """Find the mail and the recipient of a failure; the recipient must have been one of it."""
    address = leads.normalise_email(failure.recipient) if failure.recipient else None
    if known is not None:
        if address is None or address in _recipients(known):
            return known, address or known.to_address, "message_id"
        return None, None, ""
    if address is None:
        return None, None, ""
    statement = (
        select(MailMessage)
        .where(
            MailMessage.workspace == workspace,
            MailMessage.to_address == address,
            col(MailMessage.state).in_(_SENT),
            col(MailMessage.created_at) > now() - BY_ADDRESS,
        )
        .order_by(col(MailMessage.created_at).desc())
        .limit(1)
    )
    return (await session.exec(statement)).first(), address, "address"


def _recipients(mail: MailMessage) -> set[str]:
    accepted = (mail.result or {}).get("accepted", [])
    return {mail.to_address, *(leads.normalise_email(one) for one in accepted)}


async def _referred(
    session: AsyncSession, workspace: str, references: list[str]
) -> MailMessage | None:
    """Give the mail that the nearest of the references names; None where none is ours."""
    if not references:
        return None
    statement = select(MailMessage).where(
        MailMessage.workspace == workspace, col(MailMessage.message_id).in_(references)
    )
    found = {mail.message_id: mail for mail in (await session.exec(statement)).all()}
    return next((found[one] for one in references if one in found), None)


async def _of_open_run(
    session: AsyncSession, workspace: str, from_address: str | None
) -> tuple[MailMessage | None, Subject | None]:
    """Give the last mail of an open run to the lead with this address, or else its last run."""
    lead = await leads.find_by_email(session, workspace, from_address) if from_address else None
    if lead is None:
        return None, None
    runs = select(Run.id).where(
        Run.workspace == workspace, Run.lead_id == lead.id, col(Run.status).in_(OPEN)
    )
    mails = (
        select(MailMessage)
        .where(
            MailMessage.lead_id == lead.id,
            col(MailMessage.run_id).in_(runs),
            col(MailMessage.state).in_(_SENT),
        )
        .order_by(col(MailMessage.claimed_at).desc())
        .limit(1)
    )
    mail = (await session.exec(mails)).first()
    if mail is not None:
        return mail, await subject_of(session, mail)
    last = (
        select(Run)
        .where(Run.workspace == workspace, Run.lead_id == lead.id, col(Run.status).in_(OPEN))
        .order_by(col(Run.created_at).desc())
        .limit(1)
    )
    run = (await session.exec(last)).first()
    if run is None:
        return None, None
    return None, Subject(
        workspace=workspace,
        address=lead.email,
        lead_id=lead.id,
        run_id=run.id,
        definition=run.definition,
    )


def _is_own(mail: MailMessage, received: Received) -> bool:
    """True for what a colleague writes in the thread: from the sender's domain, not the lead's."""
    sender = mail.message_id.rstrip(">").rpartition("@")[2].lower()
    domain = (received.from_address or "").rpartition("@")[2].lower()
    return domain == sender and mail.to_address.rpartition("@")[2] != sender


def _note(row: InboundMail, mail: MailMessage | None, subject: Subject) -> None:
    row.mail_id = None if mail is None else mail.id
    row.lead_id, row.run_id, row.step_path = subject.lead_id, subject.run_id, subject.step_path


async def _mark(session: AsyncSession, mail: MailMessage, column: str, at: datetime) -> None:
    statement = (
        sa.update(MailMessage)
        .where(col(MailMessage.id) == mail.id)
        .values({column: sa.func.coalesce(sa.column(column), at)})
        .execution_options(synchronize_session=False)
    )
    await session.exec(statement)
