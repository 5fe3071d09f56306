"""Stored emails."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from api.models.common import Closed

Body = Annotated[str, Field(max_length=256 * 1024)]


class TemplateInput(Closed):
    """A template in Liquid; without `html` the mail has a text part only."""

    subject: Annotated[str, Field(min_length=1, max_length=998)] = Field(
        examples=["Welcome, {{ name }}"]
    )
    text: Annotated[Body, Field(min_length=1)] = Field(examples=["Hello {{ name }}"])
    html: Body | None = Field(default=None, examples=["<p>Hello {{ name }}</p>"])


class TemplateView(BaseModel):
    """One stored template."""

    name: str
    subject: str
    text: str
    html: str | None = None
    updated_at: datetime


class TemplateSummary(BaseModel):
    """A template in a list."""

    name: str
    subject: str
    updated_at: datetime


class TemplateList(BaseModel):
    """All templates, by name."""

    items: list[TemplateSummary]
