"""What a stored template would send: rendered and with its styles inline, as the action does it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from activities._compose import template_data, unsubscribe_url
from activities._message import inline_styles
from activities.liquid import RenderedTemplate, render_preview
from db.leads import Lead


def preview(
    *,
    subject: str,
    text: str,
    html: str | None,
    data: Mapping[str, Any],
    lead: Lead | None,
    booking_url: str | None,
    public_url: str | None,
) -> RenderedTemplate:
    """Render a template over sample data; raises ActionError EXPRESSION_ERROR.

    The unsubscribe link is one that belongs to no mail.
    """
    rendered = render_preview(
        subject=subject,
        text=text,
        html=html,
        data=template_data(
            data,
            lead=lead,
            booking_url=booking_url,
            unsubscribe_url=unsubscribe_url(public_url.rstrip("/"), "preview")
            if public_url
            else None,
        ),
    )
    if rendered.html is None:
        return rendered
    return replace(rendered, html=inline_styles(rendered.html))
