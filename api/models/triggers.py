"""Triggers as the API gives them; `schemas.triggers` has what it takes."""

from datetime import datetime

from pydantic import BaseModel, Field

from schemas.triggers import (
    ApiTrigger,
    EventTrigger,
    FormTrigger,
    ManualTrigger,
    ScheduledTrigger,
    TriggerKind,
    WebhookTrigger,
)


class TriggerState(BaseModel):
    """What has become of a trigger; `last_error` says why the last time started nothing."""

    id: str
    definition: str
    created_at: datetime
    updated_at: datetime
    last_fired_at: datetime | None = None
    next_due_at: datetime | None = Field(default=None, description="schedules only")
    last_error: str | None = None


class ManualTriggerView(ManualTrigger, TriggerState):
    """People's starts."""


class ApiTriggerView(ApiTrigger, TriggerState):
    """Programs' starts."""


class FormTriggerView(FormTrigger, TriggerState):
    """A form's submissions."""


class EventTriggerView(EventTrigger, TriggerState):
    """Runs by events."""


class ScheduledTriggerView(ScheduledTrigger, TriggerState):
    """Runs by the clock."""


class WebhookTriggerView(WebhookTrigger, TriggerState):
    """Runs by deliveries.

    `token` and `url` are in the answer that makes the token and nowhere else.
    """

    token: str | None = None
    url: str | None = Field(default=None, description="where the sender posts")
    rejected: int = Field(default=0, description="deliveries with a bad signature")
    last_rejected_at: datetime | None = None
    last_rejection: str | None = None


# Plain: the kinds of the views tell them apart.
TriggerView = (
    ManualTriggerView
    | ApiTriggerView
    | WebhookTriggerView
    | ScheduledTriggerView
    | EventTriggerView
    | FormTriggerView
)
VIEWS: dict[TriggerKind, type[TriggerView]] = {
    TriggerKind.MANUAL: ManualTriggerView,
    TriggerKind.API: ApiTriggerView,
    TriggerKind.WEBHOOK: WebhookTriggerView,
    TriggerKind.SCHEDULE: ScheduledTriggerView,
    TriggerKind.EVENT: EventTriggerView,
    TriggerKind.FORM: FormTriggerView,
}


class TriggerPage(BaseModel):
    """A definition's triggers, newest first."""

    items: list[TriggerView]
    next_cursor: str | None = None
