"""Events as the API takes and gives them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from api.models.common import Closed
from schemas.events import EventId, EventKey, EventSource
from schemas.step_base import EventType


class PlainEvent(Closed):
    """An event in few words; with `id` it counts once, however often it is sent."""

    type: EventType = Field(description="what happened", examples=["order.paid"])
    key: EventKey = Field(description="what it happened to", examples=["order-1017"])
    data: Any = Field(default=None, description="at most 256 KiB", examples=[{"amount": 12.5}])
    id: EventId | None = None


class CloudEvent(BaseModel):
    """A CloudEvent 1.0 in structured mode; the same `id` from one `source` counts once.

    Extension attributes are taken and not kept.
    """

    model_config = ConfigDict(extra="allow")

    specversion: Literal["1.0"]
    id: EventId
    source: EventSource = Field(examples=["https://shop.example.com"])
    type: EventType = Field(examples=["order.paid"])
    subject: EventKey = Field(description="what it happened to: the key", examples=["order-1017"])
    time: AwareDatetime | None = Field(default=None, description="now if absent")
    datacontenttype: Annotated[str, Field(max_length=255)] | None = None
    dataschema: Annotated[str, Field(max_length=2048)] | None = None
    data: Any = Field(default=None, description="at most 256 KiB")
    data_base64: None = Field(default=None, description="not taken: send `data`")


class EventAnswer(BaseModel):
    """What became of an event; for a `duplicate` the numbers are those of the first time."""

    id: str
    matched: int = Field(description="runs that were waiting for it")
    started: int = Field(description="runs that it starts")
    duplicate: bool


class EventView(BaseModel):
    """One stored event."""

    id: str
    source: str
    type: str
    key: str
    data: Any = None
    time: datetime
    received_at: datetime
    matched: int
    started: int


class EventPage(BaseModel):
    """Events, the last received first."""

    items: list[EventView]
    next_cursor: str | None = None
