"""Stored emails."""

from datetime import datetime
from typing import Annotated, Any

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
    """One stored template, in its newest version."""

    name: str
    version: int
    subject: str
    text: str
    html: str | None = None
    updated_at: datetime


class TemplateSummary(BaseModel):
    """A template in a list."""

    name: str
    version: int
    subject: str
    updated_at: datetime


class TemplateList(BaseModel):
    """All templates, by name."""

    items: list[TemplateSummary]


class TemplateVersionView(BaseModel):
    """What a template was in one version."""

    version: int
    subject: str
    text: str
    html: str | None = None
    created_at: datetime


class TemplateVersionSummary(BaseModel):
    """A version in a list."""

    version: int
    subject: str
    created_at: datetime


class TemplateVersionList(BaseModel):
    """All versions of a template, the newest first."""

    items: list[TemplateVersionSummary]


class PreviewInput(Closed):
    """What a preview reads: `data` as a step gives it, and the lead with this id."""

    data: dict[str, Any] = Field(default_factory=dict, examples=[{"name": "Ada"}])
    lead: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        default=None, description="a lead's id"
    )
    version: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = Field(
        default=None, description="the newest by default"
    )


class PreviewView(BaseModel):
    """What would be sent; the styles of the HTML part are inline."""

    subject: str
    text: str
    html: str | None = None
