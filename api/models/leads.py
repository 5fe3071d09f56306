"""Leads and what they did."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from api.models.common import Closed
from api.models.runs import ShortText
from db.leads import LeadEventKind

StatusText = Annotated[str, Field(min_length=1, max_length=64)]


class LeadView(BaseModel):
    """One lead."""

    id: str
    email: str
    name: str | None = None
    company: str | None = None
    status: str
    fields: dict[str, Any]
    last_email_sent_at: datetime | None = None
    last_email_opened_at: datetime | None = None
    last_replied_at: datetime | None = None
    last_activity_at: datetime | None = None
    created_at: datetime
    updated_at: datetime


class LeadPage(BaseModel):
    """Leads, newest first."""

    items: list[LeadView]
    next_cursor: str | None = None


class LeadPatch(Closed):
    """What changes; `fields` are merged, and a field set to null stays null."""

    name: ShortText | None = None
    company: ShortText | None = None
    status: StatusText | None = None
    fields: dict[str, Any] | None = None


class LeadEventInput(Closed):
    """Something a lead did; with `key` the same event counts once, however often it is told."""

    kind: LeadEventKind
    at: datetime | None = Field(default=None, description="now if absent")
    data: dict[str, Any] = Field(default_factory=dict)
    run_id: Annotated[str, Field(max_length=64)] | None = None
    key: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class LeadEventView(BaseModel):
    """One event of a lead."""

    id: str
    kind: LeadEventKind
    at: datetime
    data: dict[str, Any] | None = None
    run_id: str | None = None
    step_path: str | None = None


class LeadEventPage(BaseModel):
    """A lead's events, newest first."""

    items: list[LeadEventView]
    next_cursor: str | None = None


class LeadEventAnswer(BaseModel):
    """Whether the event was new."""

    recorded: bool
