"""The `email` action: one message over SMTP, inline or from a stored template."""

import asyncio
import logging
from datetime import UTC, datetime
from email.headerregistry import Address
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)
from sqlalchemy.exc import SQLAlchemyError

from activities import _message, liquid
from activities._smtp import Delivery, deliver
from activities.context import ActionContext
from activities.errors import ActionError
from activities.registry import action
from db import leads, templates
from schemas.errors import ErrorCode, SojournError

_RECORD_DELAYS = (0.1, 0.3, 0.6)  # seconds before each new try to record a sent mail
_RECORD_SECONDS = 3.0  # kept free of the attempt's time for recording
_logger = logging.getLogger(__name__)

Recipient = Annotated[
    str,
    StringConstraints(min_length=3, max_length=400),
    Field(description="`address` or `Name <address>`", examples=["Ada <ada@example.com>"]),
]
Recipients = Annotated[list[Recipient], Field(max_length=_message.MAX_RECIPIENTS)]


class EmailParams(BaseModel):
    """Parameters of `email`."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, title="email")

    to: Annotated[
        Recipient | Recipients, Field(description="one recipient or a list; at most 50 in all")
    ]
    cc: Annotated[Recipient | Recipients, Field(description="copies")] = []
    bcc: Annotated[Recipient | Recipients, Field(description="copies nobody else sees")] = []
    reply_to: Recipient | None = Field(default=None, description="where answers go")
    from_: Recipient | None = Field(
        default=None,
        alias="from",
        description="sender; must have the domain of the configured one, which is the default",
    )
    subject: str | None = Field(
        default=None, max_length=998, description="required without `template`; else replaces its"
    )
    text: str | None = Field(default=None, description="plain text part")
    html: str | None = Field(
        default=None,
        description="HTML part; styles go inline. Values are not escaped: use a template for them",
    )
    template: str | None = Field(default=None, description="name of a stored Liquid template")
    data: dict[str, Any] = Field(
        default_factory=dict,
        description="what the template reads; `lead` and `booking_url` are there besides",
    )
    headers: dict[str, str] = Field(
        default_factory=dict, description="more headers, such as List-Unsubscribe"
    )

    @field_validator("to", "cc", "bcc", "reply_to", "from_")
    @classmethod
    def _addresses(cls, value: str | list[str] | None) -> str | list[str] | None:
        for text in _listed(value):
            _message.parse_address(text)
        return value

    @field_validator("headers")
    @classmethod
    def _headers(cls, value: dict[str, str]) -> dict[str, str]:
        _message.check_headers(value)
        return value

    @field_validator("subject")
    @classmethod
    def _subject(cls, value: str | None) -> str | None:
        if value is not None:
            _message.check_line("the subject", value.strip())
        return value

    @model_validator(mode="after")
    def _content(self) -> Self:
        if self.template is None:
            if self.text is None and self.html is None:
                raise ValueError("give 'text', 'html' or 'template'")
            if self.subject is None:
                raise ValueError("give 'subject'; only a template may bring its own")
            if self.data:
                raise ValueError("'data' belongs to 'template'")
        elif self.text is not None or self.html is not None:
            raise ValueError("'template' brings text and html; give one or the other")
        number = sum(len(_listed(field)) for field in (self.to, self.cc, self.bcc))
        if not _listed(self.to):
            raise ValueError("'to' is empty")
        if number > _message.MAX_RECIPIENTS:
            raise ValueError(f"{number} recipients; at most {_message.MAX_RECIPIENTS}")
        return self


class EmailResult(BaseModel):
    """What became of a message; `refused` maps a recipient to the server's words."""

    message_id: str
    to: list[str]
    subject: str
    accepted: list[str]
    refused: dict[str, str] = Field(default_factory=dict)
    response: str | None = Field(default=None, description="the mail server's answer")
    already_sent: bool = Field(
        default=False, description="an earlier attempt had sent it; nothing was sent now"
    )
    recorded: bool | None = Field(
        default=None, description="the lead's `sent` event is stored; null without a lead"
    )


@action("email")
async def email(params: EmailParams, context: ActionContext) -> EmailResult:
    """Send one mail over SMTP.

    Delivery is at least once. The Message-ID is made from the step key, so every attempt carries
    the same one. A run with a lead stores a `sent` event under it, and an attempt that finds the
    event sends nothing. One window remains: if the worker dies after the server took the message
    and before the event is stored (or the run has no lead), the next attempt sends it again with
    the same Message-ID. Recording has a short retry of its own and never causes a new send.
    """
    config = context.services.mail
    sender = _sender(params, config.from_address)
    identity = _message.message_id(context.step.key, sender.domain)
    before = await _look_up(params, context)
    recipients = {
        field: tuple(_message.parse_address(text) for text in _listed(value))
        for field, value in (("to", params.to), ("cc", params.cc), ("bcc", params.bcc))
    }
    everyone = list(dict.fromkeys(one.addr_spec for group in recipients.values() for one in group))
    to = [one.addr_spec for one in recipients["to"]]
    parts = _parts(params, context, before)
    if before.sent:
        return EmailResult(
            message_id=identity,
            to=to,
            subject=parts.subject or "",
            accepted=everyone,
            already_sent=True,
            recorded=True,
        )
    message = _message.build(
        _message.Mail(
            message_id=identity,
            sender=sender,
            to=recipients["to"],
            cc=recipients["cc"],
            reply_to=_message.parse_address(params.reply_to) if params.reply_to else None,
            subject=parts.subject or "",
            text=parts.text,
            html=parts.html,
            headers=params.headers,
        )
    )
    delivery = await deliver(
        config,
        message,
        sender=sender.addr_spec,
        recipients=everyone,
        seconds=max(context.budget - _RECORD_SECONDS, context.budget / 2),
    )
    subject = str(message["Subject"])
    return EmailResult(
        message_id=identity,
        to=to,
        subject=subject,
        accepted=[one for one in everyone if one not in delivery.refused],
        refused=delivery.refused,
        response=delivery.response,
        recorded=await _record(context, identity, to, subject, delivery),
    )


class _Before(BaseModel):
    """What the database knows before the mail is sent."""

    sent: bool = False
    lead: dict[str, Any] | None = None
    subject: str | None = None
    text: str | None = None
    html: str | None = None


async def _look_up(params: EmailParams, context: ActionContext) -> _Before:
    database, step = context.services.database, context.step
    if params.template is None and (database is None or step.lead_id is None):
        return _Before()
    if database is None:
        raise ActionError(
            "stored templates need a database", code=ErrorCode.INVALID_INPUT, retryable=False
        )
    before = _Before()
    async with database.session() as session:
        if step.lead_id is not None:
            lead = await leads.get(session, step.workspace, step.lead_id)
            before.sent = await leads.has_event(
                session,
                step.workspace,
                step.lead_id,
                leads.LeadEventKind.SENT,
                run_id=step.run_id,
                step=step.path,
            )
            before.lead = {
                "id": str(lead.id),
                "email": lead.email,
                "name": lead.name,
                "company": lead.company,
                "status": str(lead.status),
                "fields": lead.fields,
            }
        if params.template is not None:
            template = await templates.get(session, step.workspace, params.template)
            before.subject, before.text, before.html = (
                template.subject,
                template.text,
                template.html,
            )
    return before


def _parts(params: EmailParams, context: ActionContext, before: _Before) -> liquid.RenderedTemplate:
    if params.template is None:
        return liquid.RenderedTemplate(params.subject, params.text, params.html)
    known = {"booking_url": context.services.mail.booking_url, "lead": before.lead}
    data = {name: value for name, value in known.items() if value is not None} | params.data
    return liquid.render_preview(
        subject=before.subject,
        text=before.text or None,
        html=before.html or None,
        data=data,
        override=params.subject,
    )


async def _record(
    context: ActionContext, identity: str, to: list[str], subject: str, delivery: Delivery
) -> bool | None:
    """Store the `sent` event; a failure is logged and told, since raising would send again."""
    database, step = context.services.database, context.step
    lead_id = step.lead_id
    if database is None or lead_id is None:
        return None
    at = datetime.now(UTC)
    data = {"message_id": identity, "to": to, "subject": subject, "refused": delivery.refused}

    async def store() -> None:
        async with database.session() as session:
            await leads.add_event(
                session,
                step.workspace,
                lead_id,
                leads.LeadEventKind.SENT,
                at=at,
                data=data,
                run_id=step.run_id,
                step_path=step.path,
                key=identity,
            )

    try:
        async with asyncio.timeout(_RECORD_SECONDS):
            for delay in _RECORD_DELAYS:
                try:
                    await store()
                except (SojournError, SQLAlchemyError, OSError):
                    await asyncio.sleep(delay)
                else:
                    return True
            await store()
    except Exception:
        _logger.exception("mail %s is sent, but its event is not stored", identity)
        return False
    return True


def _sender(params: EmailParams, configured: str | None) -> Address:
    if configured is None:
        raise ActionError(
            "no sender address is configured",
            code=ErrorCode.INVALID_INPUT,
            retryable=False,
            hint="set SOJOURN_MAIL_FROM",
        )
    default = _message.parse_address(configured)
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


def _listed(value: str | list[str] | None) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else value
