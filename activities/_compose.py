"""Composes one mail: content from the step or a template, links, and how to unsubscribe."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from activities import _mail_links, liquid
from activities._email_models import EmailParams
from activities._mail_links import TrackedLink
from activities.errors import ActionError
from db.leads import Lead
from schemas.errors import ErrorCode
from schemas.mail import Tracking


@dataclass(frozen=True, slots=True)
class Source:
    """What is put into a mail beside the step's parameters.

    `tracking_id` is the mail's, None where no row of it is kept; `alone` says that it has one
    recipient. `public_url` has no slash at its end.
    """

    lead: Lead | None = None
    subject: str | None = None
    text: str | None = None
    html: str | None = None
    booking_url: str | None = None
    public_url: str | None = None
    tracking_id: str | None = None
    alone: bool = True
    tracking: Tracking = field(default_factory=Tracking)


@dataclass(frozen=True, slots=True)
class Composed:
    """A mail's parts, the headers that they need, and the links that lead through us."""

    subject: str
    text: str | None
    html: str | None
    headers: Mapping[str, str]
    links: list[TrackedLink]


def compose(params: EmailParams, source: Source) -> Composed:
    """Render and rewrite a mail.

    Raises ActionError: EXPRESSION_ERROR for a template, INVALID_INPUT where the step asks for an
    unsubscribe link and nothing can be linked to.
    """
    unsubscribe = _unsubscribe_url(params, source)
    parts = _parts(params, source, unsubscribe)
    linking = source.public_url is not None and source.tracking_id is not None
    tracking = params.tracking or source.tracking
    rewritten = _mail_links.Rewritten("", [])
    if parts.html is not None:
        rewritten = _mail_links.rewrite(
            parts.html,
            _mail_links.Rewriting(
                public_url=source.public_url,
                tracking_id=source.tracking_id,
                opens=linking and tracking.opens,
                clicks=linking and tracking.clicks,
                attribution=params.attribution.parameters() if params.attribution else None,
                untouched=(unsubscribe,) if unsubscribe else (),
            ),
        )
    return Composed(
        subject=parts.subject or "",
        text=parts.text,
        html=None if parts.html is None else rewritten.html,
        headers=dict(params.headers) | _unsubscribe_headers(unsubscribe),
        links=rewritten.links,
    )


def template_data(
    data: Mapping[str, Any],
    *,
    lead: Lead | None,
    booking_url: str | None,
    unsubscribe_url: str | None,
) -> dict[str, Any]:
    """Give everything that a template can read; `data` goes above what is there besides."""
    known = {
        "booking_url": booking_url,
        "unsubscribe_url": unsubscribe_url,
        "lead": None if lead is None else _lead_values(lead),
    }
    return {name: value for name, value in known.items() if value is not None} | dict(data)


def unsubscribe_url(public_url: str, tracking_id: str) -> str:
    """Give the address where the recipient of a mail unsubscribes."""
    return f"{public_url}/u/{tracking_id}"


def _lead_values(lead: Lead) -> dict[str, Any]:
    return {
        "id": str(lead.id),
        "email": lead.email,
        "name": lead.name,
        "company": lead.company,
        "status": str(lead.status),
        "fields": lead.fields,
    }


def _parts(params: EmailParams, source: Source, unsubscribe: str | None) -> liquid.RenderedTemplate:
    if params.template is None:
        return liquid.RenderedTemplate(params.subject, params.text, params.html)
    return liquid.render_preview(
        subject=source.subject,
        text=source.text or None,
        html=source.html or None,
        data=template_data(
            params.data,
            lead=source.lead,
            booking_url=source.booking_url,
            unsubscribe_url=unsubscribe,
        ),
        override=params.subject,
    )


def _unsubscribe_url(params: EmailParams, source: Source) -> str | None:
    wanted = params.unsubscribe
    if wanted is None:
        wanted = source.lead is not None and source.alone and not params.own_unsubscribe
        if source.public_url is None or source.tracking_id is None:
            return None
    if not wanted:
        return None
    if source.public_url is None or source.tracking_id is None:
        raise ActionError(
            "a mail with 'unsubscribe' needs an address that it can link to",
            code=ErrorCode.INVALID_INPUT,
            retryable=False,
            hint="set SOJOURN_PUBLIC_URL on the workers",
        )
    return unsubscribe_url(source.public_url, source.tracking_id)


def _unsubscribe_headers(url: str | None) -> dict[str, str]:
    if url is None:
        return {}
    headers = {"List-Unsubscribe": f"<{url}>"}
    if url.startswith("https://"):
        # RFC 8058, 3.1: one click works over HTTPS only.
        headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    return headers
