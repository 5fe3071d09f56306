"""The `email` action: one message over SMTP or Gmail, inline or from a stored template."""

import asyncio
import logging
from datetime import UTC, datetime
from email.headerregistry import Address

from sqlalchemy.exc import SQLAlchemyError

from activities import _message
from activities._compose import Composed, Source, compose
from activities._effects import no_books
from activities._email_models import EmailParams, EmailResult, listed
from activities._mail_claim import Addressed, Claim, claim, note_failure
from activities.context import ActionContext
from activities.errors import ActionError
from activities.mail_route import MailRoute, route_of
from activities.registry import action
from db import leads, mail_messages
from db.engine import Database
from db.mail_messages import MailState
from schemas.errors import ErrorCode, SojournError

_RECORD_DELAYS = (0.1, 0.3, 0.6)  # seconds before each new try to record a sent mail
_RECORD_SECONDS = 3.0  # kept free of the attempt's time for recording
_logger = logging.getLogger(__name__)

__all__ = ["EmailParams", "EmailResult", "email"]


@action("email", ledger="own")
async def email(params: EmailParams, context: ActionContext) -> EmailResult:
    """Send one mail over SMTP or Gmail.

    The mail has a row under the step key, claimed before the send and closed after it, and a
    Message-ID made from that key: every attempt carries the same one, and an attempt that finds
    the mail sent gives the earlier result. One window remains: the worker may die after the server
    took the message and before the row is closed. The next attempt then sends it again with the
    same Message-ID, or with `delivery: at_most_once` parks it: raises DELIVERY_UNKNOWN. Closing
    has a short retry of its own and never causes a new send.
    """
    route = await route_of(context.services, context.step.workspace, params.connection)
    sender = _sender(params, route)
    recipients = Addressed(
        *(
            tuple(_message.parse_address(text) for text in listed(field))
            for field in (params.to, params.cc, params.bcc)
        )
    )
    identity = _message.message_id(context.step.key, sender.domain)
    database = context.services.database
    if database is None:
        if context.step.once:
            raise no_books()
        return await _send_unrecorded(params, context, route, sender, recipients, identity)
    found = await claim(database, context, params, route, recipients, identity)
    if isinstance(found, EmailResult):
        return found
    try:
        result = await _hand_over(
            params, context, route, sender, found.recipients, found.message_id, found.composed
        )
    except ActionError as error:
        await note_failure(database, context, route, found.row_id, error)
        raise
    result.left_out = found.left_out
    return await _record(database, context, found, result)


async def _send_unrecorded(
    params: EmailParams,
    context: ActionContext,
    route: MailRoute,
    sender: Address,
    recipients: Addressed,
    identity: str,
) -> EmailResult:
    """Send where there is no database: nothing is remembered, and nobody suppressed."""
    if params.template is not None:
        raise ActionError(
            "stored templates need a database", code=ErrorCode.INVALID_INPUT, retryable=False
        )
    composed = compose(params, Source())
    return await _hand_over(params, context, route, sender, recipients, identity, composed)


async def _hand_over(
    params: EmailParams,
    context: ActionContext,
    route: MailRoute,
    sender: Address,
    recipients: Addressed,
    identity: str,
    composed: Composed,
) -> EmailResult:
    reply_to = params.reply_to or route.reply_to
    message = _message.build(
        _message.Mail(
            message_id=identity,
            sender=sender,
            to=recipients.to,
            cc=recipients.cc,
            reply_to=_message.parse_address(reply_to) if reply_to else None,
            subject=composed.subject,
            text=composed.text,
            html=composed.html,
            headers=composed.headers,
        )
    )
    everyone = recipients.everyone
    delivery = await route.provider.send(
        message,
        sender=sender.addr_spec,
        recipients=everyone,
        seconds=max(context.budget - _RECORD_SECONDS, context.budget / 2),
    )
    return EmailResult(
        message_id=identity,
        to=[one.addr_spec for one in recipients.to],
        subject=str(message["Subject"]),
        accepted=[one for one in everyone if one not in delivery.refused],
        refused=delivery.refused,
        response=delivery.response,
        provider_id=delivery.provider_id,
    )


async def _record(
    database: Database, context: ActionContext, claimed: Claim, result: EmailResult
) -> EmailResult:
    """Close the mail's row, with the lead's `sent` event.

    A failure is logged and told, since raising would send again.
    """
    step = context.step
    done = result.model_copy(update={"recorded": True if step.lead_id else None})
    at = datetime.now(UTC)

    async def store() -> None:
        async with database.session() as session:
            await mail_messages.close_message(
                session, claimed.row_id, MailState.SENT, result=done.model_dump(mode="json")
            )
            if step.lead_id is not None:
                await leads.add_event(
                    session,
                    step.workspace,
                    step.lead_id,
                    leads.LeadEventKind.SENT,
                    at=at,
                    data={
                        "message_id": result.message_id,
                        "to": result.to,
                        "subject": result.subject,
                        "refused": result.refused,
                    },
                    run_id=step.run_id,
                    step_path=step.path,
                    key=result.message_id,
                )

    try:
        async with asyncio.timeout(_RECORD_SECONDS):
            for delay in _RECORD_DELAYS:
                try:
                    await store()
                except (SojournError, SQLAlchemyError, OSError):
                    await asyncio.sleep(delay)
                else:
                    return done
            await store()
    except Exception:
        _logger.exception("mail %s is sent, but its row is not closed", result.message_id)
        return result.model_copy(update={"recorded": False})
    return done


def _sender(params: EmailParams, route: MailRoute) -> Address:
    if route.from_address is None:
        raise ActionError(
            "no sender address is configured",
            code=ErrorCode.INVALID_INPUT,
            retryable=False,
            hint="set SOJOURN_MAIL_FROM, or the connection's from_address",
        )
    default = _message.parse_address(route.from_address)
    if params.from_ is None:
        return default
    sender = _message.parse_address(params.from_)
    if sender.domain.lower() != default.domain.lower():
        raise ActionError(
            f"mail may be sent from addresses of {default.domain} only",
            code=ErrorCode.FORBIDDEN,
            retryable=False,
        )
    return sender
