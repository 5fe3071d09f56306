"""Triggers as they are written: a union over `kind` of everything that starts runs by itself."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag

from schemas import cel
from schemas.events import EVENT_TYPE
from schemas.schedules import SCHEDULE_TYPE, ScheduleTrigger
from schemas.step_base import EventType, Expression
from schemas.trigger_base import InputTrigger, TriggerBase, TriggerKind
from schemas.webhooks import WebhookTrigger

__all__ = [
    "ApiTrigger",
    "EventTrigger",
    "FormTrigger",
    "InputTrigger",
    "ManualTrigger",
    "ScheduledTrigger",
    "TriggerBase",
    "TriggerInput",
    "TriggerKind",
    "WebhookTrigger",
]


class ManualTrigger(TriggerBase):
    """People's starts, at the console and the command line; disabled it refuses them."""

    kind: Literal["manual"]


class ApiTrigger(TriggerBase):
    """Programs' starts, through the API; disabled it refuses them."""

    kind: Literal["api"]


class FormTrigger(TriggerBase):
    """The submissions of a form that starts the definition; disabled it refuses them."""

    kind: Literal["form"]
    form: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="its name")]


class EventTrigger(InputTrigger):
    """Starts a run for each event of a type, where `where` holds."""

    SCOPE: ClassVar[dict[str, cel.Type]] = {"event": EVENT_TYPE}

    kind: Literal["event"] = "event"
    event: EventType = Field(description="the events' type", examples=["order.paid"])
    where: Annotated[Expression, Field(max_length=4096)] | None = Field(
        default=None, description="CEL over `event`", examples=["event.data.amount > 100"]
    )


class ScheduledTrigger(ScheduleTrigger, InputTrigger):
    """Starts a run at each time that its schedule is due."""

    SCOPE: ClassVar[dict[str, cel.Type]] = {"schedule": SCHEDULE_TYPE}

    kind: Literal["schedule"]


def _kind(value: Any) -> Any:
    """Give the tag of what came; what says no kind is an event trigger."""
    if isinstance(value, dict):
        return value.get("kind", "event")
    return getattr(value, "kind", None)


# A callable, for the default; FastAPI would also apply a discriminator's name twice.
TriggerInput = Annotated[
    Annotated[ManualTrigger, Tag("manual")]
    | Annotated[ApiTrigger, Tag("api")]
    | Annotated[WebhookTrigger, Tag("webhook")]
    | Annotated[ScheduledTrigger, Tag("schedule")]
    | Annotated[EventTrigger, Tag("event")]
    | Annotated[FormTrigger, Tag("form")],
    Discriminator(_kind),
]
