"""Claims a mail before it is sent: one transaction decides whether this attempt may send it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from email.headerregistry import Address

from sqlalchemy.exc import SQLAlchemyError
from sqlmodel.ext.asyncio.session import AsyncSession

from activities._compose import Composed, Source, compose
from activities._effects import LOST, park, spent, unknown
from activities._email_models import EmailParams, EmailResult
from activities.context import ActionContext
from activities.errors import ActionError, NotYetError, may_have_happened
from activities.mail_route import MailRoute
from activities.masking import masked
from db import leads, mail_links, mail_messages, mail_rates, suppressions, templates
from db.base import now
from db.engine import Database
from db.mail_links import MailLink
from db.mail_messages import CLOSED, MailMessage, MailState, NewMail
from schemas.errors import SojournError
from schemas.policies import Retry

# Seconds. A place that is due this soon is due now; one that was due longer ago is given up, or
# all that waited while no worker ran would leave in one burst.
_SOON, _HELD_SOON, _STALE = 0.02, 0.2, 5.0
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Addressed:
    """The recipients of a mail by field."""

    to: tuple[Address, ...]
    cc: tuple[Address, ...] = ()
    bcc: tuple[Address, ...] = ()

    @property
    def everyone(self) -> list[str]:
        """Every address once, in the order of the fields."""
        return list(dict.fromkeys(one.addr_spec for one in (*self.to, *self.cc, *self.bcc)))

    def without(self, left_out: set[str]) -> "Addressed":
        """Give those whose normalised address is not in `left_out`."""

        def kept(group: tuple[Address, ...]) -> tuple[Address, ...]:
            return tuple(
                one for one in group if leads.normalise_email(one.addr_spec) not in left_out
            )

        return Addressed(kept(self.to), kept(self.cc), kept(self.bcc))


@dataclass(frozen=True, slots=True)
class Claim:
    """What is to be sent now, and the row that stands for it."""

    row_id: str
    message_id: str
    recipients: Addressed
    left_out: list[str]
    composed: Composed


async def claim(
    database: Database,
    context: ActionContext,
    params: EmailParams,
    route: MailRoute,
    recipients: Addressed,
    message_id: str,
) -> Claim | EmailResult:
    """Claim the mail of a step, or give its result where nothing is to be sent.

    That is so if an earlier attempt has sent it, if every `to` is suppressed, or if the lead has
    had as many mails as the connection allows. Raises NotYetError where the rate of the connection
    gives it a later place, which the mail then holds. Of a step with `delivery: at_most_once` one
    that an earlier attempt has left in doubt is parked: raises DELIVERY_UNKNOWN.
    """
    step = context.step
    async with database.session() as session:
        lead = None
        if step.lead_id is not None:
            lead = await leads.get(session, step.workspace, step.lead_id)
        source = await _source(session, step.workspace, params, lead)
        row = await mail_messages.open_message(
            session,
            step.workspace,
            NewMail(
                step_key=step.key,
                run_id=step.run_id,
                definition=step.definition,
                step_path=step.path,
                to_address=leads.normalise_email(recipients.to[0].addr_spec),
                message_id=message_id,
                lead_id=step.lead_id,
                template=params.template,
                connection=route.name or None,
            ),
        )
        if row.state in CLOSED:
            return _earlier(row)
        found = await _park_earlier(session, context, row) if step.once else None
        found = found or await _take(session, context, params, route, recipients, row, source)
    # What is written stands, whatever is raised.
    if isinstance(found, ActionError):
        raise found
    return found


async def _take(
    session: AsyncSession,
    context: ActionContext,
    params: EmailParams,
    route: MailRoute,
    recipients: Addressed,
    row: MailMessage,
    source: Source,
) -> Claim | EmailResult | NotYetError:
    """Claim a row for this attempt, unless nothing is to be sent, or not yet."""
    left_out = await suppressions.among(session, row.workspace, recipients.everyone)
    kept = recipients.without(left_out)
    told = EmailResult(
        message_id=row.message_id,
        to=[one.addr_spec for one in recipients.to],
        subject=params.subject or "",
        accepted=[],
        left_out=[one for one in recipients.everyone if leads.normalise_email(one) in left_out],
    )
    if not kept.to:
        row.state = MailState.SUPPRESSED
        return await _settle(session, row, told.model_copy(update={"suppressed": True}))
    if await _is_capped(session, row, route):
        row.state = MailState.CAPPED
        return await _settle(session, row, told.model_copy(update={"capped": True}))
    composed = compose(
        params,
        replace(
            source,
            booking_url=context.services.mail.booking_url,
            public_url=context.services.mail.public_url,
            tracking_id=row.tracking_id,
            alone=len(kept.everyone) == 1,
            tracking=route.policy.tracking,
        ),
    )
    row.to_address = leads.normalise_email(kept.to[0].addr_spec)
    row.subject = composed.subject
    wait = await _turn(session, row, route)
    if wait is None:
        row.state = MailState.SENDING
        row.attempts += 1
        row.claimed_at = now()
        row.slot_at = None
        row.error = None
        await mail_links.store(session, _rows(row, composed))
    session.add(row)
    if wait is not None:
        return _later(route, wait)
    return Claim(row.id, row.message_id, kept, told.left_out, composed)


async def _park_earlier(
    session: AsyncSession, context: ActionContext, row: MailMessage
) -> ActionError | None:
    """Park a mail that an earlier attempt has left in doubt."""
    if row.state not in (MailState.SENDING, MailState.UNKNOWN):
        return spent() if context.spent else None
    error = unknown(row.error or LOST, row.message_id)
    await park(session, row, error)
    return error


async def note_failure(
    database: Database, context: ActionContext, route: MailRoute, row_id: str, error: ActionError
) -> None:
    """Keep why a send failed; the next attempt's place in the rate is taken at once.

    So each attempt meets its place when it comes. What cannot be kept is logged: the failure
    itself is more important. Of a step with `delivery: at_most_once` a mail in doubt is parked:
    raises DELIVERY_UNKNOWN in the failure's place.
    """
    doubt = may_have_happened(error)
    if doubt and context.step.once:
        await _park(database, row_id, error)
    retry = Retry.model_validate(context.step.retry)
    final = not error.retryable or context.attempt >= retry.attempts
    state = MailState.FAILED if final else MailState.WAITING
    if doubt:
        state = MailState.SENDING
    try:
        async with database.session() as session:
            slot_at = None
            if not final and route.interval is not None:
                slot = await mail_rates.reserve(
                    session,
                    context.step.workspace,
                    route.name,
                    interval=route.interval,
                    burst=route.policy.burst,
                )
                slot_at = slot.at
                error.retry_after = max(error.retry_after or 0.0, slot.wait)
            await mail_messages.close_message(
                session, row_id, state, error=masked(error.message), slot_at=slot_at
            )
    except (SojournError, SQLAlchemyError, OSError):
        _logger.exception("why a mail failed is not kept")


async def _park(database: Database, row_id: str, error: ActionError) -> None:
    async with database.session() as session:
        row = await session.get_one(MailMessage, row_id, with_for_update=True)
        fault = unknown(error.message, row.message_id)
        if row.state is not MailState.SENT:
            await park(session, row, fault)
    raise fault from error


async def _source(
    session: AsyncSession, workspace: str, params: EmailParams, lead: leads.Lead | None
) -> Source:
    if params.template is None:
        return Source(lead=lead)
    template = await templates.get(session, workspace, params.template)
    return Source(lead=lead, subject=template.subject, text=template.text, html=template.html)


def _earlier(row: MailMessage) -> EmailResult:
    result = EmailResult.model_validate(row.result)
    if row.state is MailState.SENT:
        return result.model_copy(update={"already_sent": True})
    return result


async def _settle(session: AsyncSession, row: MailMessage, result: EmailResult) -> EmailResult:
    row.result = result.model_dump(mode="json")
    row.slot_at = None
    session.add(row)
    await session.flush()
    return result


async def _is_capped(session: AsyncSession, row: MailMessage, route: MailRoute) -> bool:
    cap = route.policy.per_lead
    if cap is None or row.lead_id is None:
        return False
    count = await mail_messages.sent_to_lead(
        session, row.workspace, row.lead_id, besides=row.id, seconds=cap.per.total_seconds()
    )
    return count >= cap.count


async def _turn(session: AsyncSession, row: MailMessage, route: MailRoute) -> float | None:
    """Give the seconds until the mail's place in the rate, None where that is now."""
    if route.interval is None:
        return None
    if row.slot_at is not None:
        ahead = await mail_rates.seconds_until(session, row.slot_at)
        if -_STALE <= ahead <= _HELD_SOON:
            return None
        if ahead > 0:
            return ahead
    slot = await mail_rates.reserve(
        session,
        row.workspace,
        route.name,
        interval=route.interval,
        burst=route.policy.burst,
    )
    if slot.wait <= _SOON:
        return None
    row.slot_at = slot.at
    return slot.wait


def _later(route: MailRoute, wait: float) -> NotYetError:
    where = f"the connection {route.name!r}" if route.name else "the mail server"
    return NotYetError(
        f"{where} sends at most {route.policy.rate_per_minute} mails a minute; this one's turn is"
        f" in {wait:.1f} s",
        seconds=wait,
        hint="a step with 'retry: {attempts: 1}' cannot wait for its turn",
    )


def _rows(row: MailMessage, composed: Composed) -> Sequence[MailLink]:
    return [
        MailLink(
            id=link.id,
            workspace=row.workspace,
            message_id=row.id,
            url=link.url,
            position=link.position,
        )
        for link in composed.links
    ]
