"""Triggers as the API takes and gives them."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from api.models.common import Closed
from db.trigger_table import TriggerKind
from schemas.step_base import EventType, Expression


class TriggerInput(Closed):
    """What starts a run of the definition by itself: each event of a type, where `where` holds."""

    kind: TriggerKind = TriggerKind.EVENT
    event: EventType = Field(description="the events' type", examples=["order.paid"])
    where: Annotated[Expression, Field(max_length=4096)] | None = Field(
        default=None, description="CEL over `event`", examples=["event.data.amount > 100"]
    )
    input: dict[str, Any] = Field(
        default_factory=dict,
        description="the run's input; strings may hold {{ CEL }} over `event`",
        examples=[{"order": "{{ event.key }}"}],
    )
    enabled: bool = True


class TriggerView(TriggerInput):
    """One trigger; `last_error` says why the last event that it matched started nothing."""

    id: str
    created_at: datetime
    updated_at: datetime
    last_fired_at: datetime | None = None
    last_error: str | None = None


class TriggerPage(BaseModel):
    """A definition's triggers, newest first."""

    items: list[TriggerView]
    next_cursor: str | None = None
